//! The specification: every operation in plain loops. All other kernel sets must give the same bits.

mod attention;
mod cache;
mod matmul;
mod peak;
mod vector;

#[cfg(any(feature = "dsp", feature = "helium", target_arch = "wasm32"))]
#[allow(unused_imports)]
pub(crate) use attention::weigh;
pub use attention::{CHUNK, att_scores, att_values, attend, from_start};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm", target_arch = "wasm32"))]
#[allow(unused_imports)]
pub(crate) use cache::round_clamp;
pub use cache::{store_f16, store_i8};
pub use matmul::matmul;
pub use peak::{peak, read};
pub(crate) use vector::round;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm", target_arch = "wasm32"))]
#[allow(unused_imports)]
pub(crate) use vector::{GELU_INNER, GELU_OUTER, INFINITE, SMALLEST, activate, rms_factor, turn};
pub use vector::{add, all_finite, gate, layernorm, quantise, rmsnorm, rotate, scale, softmax};

use crate::{Format, Kernels, Panel};

/// The scalar kernel set; runs anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

impl Kernels for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn panel(&self, _: Format) -> Panel {
        Panel::R1
    }
}

#[cfg(test)]
mod tests {
    crate::testing::kernel_tests!(Some(super::Scalar));
}
