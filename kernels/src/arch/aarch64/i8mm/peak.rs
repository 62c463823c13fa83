//! What this set can do at best: its int8 multiply from registers.

use core::{arch::aarch64::*, hint::black_box};

use super::smmla;

/// Independent chains: enough to cover the latency of four multiplies a cycle.
const CHAINS: usize = 16;

/// `rounds` rounds of [`CHAINS`] `smmla`, 32 multiply-adds each; returns the number of multiply-adds.
#[target_feature(enable = "neon,i8mm")]
pub(super) fn peak(rounds: usize) -> usize {
    let mut chains = [vdupq_n_s32(black_box(3)); CHAINS];
    let factor = vdupq_n_s8(black_box(1));
    for _ in 0..rounds {
        // Each sum is the next one's start, so none can be left out.
        for chain in &mut chains {
            *chain = smmla(*chain, factor, factor);
        }
    }
    black_box(chains);
    rounds.saturating_mul(CHAINS * 32)
}
