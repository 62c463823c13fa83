//! Operations on one vector. The figure is bytes a second of what is read.
#![allow(missing_docs, reason = "criterion_group! makes a public function without them")]

mod common;

use std::hint::black_box;

use common::Rng;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pipsqueak_kernels::{BLOCK, Gate, Kernels, Pairs, acts::ActRowMut, math::cos_sin, select};

/// Lengths of a small model's vectors.
const LENGTHS: [usize; 2] = [576, 1536];

/// Benches what `call` makes for each length with every kernel set; `operands` floats are read for each element.
fn bench(c: &mut Criterion, op: &str, lengths: &[usize], operands: usize, call: impl Fn(usize) -> Run) {
    let mut group = c.benchmark_group(op);
    for kernels in select::all() {
        for len in lengths {
            group.throughput(Throughput::Bytes((4 * operands * len) as u64));
            let mut run = call(*len);
            group.bench_function(BenchmarkId::new(kernels.name(), format!("1x{len}")), |b| {
                b.iter(|| run(black_box(kernels)));
            });
        }
    }
}

/// An operation with its operands.
type Run = Box<dyn FnMut(&dyn Kernels)>;

fn vector(c: &mut Criterion) {
    bench(c, "quantise", &LENGTHS, 1, |len| {
        let x = Rng::new().vector(len);
        let blocks = len.div_ceil(BLOCK);
        let (mut q, mut scale, mut sum) = (vec![0; blocks * BLOCK], vec![0.0; blocks], vec![0; blocks]);
        Box::new(move |kernels| {
            kernels.quantise(black_box(&x), ActRowMut { q: &mut q, scale: &mut scale, sum: &mut sum }).unwrap();
        })
    });
    bench(c, "rmsnorm", &LENGTHS, 2, |len| {
        let (x, weight, mut out) = (Rng::new().vector(len), vec![1.0; len], vec![0.0; len]);
        Box::new(move |kernels| kernels.rmsnorm(black_box(&x), &weight, 1e-5, &mut out).unwrap())
    });
    bench(c, "layernorm", &LENGTHS, 3, |len| {
        let (x, weight, bias, mut out) = (Rng::new().vector(len), vec![1.0; len], vec![0.1; len], vec![0.0; len]);
        Box::new(move |kernels| kernels.layernorm(black_box(&x), &weight, &bias, 1e-5, &mut out).unwrap())
    });
    bench(c, "softmax", &LENGTHS, 1, |len| {
        // In place: later calls see probabilities, which take the same path.
        let mut x = Rng::new().vector(len);
        Box::new(move |kernels| kernels.softmax(black_box(&mut x)))
    });
    for (op, pairs) in [("rotate_interleaved", Pairs::Interleaved), ("rotate_half_split", Pairs::HalfSplit)] {
        bench(c, op, &[64, 128], 2, |len| {
            let mut rng = Rng::new();
            let mut x = rng.vector(len);
            let turns: Vec<f32> = (0..len / 2).flat_map(|_| <[f32; 2]>::from(cos_sin(rng.bits()))).collect();
            Box::new(move |kernels| kernels.rotate(black_box(&mut x), &turns, pairs))
        });
    }
    for (op, function) in [("gate_silu", Gate::Silu), ("gate_gelu", Gate::Gelu), ("gate_relu", Gate::Relu)] {
        bench(c, op, &LENGTHS, 2, |len| {
            let mut rng = Rng::new();
            let (x, up) = (rng.vector(len), rng.vector(len));
            let mut gate = x.clone();
            Box::new(move |kernels| {
                gate.copy_from_slice(&x);
                kernels.gate(function, black_box(&mut gate), &up);
            })
        });
    }
    bench(c, "store_f16", &[64, 128], 1, |len| {
        let (x, mut out) = (Rng::new().vector(len), vec![0; len]);
        Box::new(move |kernels| kernels.store_f16(black_box(&x), &mut out).unwrap())
    });
    bench(c, "store_i8", &[64, 128], 1, |len| {
        let (x, mut out) = (Rng::new().vector(len), vec![0; len]);
        Box::new(move |kernels| {
            black_box(kernels.store_i8(black_box(&x), &mut out).unwrap());
        })
    });
}

criterion_group!(benches, vector);
criterion_main!(benches);
