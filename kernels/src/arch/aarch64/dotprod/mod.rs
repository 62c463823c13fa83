//! Dot-product instructions, FEAT_DotProd (Cortex-A55 and A75 2017, Cortex-A76, Neoverse N1, Apple A13, and later).
//!
//! `sdot` multiplies sixteen pairs of int8 and adds four products to each of four int32. What it does not speed up runs the
//! code of [`super::Neon`].

mod attention;
pub(super) mod matmul;
mod peak;
#[cfg(test)]
mod tests;

use core::{
    arch::{aarch64::*, asm},
    ops::Range,
};

use super::{
    Neon, detect,
    neon::{TOGETHER, attention::attend},
};
use crate::{CacheRows, Format, Input, Kernels, Matrix, Panel, Queries, Query, Store, Tile, scalar};

/// Proof that the dot-product instructions may be executed.
#[derive(Clone, Copy, Debug)]
pub struct Dotprod(Neon);

impl Dotprod {
    /// The value `select` hands out after [`Dotprod::new`] said yes.
    pub(crate) const STATIC: Self = Self(Neon);

    /// `Some` when this CPU has them, as far as [`detect`] can tell.
    pub fn new() -> Option<Self> {
        detect::features().dotprod.then_some(Self(Neon))
    }
}

impl Kernels for Dotprod {
    fn name(&self) -> &'static str {
        "dotprod"
    }

    fn panel(&self, format: Format) -> Panel {
        self.0.panel(format)
    }

    fn matmul(&self, w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
        // SAFETY: `self` exists, so this CPU has the instructions.
        let done = matches!(w.panel(), Panel::R4) && unsafe { matmul::matmul(w, panels.clone(), x, out, store) };
        if !done {
            self.0.matmul(w, panels, x, out, store);
        }
    }

    inherited_vectors!();
    inherited_gate!();

    fn peak(&self, rounds: usize) -> usize {
        // SAFETY: `self` exists, so this CPU has the instructions.
        unsafe { peak::peak(rounds) }
    }

    fn att_scores(&self, query: &Query<'_>, keys: &CacheRows<'_>, scale: f32, out: &mut [f32]) -> f32 {
        match *keys {
            CacheRows::I8 { q, scale: scales } if attention::fits(query) => {
                // SAFETY: `self` exists, so this CPU has the instructions.
                unsafe { attention::int_scores(query, q, scales, scale, out) }
            }
            _ => self.0.att_scores(query, keys, scale, out),
        }
    }

    fn att_values(&self, scores: &mut [f32], max: f32, values: &CacheRows<'_>, acc: &mut [f32]) -> f32 {
        self.0.att_values(scores, max, values, acc)
    }

    fn att_lanes(&self, head_dim: usize) -> usize {
        self.0.att_lanes(head_dim)
    }

    fn attend(
        &self,
        queries: &Queries<'_>,
        keys: &CacheRows<'_>,
        values: &CacheRows<'_>,
        scores: &mut [f32],
        out: &mut Tile<'_>,
    ) {
        // SAFETY: `self` exists, so this CPU has the instructions.
        if !TOGETHER || !unsafe { attend::<attention::Sdot>(queries, keys, values, scores, out) } {
            scalar::attend(self, queries, keys, values, scores, out);
        }
    }
}

/// Adds to each of four lanes the products of its four pairs: `vdotq_s32`, which is not stable (rust-lang/rust#117224).
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction of the target features enabled here, from registers to a register.
    unsafe {
        asm!("sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b", acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
             options(pure, nomem, nostack, preserves_flags));
    }
    acc
}

/// The same with the four values of one lane of `b` for all four lanes of `a`: `vdotq_laneq_s32`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot_lane<const LANE: u8>(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    const { assert!(LANE < 4) };
    // SAFETY: as in `sdot`.
    unsafe {
        asm!("sdot {acc:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]", acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
             lane = const LANE, options(pure, nomem, nostack, preserves_flags));
    }
    acc
}
