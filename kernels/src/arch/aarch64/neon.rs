//! Base NEON (every AArch64 core).

use crate::{Format, Kernels, Panel};

/// Base NEON, which AArch64 always has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Neon;

impl Kernels for Neon {
    fn name(&self) -> &'static str {
        "neon"
    }

    fn panel(&self, _: Format) -> Panel {
        Panel::R4
    }
}

#[cfg(test)]
mod tests {
    crate::testing::kernel_tests!(Some(super::Neon));
}
