//! Helium, the M-profile vector extension with floats: Cortex-M55 (2020), M85.

use crate::{Format, Kernels, Panel};

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
}
