//! The int8 multiply instruction from registers.

use core::{arch::x86_64::*, hint::black_box};

/// Independent chains: enough to cover the latency of two multiplies a cycle.
const CHAINS: usize = 12;

/// `rounds` rounds of [`CHAINS`] `vpmaddubsw`, 32 multiply-adds each; returns the number of multiply-adds.
#[target_feature(enable = "avx2")]
pub(super) fn peak(rounds: usize) -> usize {
    let mut chains = [_mm256_set1_epi8(black_box(3)); CHAINS];
    let factor = _mm256_set1_epi8(black_box(1));
    for _ in 0..rounds {
        // Each product is the next one's operand, so none can be left out.
        for chain in &mut chains {
            *chain = _mm256_maddubs_epi16(*chain, factor);
        }
    }
    black_box(chains);
    rounds.saturating_mul(CHAINS * 32)
}
