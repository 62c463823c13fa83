//! AVX-512 with VNNI: F, BW, VL and VNNI (Cascade Lake 2019, Ice Lake, Zen 4, and later).
//!
//! One 512-bit register is sixteen rows, or sixteen neighbouring elements of a vector. What a wider register does not speed
//! up runs the code of [`super::Avx2`], which every such CPU has too.

mod attention;
mod few;
pub(super) mod lanes;
mod math;
pub(super) mod matmul;
mod one;
mod peak;
#[cfg(test)]
mod tests;
pub(super) mod tiles;
mod vector;

use core::ops::Range;

use super::{Avx2, detect};
use crate::{
    CacheRows, Format, Gate, Input, Kernels, Matrix, Panel, Queries, Store, Tile, arch::together, arena::Line, scalar,
};

/// Proof that AVX-512 F, BW, VL and VNNI may be executed, and all of [`Avx2`].
#[derive(Clone, Copy, Debug)]
pub struct Avx512Vnni(Avx2);

impl Avx512Vnni {
    /// The value `select` hands out after [`Avx512Vnni::new`] said yes.
    pub(crate) const STATIC: Self = Self(Avx2::STATIC);

    /// `Some` when this CPU and its operating system support the kernels.
    pub fn new() -> Option<Self> {
        let avx2 = Avx2::new()?;
        detect::features().avx512vnni.then_some(Self(avx2))
    }
}

impl Kernels for Avx512Vnni {
    fn name(&self) -> &'static str {
        "avx512vnni"
    }

    fn panel(&self, format: Format) -> Panel {
        if format.is_quantised() { Panel::R16 } else { Panel::R1 }
    }

    fn matmul(&self, w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
        if !w.format().is_quantised() {
            return self.0.matmul(w, panels, x, out, store);
        }
        // SAFETY: `self` exists, so this CPU has the features the function enables; it asks for nothing else.
        let done = matches!(w.panel(), Panel::R16) && unsafe { matmul::matmul(w, panels.clone(), x, out, store) };
        if !done {
            scalar::matmul(w, panels, x, out, store);
        }
    }

    inherited_vectors!();

    fn gate(&self, function: Gate, gate: &mut [f32], up: &[f32]) {
        // SAFETY: `self` exists, so this CPU has the features the function enables; it asks for nothing else.
        unsafe { vector::gate(function, gate, up) }
    }

    fn peak(&self, rounds: usize) -> usize {
        // SAFETY: `self` exists, so this CPU has the features the function enables; it asks for nothing else.
        unsafe { peak::peak(rounds) }
    }

    fn read(&self, data: &[Line]) -> u64 {
        self.0.read(data)
    }

    inherited_attention!();

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
        // SAFETY: `self` exists, so this CPU has the features the function enables; it asks for nothing else.
        if !unsafe { attention::attend(queries, keys, values, scores, out) } {
            scalar::attend(self, queries, keys, values, scores, out);
        }
    }
}
