//! A batch of tokens times one matrix: the work of prefill. The figure is operations a second, a multiply-add being two.
#![allow(missing_docs, reason = "criterion_group! makes a public function without them")]

mod common;

use std::hint::black_box;

use common::{Activations, FORMATS, SHAPES, Weights};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pipsqueak_kernels::{Store, Tile, select};

fn matmul(c: &mut Criterion) {
    for format in FORMATS {
        for tokens in [16, 64] {
            let mut group = c.benchmark_group(format!("matmul{tokens}_{}", format.name()));
            for kernels in select::all() {
                for (rows, cols) in SHAPES {
                    let weights = Weights::new(kernels, format, rows, cols);
                    let x = Activations::new(kernels, tokens, cols);
                    let (w, x) = (weights.matrix(), x.input());
                    let mut out = vec![0.0; tokens * rows];
                    group.throughput(Throughput::Elements((2 * tokens * rows * cols) as u64));
                    group.bench_function(BenchmarkId::new(kernels.name(), format!("{rows}x{cols}")), |b| {
                        b.iter(|| {
                            let mut tile = Tile::whole(black_box(&mut out), rows, tokens);
                            kernels.matmul(black_box(&w), 0..w.panels(), &x, &mut tile, Store::Set);
                        });
                    });
                }
            }
        }
    }
}

criterion_group!(benches, matmul);
criterion_main!(benches);
