//! What this set can do at best: its int8 multiply from registers, and reading.

use core::{arch::x86_64::*, hint::black_box};

use crate::arena::Line;

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

/// Lines that are asked for before they are needed; the hardware's own prefetcher stops at each page's end.
const AHEAD: usize = 128;

/// Reads all of `data`; returns the wrapping sum of its 64-bit words.
#[target_feature(enable = "avx2")]
pub(super) fn read(data: &[Line]) -> u64 {
    let mut sums = [_mm256_setzero_si256(); 4];
    for pair in data.as_chunks::<2>().0 {
        let start = pair.as_ptr().cast::<__m256i>();
        // A prefetch past the end asks for a line that is not used, and never faults.
        _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(2 * AHEAD).cast());
        _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(2 * AHEAD + 2).cast());
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a pair of lines is 128 readable bytes, four times 32; the type's alignment of 64 is more than asked.
            let words = unsafe { _mm256_load_si256(start.add(i)) };
            *sum = _mm256_add_epi64(*sum, words);
        }
    }
    let mut lanes = [0u64; 16];
    for (lanes, sum) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
        // SAFETY: four u64 are 32 writable bytes; the store asks for no alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
    }
    let rest = crate::scalar::read(data.as_chunks::<2>().1);
    lanes.into_iter().fold(rest, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use crate::{
        Kernels,
        arch::x86_64::Avx2,
        arena::{Line, bytes_of_mut},
        scalar,
    };

    #[test]
    fn reads_every_word() {
        let Some(avx2) = Avx2::new() else { return std::println!("skipped: {}", module_path!()) };
        let mut lines = [Line::ZERO; 7];
        for (i, byte) in bytes_of_mut(&mut lines).iter_mut().enumerate() {
            *byte = (i * 37 + i / 5) as u8;
        }
        for len in 0..=lines.len() {
            assert_eq!(avx2.read(&lines[..len]), scalar::read(&lines[..len]), "{len} lines");
        }
    }
}
