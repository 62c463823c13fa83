//! AVX2 and F16C (Haswell 2013, Zen 2017, and later).

use super::detect;
use crate::{Format, Kernels, Panel};

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

    fn panel(&self, _: Format) -> Panel {
        Panel::R8
    }
}

#[cfg(test)]
mod tests {
    crate::testing::kernel_tests!(super::Avx2::new());
}
