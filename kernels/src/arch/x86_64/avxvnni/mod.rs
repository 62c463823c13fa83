//! VNNI in 256-bit registers, without AVX-512 (Alder Lake 2021, Sierra Forest, Zen 5, and later).
//!
//! Products with quantised weights have code of their own, in the panels of [`super::Avx2`]; everything else is its code.

mod matmul;
mod peak;
#[cfg(test)]
mod tests;

use core::ops::Range;

use super::{Avx2, detect};
use crate::{Format, Input, Kernels, Matrix, Panel, Store, Tile, arena::Line, scalar};

/// Proof that AVX-VNNI may be executed, and all of [`Avx2`].
#[derive(Clone, Copy, Debug)]
pub struct AvxVnni(Avx2);

impl AvxVnni {
    /// The value `select` hands out after [`AvxVnni::new`] said yes.
    pub(crate) const STATIC: Self = Self(Avx2::STATIC);

    /// `Some` when this CPU and its operating system support the kernels.
    pub fn new() -> Option<Self> {
        let avx2 = Avx2::new()?;
        detect::features().avxvnni.then_some(Self(avx2))
    }
}

impl Kernels for AvxVnni {
    fn name(&self) -> &'static str {
        "avxvnni"
    }

    fn panel(&self, format: Format) -> Panel {
        self.0.panel(format)
    }

    fn matmul(&self, w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
        if !w.format().is_quantised() {
            return self.0.matmul(w, panels, x, out, store);
        }
        // SAFETY: `self` exists, so this CPU has the features the function enables; it asks for nothing else.
        let done = matches!(w.panel(), Panel::R8) && unsafe { matmul::matmul(w, panels.clone(), x, out, store) };
        if !done {
            scalar::matmul(w, panels, x, out, store);
        }
    }

    inherited_vectors!();
    inherited_gate!();

    fn peak(&self, rounds: usize) -> usize {
        // SAFETY: `self` exists, so this CPU has the features the function enables; it asks for nothing else.
        unsafe { peak::peak(rounds) }
    }

    fn read(&self, data: &[Line]) -> u64 {
        self.0.read(data)
    }

    inherited_attention!();
    inherited_attend!();
}
