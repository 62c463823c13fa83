/*! AArch64: base NEON, which every core has. */

#[cfg(target_feature = "neon")]
mod neon;

#[cfg(target_feature = "neon")]
pub use neon::Neon;
