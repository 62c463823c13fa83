//! WebAssembly's SIMD of 128 bits (browsers since 2021, Safari since 2023; Node since version 16).
//!
//! Compiled only with `-C target-feature=+simd128`: a module that has such instructions is refused as a whole by an engine
//! that lacks them, so that there is nothing to detect. Nothing here is of relaxed SIMD, whose results may differ from
//! machine to machine, and the contract fuses no multiplication with an addition, so that the set needs no scalar detour.
//!
//! The bits of a NaN are the one thing that WebAssembly leaves to an engine; no finite result depends on them.
//!
//! The suite runs under Node, from `tests/wasm`: `./check.sh wasm`.

mod attention;
mod cache;
mod float;
mod lanes;
mod math;
mod matmul;
mod peak;
mod vector;

use core::ops::Range;

use crate::{
    CacheRows, Format, Gate, Input, Kernels, Matrix, NotFinite, Pairs, Panel, Query, Store, Tile, acts::ActRowMut,
};

/// WebAssembly's SIMD of 128 bits, which the program was compiled for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Simd128;

impl Kernels for Simd128 {
    fn name(&self) -> &'static str {
        "simd128"
    }

    fn panel(&self, format: Format) -> Panel {
        if format.is_quantised() { Panel::R4 } else { Panel::R1 }
    }

    fn matmul(&self, w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
        matmul::matmul(w, panels, x, out, store);
    }

    fn quantise(&self, x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
        vector::quantise(x, row)
    }

    fn rmsnorm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
        vector::rmsnorm(x, weight, eps, out)
    }

    fn layernorm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
        vector::layernorm(x, weight, bias, eps, out)
    }

    fn softmax(&self, x: &mut [f32]) {
        vector::softmax(x);
    }

    fn rotate(&self, x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
        vector::rotate(x, cos_sin, pairs);
    }

    fn gate(&self, function: Gate, gate: &mut [f32], up: &[f32]) {
        vector::gate(function, gate, up);
    }

    fn store_f16(&self, x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
        cache::store_f16(x, out)
    }

    fn store_i8(&self, x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
        cache::store_i8(x, out)
    }

    fn peak(&self, rounds: usize) -> usize {
        peak::peak(rounds)
    }

    fn att_scores(&self, query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
        attention::scores(query, keys, scale, out)
    }

    fn att_values(&self, scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
        attention::values(scores, max, values, acc)
    }
}
