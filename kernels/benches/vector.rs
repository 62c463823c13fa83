//! Operations on one vector, and attention over one chunk of the cache. The figure is bytes a second of what is read.
#![allow(missing_docs, reason = "criterion_group! makes a public function without them")]

mod common;

use std::hint::black_box;

use common::Rng;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pipsqueak_kernels::{
    BLOCK, CacheRows, Gate, Kernels, Pairs, Query, acts::ActRowMut, float16::f32_to_f16, math::cos_sin, select,
};

/// Lengths of a small model's vectors.
const LENGTHS: [usize; 2] = [576, 1536];
/// Positions and head dimension.
const ATTENTION: [(usize, usize); 2] = [(64, 64), (64, 128)];

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

/// A cache of `positions` rows in each format, with its name and bytes.
fn caches<'a>(
    x: &'a [f32],
    halves: &'a [u16],
    q: &'a [i8],
    scale: &'a [u16],
) -> [(&'static str, CacheRows<'a>, usize); 3] {
    [
        ("f32", CacheRows::F32(x), 4 * x.len()),
        ("f16", CacheRows::F16(halves), 2 * x.len()),
        ("i8", CacheRows::I8 { q, scale }, x.len() + 2 * scale.len()),
    ]
}

fn attention(c: &mut Criterion) {
    for (positions, dim) in ATTENTION {
        let mut rng = Rng::new();
        let x = rng.vector(positions * dim);
        let halves: Vec<u16> = x.iter().map(|x| f32_to_f16(*x)).collect();
        let q: Vec<i8> = x.iter().map(|x| (x * 127.0) as i8).collect();
        let scale = vec![f32_to_f16(1.0 / 127.0); positions];
        let query = rng.vector(dim);
        let query_q: Vec<i8> = query.iter().map(|x| (x * 127.0) as i8).collect();
        let query_scale = vec![1.0 / 127.0; dim.div_ceil(BLOCK)];
        for (name, rows, bytes) in caches(&x, &halves, &q, &scale) {
            let query = Query { x: &query, q: &query_q, scale: &query_scale };
            for op in ["att_scores", "att_values"] {
                let mut group = c.benchmark_group(format!("{op}_{name}"));
                group.throughput(Throughput::Bytes(bytes as u64));
                for kernels in select::all() {
                    let id = BenchmarkId::new(kernels.name(), format!("{positions}x{dim}"));
                    let (mut out, mut acc) = (vec![0.0; positions], vec![0.0; dim]);
                    group.bench_function(id, |b| {
                        b.iter(|| match op {
                            "att_scores" => kernels.att_scores(black_box(&query), &rows, 0.125, &mut out),
                            _ => {
                                out.fill(-1.0);
                                kernels.att_values(black_box(&mut out), 0.0, &rows, &mut acc)
                            }
                        });
                    });
                }
            }
        }
    }
}

criterion_group!(benches, vector, attention);
criterion_main!(benches);
