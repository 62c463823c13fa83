//! AMX with int8 products (Sapphire Rapids 2023, and later Xeons).
//!
//! A tile instruction makes the exact sums of one block for sixteen rows and sixteen tokens. Products with fewer tokens,
//! and all else, run the code of [`super::Avx512Vnni`], whose panel this set shares.

mod matmul;
mod permission;
#[cfg(test)]
mod tests;
mod tile;

use core::ops::Range;

pub use permission::Availability;

use super::Avx512Vnni;
use crate::{Format, Input, Kernels, Matrix, Panel, Store, Tile, arena::Line};

/// Proof that AMX may be used, and all of [`Avx512Vnni`].
#[derive(Clone, Copy, Debug)]
pub struct Amx(Avx512Vnni);

impl Amx {
    /// The value `select` hands out after [`Amx::new`] said yes.
    pub(crate) const STATIC: Self = Self(Avx512Vnni::STATIC);

    /// `Some` when this CPU has it, the operating system grants it to this process, and it multiplies rightly.
    pub fn new() -> Option<Self> {
        let avx512 = Avx512Vnni::new()?;
        (Self::availability() == Availability::Ready).then_some(Self(avx512))
    }

    /// Whether it can be used, and why not. The first call asks Linux, for the process and all its threads.
    pub fn availability() -> Availability {
        permission::availability()
    }
}

impl Kernels for Amx {
    fn name(&self) -> &'static str {
        "amx"
    }

    fn panel(&self, format: Format) -> Panel {
        self.0.panel(format)
    }

    fn matmul(&self, w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
        // SAFETY: `self` exists, so this CPU has the features the function enables, and tiles are granted.
        let done = matches!(w.panel(), Panel::R16) && unsafe { matmul::matmul(w, panels.clone(), x, out, store) };
        if !done {
            self.0.matmul(w, panels, x, out, store);
        }
    }

    inherited_vectors!();
    inherited_gate!();

    fn peak(&self, rounds: usize) -> usize {
        tile::peak(rounds)
    }

    fn read(&self, data: &[Line]) -> u64 {
        self.0.read(data)
    }

    inherited_attention!();
    inherited_attend!();
}
