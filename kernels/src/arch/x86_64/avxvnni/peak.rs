//! What this set can do at best: its int8 multiply from registers.

use core::{arch::x86_64::*, hint::black_box};

/// Independent chains: enough to cover the latency of two multiplies a cycle.
const CHAINS: usize = 12;

/// `rounds` rounds of [`CHAINS`] `vpdpbusd`, 32 multiply-adds each; returns the number of multiply-adds.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn peak(rounds: usize) -> usize {
    let mut chains = [_mm256_set1_epi8(black_box(3)); CHAINS];
    let factor = _mm256_set1_epi8(black_box(1));
    for _ in 0..rounds {
        // Each sum is the next one's start, so none can be left out.
        for chain in &mut chains {
            *chain = _mm256_dpbusd_avx_epi32(*chain, factor, factor);
        }
    }
    black_box(chains);
    rounds.saturating_mul(CHAINS * 32)
}
