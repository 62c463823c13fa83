//! Helium, the M-profile vector extension with floats: Cortex-M55 (2020), M85.
//!
//! Rust has neither intrinsics nor registers for it, so that whole loops are assembly. Its float instructions take
//! subnormal numbers for zero; the contract sees to it that there are none.

mod attention;
mod cache;
mod exp;
mod matmul;
mod vector;

use core::ops::Range;

use super::fpu;
use crate::{
    CacheRows, Format, Gate, Input, Kernels, Matrix, NotFinite, Panel, Query, Store, Tile, acts::ActRowMut,
    kernels::Pairs,
};

pub(crate) use cache::largest;

/// Helium with floats, which the cargo feature `helium` promises.
#[derive(Clone, Copy, Debug, Default)]
pub struct Helium;

impl Kernels for Helium {
    fn name(&self) -> &'static str {
        "helium"
    }

    fn panel(&self, format: Format) -> Panel {
        if format.is_quantised() { Panel::H8 } else { Panel::R1 }
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

    fn att_scores(&self, query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
        attention::scores(query, keys, scale, out)
    }

    fn att_values(&self, scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
        attention::values(scores, max, values, acc)
    }
}
