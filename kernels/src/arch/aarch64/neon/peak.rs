//! The int8 multiply-accumulate instruction from registers.

use core::{arch::aarch64::*, hint::black_box};

/// Independent chains: enough to cover the latency of two multiplies a cycle.
const CHAINS: usize = 12;

/// `rounds` rounds of [`CHAINS`] `smlal`, 8 multiply-adds each; returns the number of multiply-adds.
#[target_feature(enable = "neon")]
pub(super) fn peak(rounds: usize) -> usize {
    let mut chains = [vdupq_n_s16(black_box(3)); CHAINS];
    for _ in 0..rounds {
        // Opaque operands, so that the products cannot be taken out of the loop.
        let (a, b) = (black_box(vdup_n_s8(1)), black_box(vdup_n_s8(1)));
        for chain in &mut chains {
            *chain = vmlal_s8(*chain, a, b);
        }
    }
    black_box(chains);
    rounds.saturating_mul(CHAINS * 8)
}
