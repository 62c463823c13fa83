//! int8/int4 block-quantised matmul and vector kernels for small language models: `no_std`, no heap, and the same bits on
//! every instruction set.
//!
//! The scalar code ([`scalar`]) is the specification. Each instruction set has one file in `arch` and is compared with it
//! by `==` on bits by the suite in `testing`.
#![no_std]

#[cfg(target_endian = "big")]
compile_error!("weights are read in place and are little-endian");
#[cfg(all(target_arch = "x86", not(target_feature = "sse2")))]
compile_error!("x87 arithmetic keeps extra bits, so results would differ; build for a target with SSE2");

#[cfg(all(target_arch = "arm", not(target_abi = "eabihf"), any(feature = "dsp", feature = "helium")))]
compile_error!(
    "the kernel sets `dsp` and `helium` use the floating-point unit: build for a target whose name ends in eabihf"
);

pub mod acts;
pub mod arch;
pub mod arena;
mod error;
pub mod float16;
mod format;
mod kernels;
pub mod linear;
mod linked;
pub mod math;
mod matrix;
pub mod quantise;
pub mod scalar;
pub mod select;
pub mod slice;
pub mod team;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod words;

#[cfg(all(target_arch = "arm", feature = "dsp"))]
pub use arch::cortex_m::Dsp;
#[cfg(all(target_arch = "arm", feature = "helium"))]
pub use arch::cortex_m::Helium;

pub use acts::{Acts, Input, Pieces, Store, Tile};
pub use error::{ArenaTooSmall, LayoutError, NotFinite};
pub use format::{BLOCK, Format, Panel};
pub use kernels::{CacheRows, Gate, Kernels, Pairs, Queries, Query};
pub use linear::{Linear, run_linears};
pub use matrix::{Block, FLOAT_UNIT, Matrix, MatrixMut, matrix_bytes};
pub use scalar::Scalar;
