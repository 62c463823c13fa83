//! What a shape must satisfy before anything is computed from it.

use pipsqueak::config::{Config, RopePairs};

use super::ImportError;

/// Bounds far above any model this engine is for, so that no product of two of them leaves 64 bits.
const MAX_WIDTH: u32 = 1 << 20;
const MAX_HIDDEN: u32 = 1 << 24;
const MAX_LAYERS: u32 = 4096;
const MAX_VOCAB: u32 = 1 << 24;
const MAX_CONTEXT: u32 = 1 << 28;

/// Checks what the arithmetic relies on: nothing zero, heads that divide, even rotations, sane bounds.
pub(super) fn check(config: &Config) -> Result<(), ImportError> {
    let within = |what: &str, value: u32, max: u32| {
        if value == 0 || value > max { Err(bad(what, value, format!("from 1 to {max}"))) } else { Ok(()) }
    };
    within("the width (dim)", config.dim, MAX_WIDTH)?;
    within("the feed-forward width (hidden_dim)", config.hidden_dim, MAX_HIDDEN)?;
    within("the number of layers", config.n_layers, MAX_LAYERS)?;
    within("the number of heads", config.n_heads, MAX_WIDTH)?;
    within("the number of key/value heads", config.n_kv_heads, config.n_heads)?;
    within("the size of a head", config.head_dim, MAX_WIDTH)?;
    within("the vocabulary's size", config.vocab_size, MAX_VOCAB)?;
    within("the context length", config.seq_len, MAX_CONTEXT)?;
    if !config.n_heads.is_multiple_of(config.n_kv_heads) {
        let want = format!("a divisor of the number of heads, {}", config.n_heads);
        return Err(bad("the number of key/value heads", config.n_kv_heads, want));
    }
    let q_dim = u64::from(config.n_heads) * u64::from(config.head_dim);
    if q_dim > u64::from(MAX_WIDTH) {
        return Err(bad("heads times head size", q_dim, format!("at most {MAX_WIDTH}")));
    }
    if !config.head_dim.is_multiple_of(2) {
        return Err(bad("the size of a head", config.head_dim, "even".into()));
    }
    let rotates = config.rope_pairs != RopePairs::None;
    if rotates && (config.rope_dim == 0 || !config.rope_dim.is_multiple_of(2) || config.rope_dim > config.head_dim) {
        let want = format!("even and from 2 to the head size, {}", config.head_dim);
        return Err(bad("the number of rotated dimensions", config.rope_dim, want));
    }
    if !(config.norm_eps > 0.0 && config.norm_eps < 1.0) {
        return Err(bad("the norms' epsilon", config.norm_eps, "above 0 and below 1".into()));
    }
    Ok(())
}

/// From which layers slide a window to the number that says it: of so many layers, the last does not slide; 0 where all do. `None`
/// where no number says it.
pub(super) fn window_period(slides: &[bool]) -> Option<u32> {
    let period = slides.iter().position(|slides| !slides).map_or(0, |first| first + 1);
    let regular = (1..).zip(slides).all(|(n, slides)| *slides != (period > 0 && n % period == 0));
    if regular { u32::try_from(period).ok() } else { None }
}

/// A `BadValue`.
pub(super) fn bad(what: &str, found: impl ToString, want: String) -> ImportError {
    ImportError::BadValue { what: what.into(), found: found.to_string(), want }
}
