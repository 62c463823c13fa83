//! Attention over one head of the cache: a chunk of it, and all of a context, for the queries of one token (decoding)
//! and of sixteen (prefill). The figure is bytes a second of the cache, once for all queries that share it.
#![allow(missing_docs, reason = "criterion_group! makes a public function without them")]

mod common;

use std::hint::black_box;

use common::{Cache, Heads};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pipsqueak_kernels::{Tile, scalar::CHUNK, select};

const HEAD_DIMS: [usize; 2] = [64, 128];
const CONTEXTS: [usize; 3] = [64, 512, 4096];
/// Query heads that share a head of the cache.
const HEADS: usize = 3;

fn chunk(c: &mut Criterion) {
    for head_dim in HEAD_DIMS {
        let cache = Cache::new(CHUNK, head_dim);
        for (name, rows, bytes) in cache.formats() {
            for op in ["att_scores", "att_values"] {
                let mut group = c.benchmark_group(format!("{op}_{name}"));
                group.throughput(Throughput::Bytes(bytes as u64));
                for kernels in select::all() {
                    let id = BenchmarkId::new(kernels.name(), format!("{CHUNK}x{head_dim}"));
                    let heads = Heads::new(kernels, head_dim, 1, 1);
                    let query = heads.query();
                    let (mut out, mut acc) = (vec![0.0; CHUNK], vec![0.0; head_dim]);
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

fn context(c: &mut Criterion) {
    for (op, tokens) in [("attend", 1), ("attend16", 16)] {
        for head_dim in HEAD_DIMS {
            for positions in CONTEXTS {
                let (keys, values) = (Cache::new(positions, head_dim), Cache::new(positions, head_dim));
                for ((name, keys, bytes), (_, values, _)) in keys.formats().into_iter().zip(values.formats()) {
                    let mut group = c.benchmark_group(format!("{op}_{name}"));
                    group.throughput(Throughput::Bytes(2 * bytes as u64));
                    for kernels in select::all() {
                        let heads = Heads::new(kernels, head_dim, HEADS, tokens);
                        let queries = heads.queries(positions);
                        let mut scores =
                            vec![0.0; kernels.att_lanes(head_dim).max(kernels.att_few(head_dim)) * positions];
                        let width = HEADS * head_dim;
                        let mut out = vec![0.0; tokens * width];
                        let id = BenchmarkId::new(kernels.name(), format!("{positions}x{head_dim}"));
                        group.bench_function(id, |b| {
                            b.iter(|| {
                                let mut out = Tile::whole(black_box(&mut out), width, tokens);
                                kernels.attend(black_box(&queries), &keys, &values, &mut scores, &mut out);
                            });
                        });
                    }
                }
            }
        }
    }
}

criterion_group!(benches, chunk, context);
criterion_main!(benches);
