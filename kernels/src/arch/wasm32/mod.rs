/*! WebAssembly of 32 bits: SIMD of 128 bits, where the program is compiled for it. */

#[cfg(target_feature = "simd128")]
mod simd128;

#[cfg(target_feature = "simd128")]
pub use simd128::Simd128;
