//! Matrix instructions for int8, FEAT_I8MM (Cortex-A510 and A710 2021, Neoverse V1, Apple M2, and later).
//!
//! `smmla` multiplies two rows of eight int8 with two others: four sums of eight products. Products with one token, and
//! all else, run the code of [`super::Dotprod`], whose panel this set shares.

mod matmul;
mod peak;
#[cfg(test)]
mod tests;

use core::{
    arch::{aarch64::*, asm},
    ops::Range,
};

use super::{Dotprod, detect};
use crate::{Format, Input, Kernels, Matrix, Panel, Store, Tile};

/// Proof that the matrix instructions may be executed, and all of [`Dotprod`].
#[derive(Clone, Copy, Debug)]
pub struct I8mm(Dotprod);

impl I8mm {
    /// The value `select` hands out after [`I8mm::new`] said yes.
    pub(crate) const STATIC: Self = Self(Dotprod::STATIC);

    /// `Some` when this CPU has them, as far as [`detect`] can tell.
    pub fn new() -> Option<Self> {
        let dotprod = Dotprod::new()?;
        detect::features().i8mm.then_some(Self(dotprod))
    }
}

impl Kernels for I8mm {
    fn name(&self) -> &'static str {
        "i8mm"
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

    inherited_attention!();
    inherited_attend!();
}

/// Adds to lane `2 i + j` the product of row `i` of `a` and row `j` of `b`, each of eight: `vmmlaq_s32`, which is not stable
/// (rust-lang/rust#117223).
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction of the target features enabled here, from registers to a register.
    unsafe {
        asm!("smmla {acc:v}.4s, {a:v}.16b, {b:v}.16b", acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
             options(pure, nomem, nostack, preserves_flags));
    }
    acc
}
