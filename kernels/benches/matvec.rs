//! One token times one matrix: the work of decoding. Reads every weight once, so the figure is weight bytes a second, to be
//! read against the machine's cache and memory bandwidth.
#![allow(missing_docs, reason = "criterion_group! makes a public function without them")]

mod common;

use std::hint::black_box;

use common::{Activations, FORMATS, SHAPES, Weights};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pipsqueak_kernels::{Store, Tile, select};

fn matvec(c: &mut Criterion) {
    for format in FORMATS {
        let mut group = c.benchmark_group(format!("matvec_{}", format.name()));
        for kernels in select::all() {
            for (rows, cols) in SHAPES {
                let weights = Weights::new(kernels, format, rows, cols);
                let x = Activations::new(kernels, 1, cols);
                let (w, x) = (weights.matrix(), x.input());
                let mut out = vec![0.0; rows];
                group.throughput(Throughput::Bytes(w.bytes() as u64));
                group.bench_function(BenchmarkId::new(kernels.name(), format!("{rows}x{cols}")), |b| {
                    b.iter(|| {
                        let mut tile = Tile::whole(black_box(&mut out), rows, 1);
                        kernels.matmul(black_box(&w), 0..w.panels(), &x, &mut tile, Store::Set);
                    });
                });
            }
        }
    }
}

criterion_group!(benches, matvec);
criterion_main!(benches);
