//! The golden vector: what a model computes for a fixed prompt, layer by layer, as checksums.

use pipsqueak::{Config, Image, KvType, PlanOptions, SessionError, Want, crc::Crc32, kernels::Kernels};

use crate::pool::with_session;

/// Tokens of the prompt.
const PROMPT: usize = 8;

/// Words the section takes.
pub(super) fn words(config: &Config) -> usize {
    1 + prompt(config).len() + KvType::ALL.len() * (config.n_layers as usize + 1)
}

/// Ids spread over the vocabulary.
fn prompt(config: &Config) -> Vec<u32> {
    let count = PROMPT.min(config.seq_len as usize);
    (0..count as u32).map(|i| (i.wrapping_mul(7919) + 1) % config.vocab_size).collect()
}

/// The section's words: prompt, then the checksums for every cache type.
pub(super) fn compute(image: &Image<'_>, kernels: &dyn Kernels, threads: usize) -> Result<Vec<u32>, SessionError> {
    let prompt = prompt(image.config());
    let mut words = vec![prompt.len() as u32];
    words.extend(&prompt);
    for kv in KvType::ALL {
        words.extend(sums(image, kernels, threads, kv, &prompt)?);
    }
    Ok(words)
}

/// Checksums of the last token's residual stream after each layer, and of its logits.
pub fn sums(
    image: &Image<'_>,
    kernels: &dyn Kernels,
    threads: usize,
    kv: KvType,
    prompt: &[u32],
) -> Result<Vec<u32>, SessionError> {
    let options = PlanOptions { context: prompt.len(), kv, batch: prompt.len(), logits: 1, threads };
    with_session(image, kernels, options, |session| {
        session.feed(prompt, Want::Last)?;
        let mut sums = Vec::new();
        while let Some(done) = session.step_stage()? {
            if done.stage == image.config().last_stage() {
                sums.push(Crc32::new().update_f32(session.residual()).finish());
            }
        }
        sums.push(Crc32::new().update_f32(session.logits()).finish());
        Ok(sums)
    })
}
