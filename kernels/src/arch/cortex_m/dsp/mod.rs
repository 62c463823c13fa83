//! The DSP extension and a single-precision FPU: Cortex-M4F (2010), M7, M33.
//!
//! Integer products are 16-bit dual multiplications, written in assembly over four rows at a time, because compiled code
//! spills. Instructions are counted under QEMU; see the README's table.

mod matmul;

use core::ops::Range;

use crate::{Format, Input, Kernels, Matrix, Panel, Store, Tile};

/// The DSP extension and a single-precision FPU, which the cargo feature `dsp` promises.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dsp;

impl Kernels for Dsp {
    fn name(&self) -> &'static str {
        "dsp"
    }

    fn panel(&self, format: Format) -> Panel {
        if format.is_quantised() { Panel::D4 } else { Panel::R1 }
    }

    fn matmul(&self, w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
        matmul::matmul(w, panels, x, out, store);
    }
}
