//! The DSP extension and a single-precision FPU: Cortex-M4F (2010), M7, M33.

use crate::{Format, Kernels, Panel};

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
}
