//! What a machine can do at best: multiply-adds from registers, and reading.

use core::hint::black_box;

use crate::arena::{Line, bytes_of};

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

/// Reads all of `data`; returns the wrapping sum of its 64-bit words.
pub fn read(data: &[Line]) -> u64 {
    let (words, _) = bytes_of(data).as_chunks::<8>();
    words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}
