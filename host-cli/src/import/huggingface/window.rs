//! Sliding windows: which layers have one, and what that makes of the context.

use pipsqueak::config::{Arch, MAX_TOKENS};

use super::config::{Raw, required};
use crate::import::{
    ImportError,
    shape::{bad, window_period},
};

/// Of how many layers Gemma 3's last has no window, where the file is silent.
const GLOBAL_EVERY: u32 = 6;

impl Raw {
    /// Which layers have a window by `layer_types`, if it is there.
    fn sliding_layers(&self, n_layers: u32) -> Result<Option<Vec<bool>>, ImportError> {
        let Some(types) = &self.layer_types else { return Ok(None) };
        if u32::try_from(types.len()) != Ok(n_layers) {
            return Err(bad("the length of layer_types", types.len(), format!("the number of layers, {n_layers}")));
        }
        let slides = types.iter().map(|kind| match kind.as_str() {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            other => Err(ImportError::Unsupported {
                what: format!("a layer of type {other:?} is"),
                hint: "full_attention and sliding_attention are",
            }),
        });
        slides.collect::<Result<_, _>>().map(Some)
    }

    /// Gemma 3's window in positions, and of how many layers the last has none.
    pub(super) fn windows(&self, n_layers: u32) -> Result<(u32, u32), ImportError> {
        let window = required("sliding_window", self.sliding_window)?;
        if window == 0 || window > MAX_TOKENS {
            return Err(bad("sliding_window", window, format!("from 1 to {MAX_TOKENS}")));
        }
        if let Some(slides) = self.sliding_layers(n_layers)? {
            let every = window_period(&slides).ok_or_else(|| ImportError::Unsupported {
                what: "layer_types without a period are".into(),
                hint: "windows in all layers but every n-th can be read",
            })?;
            return Ok((window, every));
        }
        let every = self.sliding_window_pattern.or(self.other_sliding_window_pattern).unwrap_or(GLOBAL_EVERY);
        if every == 0 {
            return Err(bad("sliding_window_pattern", every, "at least 1".into()));
        }
        Ok((window, every))
    }

    /// The longest context. Where there is a window that the engine has no word for, it ends there: within the window, full
    /// attention is what the model does.
    pub(super) fn context(&self, arch: Arch, n_layers: u32) -> Result<u32, ImportError> {
        let context = required("max_position_embeddings", self.max_position_embeddings)?;
        let window = match arch {
            Arch::Qwen2 | Arch::Qwen3 if self.use_sliding_window == Some(true) => {
                let slides = match self.sliding_layers(n_layers)? {
                    Some(slides) => slides.contains(&true),
                    None => self.max_window_layers.unwrap_or(0) < n_layers,
                };
                if slides { Some(required("sliding_window", self.sliding_window)?) } else { None }
            }
            Arch::Llama => self.sliding_window.filter(|window| *window > 0),
            _ => None,
        };
        Ok(context.min(window.unwrap_or(u32::MAX)))
    }
}
