/*! AArch64: base NEON, which every core has. */

mod neon;

pub use neon::Neon;
