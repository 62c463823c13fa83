//! RoPE: its bases, and how it is stretched.

use pipsqueak::config::Arch;
use serde::Deserialize;

use super::{
    architecture::Architecture,
    config::{Raw, required},
};
use crate::{
    import::{ImportError, shape::bad},
    source::RopeScaling,
};

/// `rope_scaling`, or `rope_parameters`, which newer files have in its place and in that of `rope_theta`.
#[derive(Debug, Deserialize)]
pub(super) struct RawScaling {
    rope_type: Option<String>,
    /// The older name of `rope_type`.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    pub(super) partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    /// The same by the kind of layer, where layers differ.
    full_attention: Option<Box<RawScaling>>,
    sliding_attention: Option<Box<RawScaling>>,
}

/// What becomes of it.
pub(super) struct Rope {
    pub(super) base: f64,
    /// In layers with a sliding window.
    pub(super) base_local: f64,
    pub(super) scaling: RopeScaling,
}

impl Raw {
    pub(super) fn rope(&self, architecture: &Architecture) -> Result<Rope, ImportError> {
        let all = self.rope_object();
        let full = all.and_then(|all| all.full_attention.as_deref()).or(all);
        let sliding = all.and_then(|all| all.sliding_attention.as_deref());
        let base = self.rope_theta.or_else(|| full?.rope_theta).unwrap_or(architecture.rope_base);
        let base = checked_base("rope_theta", base)?;
        let scaling = full.map_or(Ok(RopeScaling::None), RawScaling::read)?;
        if !matches!(architecture.arch, Arch::Gemma3 { .. }) {
            return Ok(Rope { base, base_local: base, scaling });
        }
        let base_local = self.rope_local_base_freq.or_else(|| sliding?.rope_theta).unwrap_or(10000.0);
        let base_local = checked_base("rope_local_base_freq", base_local)?;
        if sliding.map_or(Ok(RopeScaling::None), RawScaling::read)? != RopeScaling::None {
            return Err(ImportError::Unsupported {
                what: "RoPE that is stretched in layers with a sliding window is".into(),
                hint: "in layers without one it can be",
            });
        }
        Ok(Rope { base, base_local, scaling })
    }

    fn rope_object(&self) -> Option<&RawScaling> {
        self.rope_scaling.as_ref().or(self.rope_parameters.as_ref())
    }

    /// Where only a part of each head is turned: how much of it.
    pub(super) fn partial_rotary_factor(&self) -> Option<f64> {
        let all = self.rope_object();
        let kinds = all.into_iter().flat_map(|all| [all.full_attention.as_deref(), all.sliding_attention.as_deref()]);
        let objects = all.into_iter().chain(kinds.flatten());
        let mut parts =
            self.partial_rotary_factor.into_iter().chain(objects.filter_map(|one| one.partial_rotary_factor));
        parts.find(|part| *part != 1.0)
    }
}

fn checked_base(name: &str, base: f64) -> Result<f64, ImportError> {
    if base.is_finite() && base >= 1.0 { Ok(base) } else { Err(bad(name, base, "finite and at least 1".into())) }
}

impl RawScaling {
    fn read(&self) -> Result<RopeScaling, ImportError> {
        let number = |name: &'static str, value: Option<f64>, least: f64| match required(name, value)? {
            value if value.is_finite() && value >= least => Ok(value),
            value => Err(bad(name, value, format!("finite and at least {least}"))),
        };
        let kind = self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or("default");
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => {
                let factor = number("rope_scaling's factor", self.factor, 1.0)?;
                Ok(if factor == 1.0 { RopeScaling::None } else { RopeScaling::Linear { factor } })
            }
            "llama3" => {
                let low_freq_factor = number("rope_scaling's low_freq_factor", self.low_freq_factor, 1e-3)?;
                let high_freq_factor = number("rope_scaling's high_freq_factor", self.high_freq_factor, 1e-3)?;
                if high_freq_factor <= low_freq_factor {
                    let want = format!("above low_freq_factor, {low_freq_factor}");
                    return Err(bad("rope_scaling's high_freq_factor", high_freq_factor, want));
                }
                let original = self.original_max_position_embeddings;
                Ok(RopeScaling::Llama3 {
                    factor: number("rope_scaling's factor", self.factor, 1.0)?,
                    low_freq_factor,
                    high_freq_factor,
                    original_context: number("rope_scaling's original_max_position_embeddings", original, 1.0)?,
                })
            }
            other => Err(ImportError::Unsupported {
                what: format!("rope_scaling of type {other:?} is"),
                hint: "default, linear and llama3 can be read",
            }),
        }
    }
}
