/*! One folder an architecture, one file an instruction set; the scalar code is in [`crate::scalar`]. */

#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
#[macro_use]
mod inherited;

#[cfg(target_arch = "aarch64")]
pub mod aarch64;
#[cfg(all(target_arch = "arm", any(feature = "dsp", feature = "helium")))]
pub mod cortex_m;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod together;
#[cfg(target_arch = "wasm32")]
pub mod wasm32;
#[cfg(target_arch = "x86_64")]
pub mod x86_64;
