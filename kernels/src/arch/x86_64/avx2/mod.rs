//! AVX2 and F16C (Haswell 2013, Zen 2017, and later).
//!
//! One 256-bit register is eight rows, or eight neighbouring elements of a vector. FMA is never used, though every such
//! CPU has it: the contract multiplies, rounds and then adds.

mod attention;
mod cache;
mod few;
mod float;
pub(super) mod lanes;
mod math;
pub(super) mod matmul;
mod matmul_q4;
mod matmul_q8;
mod peak;
#[cfg(test)]
mod tests;
mod vector;

use core::ops::Range;

pub(super) use float::put;

use super::detect;
use crate::{
    CacheRows, Format, Gate, Input, Kernels, Matrix, NotFinite, Pairs, Panel, Queries, Query, Store, Tile,
    acts::ActRowMut, arch::together, arena::Line, scalar,
};

/// Proof that AVX2 and F16C may be executed.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The value `select` hands out after [`Avx2::new`] said yes.
    pub(crate) const STATIC: Self = Self(());

    /// `Some` when this CPU and its operating system support the kernels.
    pub fn new() -> Option<Self> {
        detect::features().avx2.then_some(Self(()))
    }
}

impl Kernels for Avx2 {
    fn name(&self) -> &'static str {
        "avx2"
    }

    fn panel(&self, format: Format) -> Panel {
        if format.is_quantised() { Panel::R8 } else { Panel::R1 }
    }

    fn matmul(&self, w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
        let done = if !w.format().is_quantised() {
            // SAFETY: `self` exists, so this CPU has the features the function enables; it asks for nothing else.
            unsafe { float::matmul(w, panels.clone(), x, out, store) }
        } else if matches!(w.panel(), Panel::R8) {
            // SAFETY: as above.
            unsafe { matmul::matmul(w, panels.clone(), x, out, store) }
        } else {
            false
        };
        if !done {
            scalar::matmul(w, panels, x, out, store);
        }
    }

    fn quantise(&self, x: &[f32], row: ActRowMut<'_>) -> Result<(), NotFinite> {
        // SAFETY: `self` exists, so this CPU has the features the function enables; it asks for nothing else.
        unsafe { vector::quantise(x, row) }
    }

    fn all_finite(&self, x: &[f32]) -> bool {
        // SAFETY: as above.
        unsafe { vector::all_finite(x) }
    }

    fn rmsnorm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
        // SAFETY: as above.
        unsafe { vector::rmsnorm(x, weight, eps, out) }
    }

    fn layernorm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) -> Result<(), NotFinite> {
        // SAFETY: as above.
        unsafe { vector::layernorm(x, weight, bias, eps, out) }
    }

    fn softmax(&self, x: &mut [f32]) {
        // SAFETY: as above.
        unsafe { vector::softmax(x) }
    }

    fn rotate(&self, x: &mut [f32], cos_sin: &[f32], pairs: Pairs) {
        // SAFETY: as above.
        unsafe { vector::rotate(x, cos_sin, pairs) }
    }

    fn gate(&self, function: Gate, gate: &mut [f32], up: &[f32]) {
        // SAFETY: as above.
        unsafe { vector::gate(function, gate, up) }
    }

    fn store_f16(&self, x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
        // SAFETY: as above.
        unsafe { cache::store_f16(x, out) }
    }

    fn store_i8(&self, x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
        // SAFETY: as above.
        unsafe { cache::store_i8(x, out) }
    }

    fn peak(&self, rounds: usize) -> usize {
        // SAFETY: as above.
        unsafe { peak::peak(rounds) }
    }

    fn read(&self, data: &[Line]) -> u64 {
        // SAFETY: as above.
        unsafe { peak::read(data) }
    }

    fn att_scores(&self, query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
        // SAFETY: as above.
        match unsafe { attention::chunk::scores(query, keys, scale, out) } {
            Some(max) => max,
            None => scalar::att_scores(query, keys, scale, out),
        }
    }

    fn att_values(&self, scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
        // SAFETY: as above.
        match unsafe { attention::chunk::values(scores, max, values, acc) } {
            Some(sum) => sum,
            None => scalar::att_values(scores, max, values, acc),
        }
    }

    fn att_lanes(&self, head_dim: usize) -> usize {
        together::lanes(head_dim)
    }

    fn att_few(&self, head_dim: usize) -> usize {
        attention::few(head_dim)
    }

    fn attend(
        &self,
        queries: &Queries<'_>,
        keys: &CacheRows<'_>,
        values: &CacheRows<'_>,
        scores: &mut [f32],
        out: &mut Tile<'_>,
    ) {
        // SAFETY: as above.
        if !unsafe { attention::attend(queries, keys, values, scores, out) } {
            scalar::attend(self, queries, keys, values, scores, out);
        }
    }
}
