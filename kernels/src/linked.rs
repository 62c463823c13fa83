//! What is linked: the cargo features `weights-*`, `panel-*`, `cache-*` and `gate-*`.
//!
//! Formats and panels that are left out are refused where a [`crate::Matrix`] is made. What is read later can only be of
//! the others, which the functions here tell the compiler, so that it drops the code.

use crate::{Format, Gate, Panel};

#[cfg(not(any(feature = "weights-float", feature = "weights-q8", feature = "weights-q4", feature = "weights-q4m")))]
compile_error!("no weights could be read: choose at least one feature weights-*");
#[cfg(all(
    any(feature = "weights-q8", feature = "weights-q4", feature = "weights-q4m"),
    not(any(
        feature = "panel-r1",
        feature = "panel-r4",
        feature = "panel-r8",
        feature = "panel-r16",
        feature = "panel-d4",
        feature = "panel-h8"
    ))
))]
compile_error!("quantised weights lie in panels: choose at least one feature panel-*");
#[cfg(not(any(feature = "cache-f32", feature = "cache-f16", feature = "cache-i8")))]
compile_error!("keys and values could not be kept: choose at least one feature cache-*");
#[cfg(not(any(feature = "gate-silu", feature = "gate-gelu", feature = "gate-relu")))]
compile_error!("a gated unit has a function: choose at least one feature gate-*");
#[cfg(all(
    target_arch = "arm",
    feature = "dsp",
    not(feature = "panel-d4"),
    any(feature = "weights-q8", feature = "weights-q4", feature = "weights-q4m")
))]
compile_error!("the kernel set `dsp` reads the panel D4: choose the feature panel-d4");
#[cfg(all(
    target_arch = "arm",
    feature = "helium",
    not(feature = "panel-h8"),
    any(feature = "weights-q8", feature = "weights-q4", feature = "weights-q4m")
))]
compile_error!("the kernel set `helium` reads the panel H8: choose the feature panel-h8");

/// Whether any matrix may have float weights.
pub(crate) const FLOAT_WEIGHTS: bool = cfg!(feature = "weights-float");
/// Whether any cache may be of floats.
#[allow(dead_code, reason = "for kernel sets that not every architecture has")]
pub(crate) const FLOAT_CACHES: bool = cfg!(any(feature = "cache-f32", feature = "cache-f16"));

impl Format {
    /// Whether this build has the code for weight matrices of this format.
    pub const fn is_linked(self) -> bool {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => FLOAT_WEIGHTS,
            Self::Q8 => cfg!(feature = "weights-q8"),
            Self::Q4 => cfg!(feature = "weights-q4"),
            Self::Q4M => cfg!(feature = "weights-q4m"),
        }
    }

    /// The cargo feature that links it.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => "weights-float",
            Self::Q8 => "weights-q8",
            Self::Q4 => "weights-q4",
            Self::Q4M => "weights-q4m",
        }
    }

    /// This format of a matrix, among those that are linked and F32, which vectors have.
    #[inline(always)]
    pub(crate) const fn narrowed(self) -> Self {
        const ONLY: Option<Format> = match (Format::Q8.is_linked(), Format::Q4.is_linked(), Format::Q4M.is_linked()) {
            (true, false, false) => Some(Format::Q8),
            (false, true, false) => Some(Format::Q4),
            (false, false, true) => Some(Format::Q4M),
            _ => None,
        };
        match (ONLY, FLOAT_WEIGHTS) {
            (Some(only), false) if self.is_quantised() => only,
            (_, false) if !self.is_quantised() => Self::F32,
            _ => self,
        }
    }
}

impl Panel {
    /// Whether this build has the code for quantised weights in this panel.
    pub const fn is_linked(self) -> bool {
        match self {
            Self::R1 => cfg!(feature = "panel-r1"),
            Self::R4 => cfg!(feature = "panel-r4"),
            Self::R8 => cfg!(feature = "panel-r8"),
            Self::R16 => cfg!(feature = "panel-r16"),
            Self::D4 => cfg!(feature = "panel-d4"),
            Self::H8 => cfg!(feature = "panel-h8"),
        }
    }

    /// The cargo feature that links it.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::R1 => "panel-r1",
            Self::R4 => "panel-r4",
            Self::R8 => "panel-r8",
            Self::R16 => "panel-r16",
            Self::D4 => "panel-d4",
            Self::H8 => "panel-h8",
        }
    }

    /// This panel of a quantised matrix, among those that are linked.
    #[inline(always)]
    pub(crate) const fn narrowed(self) -> Self {
        const ONLY: Option<Panel> = {
            let (mut only, mut count, mut i) = (None, 0, 0);
            while i < Panel::ALL.len() {
                if Panel::ALL[i].is_linked() {
                    (only, count) = (Some(Panel::ALL[i]), count + 1);
                }
                i += 1;
            }
            if count == 1 { only } else { None }
        };
        match ONLY {
            Some(only) => only,
            None => self,
        }
    }
}

impl Gate {
    /// Whether this build has the code for this function.
    pub const fn is_linked(self) -> bool {
        match self {
            Self::Silu => cfg!(feature = "gate-silu"),
            Self::Gelu => cfg!(feature = "gate-gelu"),
            Self::Relu => cfg!(feature = "gate-relu"),
        }
    }

    /// The cargo feature that links it.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Silu => "gate-silu",
            Self::Gelu => "gate-gelu",
            Self::Relu => "gate-relu",
        }
    }

    /// This function, among those that are linked.
    #[inline(always)]
    pub(crate) const fn narrowed(self) -> Self {
        match (Self::Silu.is_linked(), Self::Gelu.is_linked(), Self::Relu.is_linked()) {
            (true, false, false) => Self::Silu,
            (false, true, false) => Self::Gelu,
            (false, false, true) => Self::Relu,
            _ => self,
        }
    }
}
