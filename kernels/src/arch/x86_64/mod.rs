/*! x86-64: AVX2. */

mod avx2;
pub mod detect;

pub use avx2::Avx2;
