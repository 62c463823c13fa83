//! The scalar multiply-add from registers.

use core::hint::black_box;

/// `rounds` rounds of eight independent int8 multiply-adds; returns their number.
pub fn peak(rounds: usize) -> usize {
    let mut acc = [0i32; 8];
    for _ in 0..rounds {
        // The operands are opaque, so that the products cannot be computed once for all rounds.
        let (a, b) = black_box((3i8, 5i8));
        for acc in &mut acc {
            *acc = acc.wrapping_add(a as i32 * b as i32) ^ 1;
        }
    }
    black_box(acc);
    rounds.saturating_mul(8)
}
