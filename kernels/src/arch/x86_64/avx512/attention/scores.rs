//! The first pass: sixteen queries with [`KEYS`] keys, whose sums are in registers. With fewer, queries would be loaded so often
//! that loads and not sums are what it waits for.

use core::arch::x86_64::*;

use super::{
    super::{
        super::ahead::{NEAR, fetch},
        lanes::{load_f16, load_part, store, transpose},
    },
    BLOCKS, LANES, MAX_DIM, Scales, Seen,
};
use crate::{BLOCK, CacheRows, Queries, arch::together::row, scalar::CHUNK, slice::part};

/// Keys at once.
pub(super) const KEYS: usize = 8;
/// Bytes ahead of those in use that are asked for: a long cache lies in memory.
pub(super) const AHEAD: usize = 4096;

/// Scores of all positions of `keys`, which begin at position `first`, a multiple of a chunk, and each lane's largest. `None`
/// when lengths do not fit each other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn all<const D: usize, const V: usize>(
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
        CacheRows::F32(keys) => floats::<_, D, V>(queries, unit, keys, |key| load_part(key), scores, &mut out)?,
        CacheRows::F16(keys) => floats::<_, D, V>(queries, unit, keys, |key| load_f16(key), scores, &mut out)?,
        CacheRows::I8 { q, scale } => {
            let x = Codes::of(queries, unit)?;
            let mut bytes = [[[0; BLOCK]; KEYS]; BLOCKS];
            let rows =
                scores.chunks_mut(CHUNK).zip(q.chunks((CHUNK * queries.head_dim).max(1))).zip(scale.chunks(CHUNK));
            for (chunk, ((scores, keys), scale)) in rows.enumerate() {
                let scales = Scales::of(scale);
                let groups = scores.chunks_mut(KEYS).zip(keys.chunks((KEYS * queries.head_dim).max(1)));
                for (at, (scores, keys)) in (0..).step_by(KEYS).zip(groups) {
                    for (k, row) in keys.chunks_exact(queries.head_dim.max(1)).enumerate() {
                        flip(row, k, &mut bytes);
                    }
                    out.put(chunk * CHUNK + at, scores, x.dots(&bytes, scales.part(at)));
                }
            }
        }
    }
    Some(out.max)
}

/// Sixteen elements of each of some keys as floats, then the next sixteen. Where keys are fewer, some of those before them are
/// left, for whose scores there is no place.
type Wide<const V: usize> = [[[f32; 16]; KEYS]; V];

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn floats<T, const D: usize, const V: usize>(
    queries: &Queries<'_>,
    unit: &[i32; LANES],
    keys: &[T],
    widen: impl Fn(&[T; 16]) -> __m512,
    scores: &mut [[f32; LANES]],
    out: &mut Out,
) -> Option<()> {
    let mut x = Floats { x: [[0.0; LANES]; D], dim: queries.head_dim };
    x.fill(queries, unit)?;
    let dim = queries.head_dim;
    let mut wide: Wide<V> = [[[0.0; 16]; KEYS]; V];
    let groups = scores.chunks_mut(KEYS).zip(keys.chunks((KEYS * dim).max(1)));
    for (at, (scores, keys)) in (0..).step_by(KEYS).zip(groups) {
        for (k, key) in keys.chunks_exact(dim.max(1)).enumerate() {
            for (wide, key) in wide.iter_mut().zip(key.as_chunks::<16>().0) {
                fetch::<NEAR, 64>(key.as_ptr().wrapping_byte_add(AHEAD));
                let Some(wide) = wide.get_mut(k) else { continue };
                store(wide, widen(key));
            }
        }
        out.put(at, scores, x.dots(&wide));
    }
    Some(())
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
    fn put(&mut self, at: usize, scores: &mut [[f32; LANES]], dots: [__m512; KEYS]) {
        for ((pos, out), dot) in (self.first + at..).zip(scores).zip(dots) {
            let score = _mm512_mul_ps(dot, self.scale);
            store(out, score);
            // The second operand where either is NaN, as in the scalar code.
            self.max = _mm512_mask_max_ps(self.max, self.seen.at(pos), score, self.max);
        }
    }
}

/// Float queries, `[head_dim][lane]`.
struct Floats<const D: usize> {
    x: [[f32; LANES]; D],
    dim: usize,
}

impl<const D: usize> Floats<D> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn fill(&mut self, queries: &Queries<'_>, unit: &[i32; LANES]) -> Option<()> {
        for (at, x) in self.x.as_chunks_mut::<LANES>().0.iter_mut().take(self.dim / LANES).enumerate() {
            let mut turned = [_mm512_setzero_si512(); LANES];
            for (turned, unit) in turned.iter_mut().zip(unit) {
                let row = row(queries.x, *unit, self.dim)?;
                *turned = _mm512_castps_si512(load_part(part(row, at * LANES, LANES)));
            }
            for (x, turned) in x.iter_mut().zip(transpose(turned)) {
                store(x, _mm512_castsi512_ps(turned));
            }
        }
        Some(())
    }

    /// The contract's sums over `head_dim`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn dots<const V: usize>(&self, keys: &Wide<V>) -> [__m512; KEYS] {
        // The partial sums in the order of the tree, so that few wait for others.
        let even =
            add(add(self.partial(keys, 0), self.partial(keys, 4)), add(self.partial(keys, 2), self.partial(keys, 6)));
        let odd =
            add(add(self.partial(keys, 1), self.partial(keys, 5)), add(self.partial(keys, 3), self.partial(keys, 7)));
        add(even, odd)
    }

    /// The partial sum over the elements `i` with `i % 8 == at`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn partial<const V: usize>(&self, keys: &Wide<V>, at: usize) -> [__m512; KEYS] {
        let mut sums = [_mm512_setzero_ps(); KEYS];
        for (x, keys) in self.x.as_chunks::<16>().0.iter().zip(keys).take(self.dim / 16) {
            for i in [at, at + 8] {
                let x = load_part(&x[i]);
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum = _mm512_add_ps(*sum, _mm512_mul_ps(x, _mm512_set1_ps(key[i])));
                }
            }
        }
        sums
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add(mut a: [__m512; KEYS], b: [__m512; KEYS]) -> [__m512; KEYS] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = _mm512_add_ps(*a, b);
    }
    a
}

/// 64 codes as unsigned bytes, and those that come later asked for.
///
/// # Safety
/// * 64 bytes from `start` on are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn flipped(start: *const i8) -> __m512i {
    fetch::<NEAR, 64>(start.wrapping_byte_add(super::few::AHEAD));
    // SAFETY: the caller's promise; `loadu` asks for no alignment.
    _mm512_xor_si512(unsafe { _mm512_loadu_si512(start.cast()) }, _mm512_set1_epi8(-128))
}

/// At most 64 codes from `start` on as unsigned bytes; what follows them is 128, as of codes that are 0.
///
/// # Safety
/// * `width` bytes from `start` on are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn flipped_part(start: *const i8, width: usize) -> __m512i {
    let mask = u64::MAX.checked_shr(64u32.saturating_sub(width as u32)).unwrap_or(0);
    // SAFETY: only the lanes of the mask are read.
    let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, start) };
    _mm512_xor_si512(bytes, _mm512_set1_epi8(-128))
}

/// Key `k`'s codes as unsigned bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn flip(key: &[i8], k: usize, out: &mut [[[u8; BLOCK]; KEYS]; BLOCKS]) {
    for (out, key) in out.iter_mut().zip(key.chunks(BLOCK)) {
        let Some(out) = out.get_mut(k) else { return };
        for (out, key) in out.as_chunks_mut::<16>().0.iter_mut().zip(key.as_chunks::<16>().0) {
            // SAFETY: both are sixteen bytes.
            unsafe {
                let bytes = _mm_loadu_si128(key.as_ptr().cast());
                _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_xor_si128(bytes, _mm_set1_epi8(-128)));
            }
        }
    }
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

    /// `acc = acc + (kd * qd) * isum` over blocks, for each key and its scale. Past the end of a head, queries are 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn dots(&self, keys: &[[[u8; BLOCK]; KEYS]; BLOCKS], scale: &[f32; KEYS]) -> [__m512; KEYS] {
        let mut acc = [_mm512_setzero_ps(); KEYS];
        let blocks = self.q.as_chunks::<{ BLOCK / 4 }>().0.iter().zip(&self.scale).zip(&self.offset).zip(keys);
        for (((q, qd), offset), keys) in blocks.take(self.dim.div_ceil(BLOCK)) {
            let mut isum = [integers(offset); KEYS];
            for (step, q) in q.iter().enumerate() {
                let q = integers(q);
                for (isum, key) in isum.iter_mut().zip(keys) {
                    let four = i32::from_le_bytes(key.as_chunks::<4>().0[step]);
                    *isum = _mm512_dpbusd_epi32(*isum, _mm512_set1_epi32(four), q);
                }
            }
            let qd = load_part(qd);
            for ((acc, isum), kd) in acc.iter_mut().zip(isum).zip(scale) {
                let d = _mm512_mul_ps(_mm512_set1_ps(*kd), qd);
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
