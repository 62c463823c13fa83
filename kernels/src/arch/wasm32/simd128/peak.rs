//! The multiplication of the products from registers.

use core::{arch::wasm32::*, hint::black_box};

/// Independent chains: enough to cover the latency of two multiplications a cycle.
const CHAINS: usize = 12;

/// `rounds` rounds of [`CHAINS`] multiplications and additions of 16-bit lanes, 8 multiply-adds each; returns the number of
/// multiply-adds.
pub(super) fn peak(rounds: usize) -> usize {
    let mut chains = [i16x8_splat(black_box(3)); CHAINS];
    for _ in 0..rounds {
        // Opaque operands, so that the products cannot be taken out of the loop.
        let (a, b) = (i16x8_splat(black_box(1)), i16x8_splat(black_box(1)));
        for chain in &mut chains {
            *chain = i16x8_add(i16x8_mul(*chain, a), b);
        }
    }
    black_box(chains);
    rounds.saturating_mul(CHAINS * 8)
}
