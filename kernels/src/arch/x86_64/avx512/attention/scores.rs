//! The first pass: sixteen queries with one key, or two.

use core::arch::x86_64::*;

use super::{
    super::{
        lanes::{fetch, load_f16, load_part, store},
        math::tree,
    },
    BLOCKS, LANES, MAX_DIM, Scales, Seen,
};
use crate::{BLOCK, CacheRows, Queries, scalar::CHUNK};

/// Scores of all positions of `keys`, which begin at position `first`, a multiple of a chunk, and each lane's largest. `None`
/// when lengths do not fit each other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn all(
    queries: &Queries<'_>,
    unit: &[i32; LANES],
    seen: Seen,
    keys: &CacheRows<'_>,
    first: usize,
    scores: &mut [[f32; LANES]],
) -> Option<__m512> {
    let (scale, max) = (_mm512_set1_ps(queries.att_scale), _mm512_set1_ps(f32::NEG_INFINITY));
    let mut out = Out { scale, seen, first, max };
    match *keys {
        CacheRows::F32(keys) => {
            let x = Floats::of(queries, unit)?;
            pairs(queries.head_dim, keys, scores, |at, [a, b], scores| {
                out.put(at, scores, x.dots([a, b]));
            });
        }
        CacheRows::F16(keys) => {
            let x = Floats::of(queries, unit)?;
            let mut wide = [[0.0; MAX_DIM]; 2];
            pairs(queries.head_dim, keys, scores, |at, rows, scores| {
                for (wide, row) in wide.iter_mut().zip(rows) {
                    for (wide, row) in wide.as_chunks_mut::<16>().0.iter_mut().zip(row.as_chunks::<16>().0) {
                        store(wide, load_f16(row));
                    }
                }
                let [a, b] = &wide;
                out.put(at, scores, x.dots([a, b]));
            });
        }
        CacheRows::I8 { q, scale } => {
            let x = Codes::of(queries, unit)?;
            let rows =
                scores.chunks_mut(CHUNK).zip(q.chunks((CHUNK * queries.head_dim).max(1))).zip(scale.chunks(CHUNK));
            for (chunk, ((scores, keys), scale)) in rows.enumerate() {
                let scales = Scales::of(scale);
                pairs(queries.head_dim, keys, scores, |at, rows, scores| {
                    let [a, b] = rows.map(|row| flip(row));
                    let dots = x.dots([&a, &b], [scales.at(at), scales.at(at + scores.len() - 1)]);
                    out.put(chunk * CHUNK + at, scores, dots);
                });
            }
        }
    }
    Some(out.max)
}

/// Calls `f` with the index, the keys and the scores of two positions at a time; with the last one twice where it is alone.
#[inline(always)]
fn pairs<T>(
    dim: usize,
    keys: &[T],
    scores: &mut [[f32; LANES]],
    mut f: impl FnMut(usize, [&[T]; 2], &mut [[f32; LANES]]),
) {
    for ((index, scores), keys) in scores.chunks_mut(2).enumerate().zip(keys.chunks((2 * dim).max(1))) {
        let (first, rest) = keys.split_at_checked(dim).unwrap_or((&[], &[]));
        let second = if scores.len() == 2 { rest } else { first };
        f(2 * index, [first, second], scores);
    }
}

/// Where scores go.
struct Out {
    scale: __m512,
    seen: Seen,
    /// The position of the first key.
    first: usize,
    max: __m512,
}

impl Out {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn put(&mut self, at: usize, scores: &mut [[f32; LANES]], dots: [__m512; 2]) {
        for ((pos, out), dot) in (self.first + at..).zip(scores).zip(dots) {
            let score = _mm512_mul_ps(dot, self.scale);
            store(out, score);
            // The second operand where either is NaN, as in the scalar code.
            self.max = _mm512_mask_max_ps(self.max, self.seen.at(pos), score, self.max);
        }
    }
}

/// Float queries, `[head_dim][lane]`.
struct Floats {
    x: [[f32; LANES]; MAX_DIM],
    dim: usize,
}

impl Floats {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn of(queries: &Queries<'_>, unit: &[i32; LANES]) -> Option<Self> {
        let mut out = Self { x: [[0.0; LANES]; MAX_DIM], dim: queries.head_dim };
        let gather = Gather::new(unit, queries.head_dim, queries.x.len())?;
        for (at, x) in out.x.iter_mut().take(out.dim).enumerate() {
            // SAFETY: `at` is below the width that `new` was given with the slice's length.
            store(x, _mm512_castsi512_ps(unsafe { gather.at(queries.x.as_ptr().cast(), at) }));
        }
        Some(out)
    }

    /// The contract's sums over `head_dim`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn dots(&self, keys: [&[f32]; 2]) -> [__m512; 2] {
        let zero = _mm512_setzero_ps();
        let (mut s, mut t) = ([zero; 8], [zero; 8]);
        let [a, b] = keys.map(|key| key.as_chunks::<8>().0);
        let x = self.x.as_chunks::<8>().0.iter().take(self.dim / 8);
        for ((x, a), b) in x.zip(a).zip(b) {
            for (((x, (a, b)), s), t) in x.iter().zip(a.iter().zip(b)).zip(&mut s).zip(&mut t) {
                let x = load_part(x);
                *s = _mm512_add_ps(*s, _mm512_mul_ps(x, _mm512_set1_ps(*a)));
                *t = _mm512_add_ps(*t, _mm512_mul_ps(x, _mm512_set1_ps(*b)));
            }
        }
        [tree(s), tree(t)]
    }
}

/// 64 codes as unsigned bytes, and those that come later asked for.
///
/// # Safety
/// * 64 bytes from `start` on are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn flipped(start: *const i8) -> __m512i {
    fetch(start.wrapping_byte_add(super::few::AHEAD));
    // SAFETY: the caller's promise; `loadu` asks for no alignment.
    _mm512_xor_si512(unsafe { _mm512_loadu_si512(start.cast()) }, _mm512_set1_epi8(-128))
}

/// Elements `start .. start + width` of key `index`, at most 64, or of the last key where there are fewer, as unsigned bytes;
/// what follows them is 128, as of codes that are 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn flipped_part(keys: &[i8], dim: usize, index: usize, start: usize, width: usize) -> __m512i {
    let at = (index * dim).min(keys.len().saturating_sub(dim)) + start;
    let key = keys.get(at..at + width).unwrap_or_default();
    let mask = u64::MAX.checked_shr(64u32.saturating_sub(key.len() as u32)).unwrap_or(0);
    // SAFETY: only the lanes of the mask are read, as many as `key` has elements.
    let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, key.as_ptr()) };
    _mm512_xor_si512(bytes, _mm512_set1_epi8(-128))
}

/// A key's codes as unsigned bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn flip(key: &[i8]) -> [[u8; 4]; MAX_DIM / 4] {
    let mut out = [[0; 4]; MAX_DIM / 4];
    for (out, key) in out.as_chunks_mut::<4>().0.iter_mut().zip(key.as_chunks::<16>().0) {
        // SAFETY: both are sixteen bytes.
        unsafe {
            let bytes = _mm_loadu_si128(key.as_ptr().cast());
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_xor_si128(bytes, _mm_set1_epi8(-128)));
        }
    }
    out
}

/// Quantised queries: four neighbouring elements a lane.
struct Codes {
    q: [[i32; LANES]; MAX_DIM / 4],
    scale: [[f32; LANES]; BLOCKS],
    /// -128 times a block's sum: keys are multiplied as unsigned bytes, 128 too large.
    offset: [[i32; LANES]; BLOCKS],
    dim: usize,
}

impl Codes {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn of(queries: &Queries<'_>, unit: &[i32; LANES]) -> Option<Self> {
        let dim = queries.head_dim;
        let blocks = dim.div_ceil(BLOCK);
        let mut out =
            Self { q: [[0; LANES]; MAX_DIM / 4], scale: [[0.0; LANES]; BLOCKS], offset: [[0; LANES]; BLOCKS], dim };
        let gather = Gather::new(unit, blocks * BLOCK / 4, queries.q.len() / 4)?;
        for (at, q) in out.q.iter_mut().take(dim / 4).enumerate() {
            // SAFETY: `at` is below the width that `new` was given with the slice's length, in elements of four bytes.
            put(q, unsafe { gather.at(queries.q.as_ptr().cast(), at) });
        }
        let gather = Gather::new(unit, blocks, queries.scale.len())?;
        for (at, scale) in out.scale.iter_mut().take(blocks).enumerate() {
            // SAFETY: as above.
            store(scale, _mm512_castsi512_ps(unsafe { gather.at(queries.scale.as_ptr().cast(), at) }));
        }
        let ones = _mm512_set1_epi8(1);
        for (offset, q) in out.offset.iter_mut().zip(out.q.chunks(BLOCK / 4)) {
            let mut sum = _mm512_setzero_si512();
            for q in q {
                sum = _mm512_dpbusd_epi32(sum, ones, integers(q));
            }
            put(offset, _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32::<7>(sum)));
        }
        Some(out)
    }

    /// `acc = acc + (kd * qd) * isum` over blocks, for two keys and their scales.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn dots(&self, keys: [&[[u8; 4]; MAX_DIM / 4]; 2], scale: [f32; 2]) -> [__m512; 2] {
        let mut acc = [_mm512_setzero_ps(); 2];
        let [a, b] = keys.map(|key| key.as_chunks::<{ BLOCK / 4 }>().0);
        let blocks = self.q.get(..self.dim / 4).unwrap_or(&[]).chunks(BLOCK / 4);
        for ((q, (qd, offset)), (a, b)) in blocks.zip(self.scale.iter().zip(&self.offset)).zip(a.iter().zip(b)) {
            let mut isum = [integers(offset); 2];
            for (q, (a, b)) in q.iter().zip(a.iter().zip(b)) {
                let q = integers(q);
                for (isum, key) in isum.iter_mut().zip([a, b]) {
                    *isum = _mm512_dpbusd_epi32(*isum, _mm512_set1_epi32(i32::from_le_bytes(*key)), q);
                }
            }
            let qd = load_part(qd);
            for ((acc, isum), kd) in acc.iter_mut().zip(isum).zip(scale) {
                let d = _mm512_mul_ps(_mm512_set1_ps(kd), qd);
                *acc = _mm512_add_ps(*acc, _mm512_mul_ps(d, _mm512_cvtepi32_ps(isum)));
            }
        }
        acc
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn integers(x: &[i32; LANES]) -> __m512i {
    super::super::lanes::load_sums(x)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn put(out: &mut [i32; LANES], x: __m512i) {
    // SAFETY: `out` is sixteen writable integers.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), x) }
}

/// Reads one element of each lane's row of numbers of 32 bits.
struct Gather {
    index: __m512i,
    width: usize,
}

impl Gather {
    /// Rows `unit` of `width` numbers each, out of `len`; `None` when a row ends past that.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn new(unit: &[i32; LANES], width: usize, len: usize) -> Option<Self> {
        let last = usize::try_from(unit.iter().copied().max()?).ok()?;
        let end = (last + 1).checked_mul(width)?;
        let negative = unit.iter().any(|unit| *unit < 0);
        if negative || end > len || i32::try_from(end).is_err() {
            return None;
        }
        Some(Self { index: _mm512_mullo_epi32(integers(unit), _mm512_set1_epi32(width as i32)), width })
    }

    /// Element `at` of each row; zeros past their width.
    ///
    /// # Safety
    /// * From `start`, as many numbers of 32 bits are readable as `new` was told.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn at(&self, start: *const i32, at: usize) -> __m512i {
        if at >= self.width {
            return _mm512_setzero_si512();
        }
        // SAFETY: `new` found all rows inside the readable numbers, and `at` is inside a row.
        unsafe { _mm512_i32gather_epi32::<4>(self.index, start.wrapping_add(at)) }
    }
}
