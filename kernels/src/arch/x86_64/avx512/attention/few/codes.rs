//! Scores over an int8 cache, sixteen keys at a time.
//!
//! Keys are turned round half way: enough that the sums of four keys come out beside each other, four bytes of each lane of
//! 128 bits after the other.

use core::arch::x86_64::*;

use super::{
    super::{
        super::{super::avx2::lanes::padded, lanes::load_f16_part},
        MAX_DIM,
        scores::{flipped, flipped_part},
    },
    Out,
};
use crate::{BLOCK, Queries, arch::together::Stretch};

/// Elements of a key that are multiplied at once: bytes of a register.
const SLICE: usize = 64;

/// Scores over an int8 cache: per block of 32 elements `acc = acc + (kd * qd) * isum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn codes<const H: usize>(
    queries: &Queries<'_>,
    on: &Stretch<'_>,
    keys: &[i8],
    scale: &[u16],
    scores: &mut [&mut [f32]; H],
) -> Option<[f32; H]> {
    match queries.head_dim.div_ceil(SLICE) {
        1 => of_slices::<H, 1>(queries, on, keys, scale, scores),
        2 => of_slices::<H, 2>(queries, on, keys, scale, scores),
        _ => of_slices::<H, { MAX_DIM / SLICE }>(queries, on, keys, scale, scores),
    }
}

/// The same of heads of at most `S` slices.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn of_slices<const H: usize, const S: usize>(
    queries: &Queries<'_>,
    on: &Stretch<'_>,
    keys: &[i8],
    scale: &[u16],
    scores: &mut [&mut [f32]; H],
) -> Option<[f32; H]> {
    let dim = queries.head_dim;
    let q = Codes::<H, S>::of(queries)?;
    let (keys, scale) = (keys.get(..on.len * dim)?, scale.get(..on.len)?);
    let mut out = Out::<H>::new(queries);
    for at in (0..on.len).step_by(16) {
        // The last sixteen may be among those before too, and come out the same.
        let at = at.min(on.len.saturating_sub(16));
        let kd = load_f16_part(scale.get(at..)?);
        let keys = keys.get(at * dim..)?;
        let dots = match keys.get(..16 * dim) {
            Some(keys) => q.dots(keys, kd),
            None => q.dots_of_fewer(keys, kd),
        };
        out.put(on, at, dots, scores);
    }
    Some(out.best())
}

/// Queries, spread for [`four`], slice by slice, and their scales, `[query][block]`.
struct Codes<'a, const H: usize, const S: usize> {
    q: [[[__m512i; 5]; H]; S],
    scale: &'a [f32],
    dim: usize,
}

impl<'a, const H: usize, const S: usize> Codes<'a, H, S> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn of(queries: &Queries<'a>) -> Option<Self> {
        let dim = queries.head_dim;
        // Queries come in whole blocks, keys do not.
        let blocks = dim.div_ceil(BLOCK);
        let (codes, scale) = (queries.q.get(..H * blocks * BLOCK)?, queries.scale.get(..H * blocks)?);
        let mut q = [[[_mm512_setzero_si512(); 5]; H]; S];
        for (h, codes) in codes.chunks_exact((blocks * BLOCK).max(1)).enumerate() {
            for (q, codes) in q.iter_mut().zip(codes.get(..dim)?.chunks(SLICE)) {
                *q.get_mut(h)? = spread(codes);
            }
        }
        Some(Self { q, scale, dim })
    }

    /// Products of sixteen keys with each query.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn dots(&self, keys: &[i8], kd: __m512) -> [__m512; H] {
        let dim = self.dim;
        let mut acc = [_mm512_setzero_ps(); H];
        if keys.len() < 16 * dim {
            debug_assert!(false, "{} bytes of keys", keys.len());
            return acc;
        }
        for ((slice, start), q) in (0..dim).step_by(SLICE).enumerate().zip(&self.q) {
            let width = SLICE.min(dim - start);
            // SAFETY: sixteen rows of `dim` elements, `width` of which begin at `start`.
            let sums = unsafe {
                let first = keys.as_ptr().add(start);
                if width == SLICE {
                    sums::<H, true>(first, dim, width, q)
                } else {
                    sums::<H, false>(first, dim, width, q)
                }
            };
            let scales = self.scale.chunks_exact(dim.div_ceil(BLOCK).max(1));
            for ((acc, sums), scales) in acc.iter_mut().zip(sums).zip(scales) {
                for (isum, qd) in sums.into_iter().zip(scales.get(2 * slice..).unwrap_or_default()) {
                    let d = _mm512_mul_ps(kd, _mm512_set1_ps(*qd));
                    *acc = _mm512_add_ps(*acc, _mm512_mul_ps(d, _mm512_cvtepi32_ps(isum)));
                }
            }
        }
        acc
    }

    /// The same where there are fewer than sixteen keys in all.
    #[cold]
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn dots_of_fewer(&self, keys: &[i8], kd: __m512) -> [__m512; H] {
        self.dots(&padded::<_, { 16 * MAX_DIM }>(keys, 0), kd)
    }
}

/// At most 64 codes of a query, spread for [`four`]: element `j` of each lane of 128 bits in all of that lane, for each `j`;
/// and -128 times the lane's sum, as keys are multiplied as unsigned bytes, 128 too large.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn spread(codes: &[i8]) -> [__m512i; 5] {
    let padded: [i8; SLICE] = padded(codes, 0);
    // SAFETY: `padded` is 64 readable bytes; `loadu` asks for no alignment.
    let q = unsafe { _mm512_loadu_si512(padded.as_ptr().cast()) };
    let zero = _mm512_setzero_si512();
    let sum = _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(-128), q);
    let sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32::<0b01_00_11_10>(sum));
    let sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32::<0b10_11_00_01>(sum));
    [
        _mm512_shuffle_epi32::<0b00_00_00_00>(q),
        _mm512_shuffle_epi32::<0b01_01_01_01>(q),
        _mm512_shuffle_epi32::<0b10_10_10_10>(q),
        _mm512_shuffle_epi32::<0b11_11_11_11>(q),
        _mm512_sub_epi32(zero, sum),
    ]
}

/// The sums of products of sixteen keys with each query, over the two blocks of a slice; of half a slice the second ones are 0.
///
/// Not inlined: a loop over slices would have sixteen addresses computed before, too many for the registers.
///
/// # Safety
/// * From `first`, sixteen rows of `width` bytes `dim` bytes apart are readable; a `WHOLE` slice is [`SLICE`] wide.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn sums<const H: usize, const WHOLE: bool>(
    first: *const i8,
    dim: usize,
    width: usize,
    q: &[[__m512i; 5]; H],
) -> [[__m512i; 2]; H] {
    let four = |row: usize| {
        // SAFETY: the caller's promise.
        let key = |row: usize| unsafe {
            let key = first.add(row * dim);
            if WHOLE { flipped(key) } else { flipped_part(key, width) }
        };
        four([key(row), key(row + 1), key(row + 2), key(row + 3)], q)
    };
    let (a, b, c, d) = (four(0), four(4), four(8), four(12));
    let mut out = [[_mm512_setzero_si512(); 2]; H];
    for (out, ((a, b), (c, d))) in out.iter_mut().zip(a.into_iter().zip(b).zip(c.into_iter().zip(d))) {
        // A block is two lanes.
        let ab =
            _mm512_add_epi32(_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b));
        let cd =
            _mm512_add_epi32(_mm512_shuffle_i32x4::<0b10_00_10_00>(c, d), _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d));
        *out = [_mm512_shuffle_i32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, cd)];
    }
    out
}

/// Lane by lane the sums of products of four keys with each query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn four<const H: usize>([r0, r1, r2, r3]: [__m512i; 4], q: &[[__m512i; 5]; H]) -> [__m512i; H] {
    // Lane `l` of `v_j` has elements `4 l + j` (of four bytes) of all four.
    let (a, b) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
    let (c, d) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
    let (v0, v1) = (_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c));
    let (v2, v3) = (_mm512_unpacklo_epi64(b, d), _mm512_unpackhi_epi64(b, d));
    let mut out = [_mm512_setzero_si512(); H];
    for (out, [q0, q1, q2, q3, offset]) in out.iter_mut().zip(q) {
        let sum = _mm512_dpbusd_epi32(*offset, v0, *q0);
        let sum = _mm512_dpbusd_epi32(sum, v1, *q1);
        let sum = _mm512_dpbusd_epi32(sum, v2, *q2);
        *out = _mm512_dpbusd_epi32(sum, v3, *q3);
    }
    out
}
