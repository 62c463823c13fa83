/*! AArch64: base NEON, which every core has; and the dot-product and matrix instructions of later ones. */

#[cfg(target_feature = "neon")]
pub mod detect;
#[cfg(target_feature = "neon")]
mod dotprod;
#[cfg(target_feature = "neon")]
mod i8mm;
#[cfg(target_feature = "neon")]
mod neon;
#[cfg(target_feature = "neon")]
mod tiles;

#[cfg(target_feature = "neon")]
pub use self::{dotprod::Dotprod, i8mm::I8mm, neon::Neon};
