/*! x86-64: AVX2, AVX-VNNI, AVX-512 with VNNI, and AMX. */

mod ahead;
mod amx;
mod avx2;
mod avx512;
mod avxvnni;
pub mod detect;

pub use amx::{Amx, Availability};
pub use avx2::Avx2;
pub use avx512::Avx512Vnni;
pub use avxvnni::AvxVnni;
