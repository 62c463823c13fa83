/*! Cortex-M: the DSP extension (M4, M7, M33) and Helium (M55), chosen by cargo feature. */

#[cfg(feature = "dsp")]
mod dsp;
mod fpu;
#[cfg(feature = "helium")]
mod helium;

#[cfg(feature = "dsp")]
pub use dsp::Dsp;
#[cfg(feature = "helium")]
pub use helium::Helium;
#[cfg(feature = "helium")]
pub(crate) use helium::largest;
