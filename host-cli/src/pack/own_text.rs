//! Text that a model writes itself, to measure its activations on when there is no other.

use pipsqueak::{Image, KvType, PlanOptions, Sampler, Sampling, SessionError, kernels::Kernels, sampler::uniform};

use crate::pool::with_session;

/// Pieces that are written, each from another first word.
const PIECES: u32 = 16;
/// Tokens of a piece.
pub const PIECE_TOKENS: usize = 64;

/// Pieces of [`PIECE_TOKENS`] tokens (fewer where the model's context is shorter), one after the other. The same model
/// writes the same text on every machine. `progress` hears pieces done and pieces in all.
pub fn own_text(
    image: &Image<'_>,
    kernels: &dyn Kernels,
    threads: usize,
    mut progress: impl FnMut(u32, u32),
) -> Result<Vec<u32>, SessionError> {
    let config = image.config();
    let context = PIECE_TOKENS.min(config.seq_len as usize);
    let options = PlanOptions { context, kv: KvType::F32, batch: 2, logits: 1, threads };
    let mut text = Vec::new();
    with_session(image, kernels, options, |session| {
        for piece in 0..PIECES {
            session.truncate(0);
            let start = text.len();
            text.extend(image.vocab().and_then(|vocab| vocab.bos()).filter(|_| context > 1));
            text.push((uniform(u64::from(piece), 0) * config.vocab_size as f32) as u32 % config.vocab_size);
            let settings = Sampling { temperature: 1.0, seed: u64::from(piece), ..Sampling::default() };
            let mut sampler = Sampler::new(settings);
            session.prefill(&text[start..])?;
            while text.len() - start < context {
                let id = session.sample(&mut sampler)?;
                text.push(id);
                if text.len() - start < context {
                    session.decode(id)?;
                }
            }
            progress(piece + 1, PIECES);
        }
        Ok(text)
    })
}
