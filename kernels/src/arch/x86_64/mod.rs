/*! x86-64: AVX2, and AVX-512 with VNNI. */

mod avx2;
mod avx512;
pub mod detect;

pub use avx2::Avx2;
pub use avx512::Avx512Vnni;
