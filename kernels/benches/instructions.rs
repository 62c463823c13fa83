//! Every operation once, for a simulator that counts instructions: `./check.sh callgrind`.
//!
//! `instructions SET` prints a line for each call of [`measured`], in order: the set, the operation and its shape, and
//! how many units of work that is (multiply-adds of products and attention, else elements). Weights, activations and
//! sizes are the same each time, so the count is too.

mod common;

use std::hint::black_box;

use common::{Activations, Cache, FORMATS, Heads, Rng, Weights};
use pipsqueak_kernels::{
    BLOCK, Gate, Kernels, Pairs, Store, Tile, acts::ActRowMut, math::cos_sin, scalar::CHUNK, select,
};

/// Rows and columns of a matrix: whole blocks and panels.
const ROWS: usize = 192;
const COLS: usize = 256;
/// Decoding; a few drafts; a batch of prefill.
const TOKENS: [usize; 3] = [1, 4, 16];
/// Elements of a vector: so many that the calls themselves do not show.
const LEN: usize = 8192;
const HEAD_DIM: usize = 64;
const HEADS: usize = 3;
const POSITIONS: usize = 4 * CHUNK;

/// What the simulator looks for: it counts from the entry of this function to its end, and writes the count down there.
#[inline(never)]
fn measured(call: &mut dyn FnMut()) {
    call();
    // A jump would be no call: this function's end would not be seen.
    black_box(());
}

/// Counts a call and says what it was.
fn count(kernels: &dyn Kernels, what: &str, units: usize, mut call: impl FnMut()) {
    measured(black_box(&mut call));
    println!("{} {what} {units}", kernels.name());
}

fn main() {
    // `cargo test` and `cargo bench` pass words of their own.
    let words: Vec<String> = std::env::args().skip(1).collect();
    for kernels in
        select::all().filter(|kernels| words.iter().all(|word| word.starts_with('-') || word == kernels.name()))
    {
        products(kernels);
        vectors(kernels);
        attention(kernels);
    }
}

fn products(kernels: &dyn Kernels) {
    for format in FORMATS {
        let weights = Weights::new(kernels, format, ROWS, COLS);
        let w = weights.matrix();
        for tokens in TOKENS {
            let x = Activations::new(kernels, tokens, COLS);
            let mut out = vec![0.0; tokens * ROWS];
            let what = format!("matmul_{}/{tokens}x{ROWS}x{COLS}", format.name());
            count(kernels, &what, tokens * ROWS * COLS, || {
                let mut out = Tile::whole(&mut out, ROWS, tokens);
                kernels.matmul(&w, 0..w.panels(), &x.input(), &mut out, Store::Set);
            });
            assert!(out.iter().any(|y| *y != 0.0));
        }
    }
}

fn vectors(kernels: &dyn Kernels) {
    let mut rng = Rng::new();
    let (x, y) = (rng.vector(LEN), rng.vector(LEN));
    let mut out = vec![0.0; LEN];
    let count = |op: &str, call: &mut dyn FnMut()| count(kernels, &format!("{op}/{LEN}"), LEN, call);

    let (mut q, mut scale, mut sum) = (vec![0; LEN], vec![0.0; LEN / BLOCK], vec![0; LEN / BLOCK]);
    count("quantise", &mut || {
        kernels.quantise(&x, ActRowMut { q: &mut q, scale: &mut scale, sum: &mut sum }).expect("finite numbers");
    });
    count("rmsnorm", &mut || kernels.rmsnorm(&x, &y, 1e-5, &mut out).expect("finite numbers"));
    count("layernorm", &mut || kernels.layernorm(&x, &y, &y, 1e-5, &mut out).expect("finite numbers"));
    out.copy_from_slice(&x);
    count("softmax", &mut || kernels.softmax(&mut out));
    let turns: Vec<f32> = (0..HEAD_DIM / 2).flat_map(|_| <[f32; 2]>::from(cos_sin(rng.bits()))).collect();
    for (op, pairs) in [("rotate_interleaved", Pairs::Interleaved), ("rotate_half_split", Pairs::HalfSplit)] {
        count(op, &mut || out.chunks_exact_mut(HEAD_DIM).for_each(|head| kernels.rotate(head, &turns, pairs)));
    }
    for (op, function) in [("gate_silu", Gate::Silu), ("gate_gelu", Gate::Gelu), ("gate_relu", Gate::Relu)] {
        out.copy_from_slice(&x);
        count(op, &mut || kernels.gate(function, &mut out, &y));
    }
    let (mut halves, mut bytes) = (vec![0; LEN], vec![0; LEN]);
    count("store_f16", &mut || kernels.store_f16(&x, &mut halves).expect("finite numbers"));
    count("store_i8", &mut || {
        for (x, bytes) in x.chunks_exact(HEAD_DIM).zip(bytes.chunks_exact_mut(HEAD_DIM)) {
            kernels.store_i8(x, bytes).expect("finite numbers");
        }
    });
}

fn attention(kernels: &dyn Kernels) {
    let (keys, values) = (Cache::new(POSITIONS, HEAD_DIM), Cache::new(POSITIONS, HEAD_DIM));
    for ((name, keys, _), (_, values, _)) in keys.formats().into_iter().zip(values.formats()) {
        for tokens in TOKENS {
            let heads = Heads::new(kernels, HEAD_DIM, HEADS, tokens);
            let queries = heads.queries(POSITIONS);
            let mut scores = vec![0.0; kernels.att_lanes(HEAD_DIM).max(kernels.att_few(HEAD_DIM)) * POSITIONS];
            let mut out = vec![0.0; tokens * HEADS * HEAD_DIM];
            // Each token's positions, scores and values.
            let positions: usize = (0..tokens).map(|t| queries.first_len + t).sum();
            count(
                kernels,
                &format!("attend_{name}/{tokens}x{POSITIONS}x{HEAD_DIM}"),
                2 * positions * HEADS * HEAD_DIM,
                || {
                    let mut out = Tile::whole(&mut out, HEADS * HEAD_DIM, tokens);
                    kernels.attend(&queries, &keys, &values, &mut scores, &mut out);
                },
            );
            assert!(out.iter().any(|y| *y != 0.0));
        }
    }
}
