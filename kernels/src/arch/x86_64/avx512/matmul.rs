//! Products with quantised weights in panels of sixteen rows.
//!
//! `vpdpbusd` multiplies unsigned weights with signed activations, four neighbours a lane, and adds to int32: eight of them
//! make one block of sixteen rows exact. A nibble is unsigned as it is; an int8 is after `^ 0x80`. What is too much in each
//! weight, 8 or 128, leaves through the block's sum of activations, from which the int32 accumulator starts.
//!
//! One token (decode) is [`super::one`]'s, a few are [`super::few`]'s, many (prefill) [`super::tiles`]'.

use core::{arch::x86_64::*, ops::Range};

use super::{
    few::{self, FEW},
    lanes::{load_bytes, load_f16},
    one::one,
    tiles::tiles,
};
use crate::{
    BLOCK, Format, Input, Matrix, Store, Tile,
    acts::{ActRow, Acts},
};

/// Rows of a panel.
pub(in super::super) const ROWS: usize = 16;
/// Bytes that weights are fetched ahead of their use. Panels follow each other without a gap, and so do the matrices of an
/// image, so what is asked for past the end is soon wanted too.
pub(super) const AHEAD: usize = 8192;
/// The same for scales, which are the smaller stream.
pub(super) const SCALES_AHEAD: usize = 2048;

pub(in super::super) const Q8: u8 = Format::Q8 as u8;
pub(in super::super) const Q4: u8 = Format::Q4 as u8;
pub(in super::super) const Q4M: u8 = Format::Q4M as u8;

/// Vectors of payload of a block.
pub(super) const fn vectors<const F: u8>() -> usize {
    if F == Q8 { 8 } else { 4 }
}

/// Rows of scales of a block, that of minima among them.
pub(in super::super) const fn scale_count<const F: u8>() -> usize {
    if F == Q4M { 2 } else { 1 }
}

/// The blocks of a panel, or a stretch of them.
#[derive(Clone, Copy)]
pub(in super::super) struct Blocks<'a> {
    /// Sixteen scales a block; Q4M: sixteen scales and sixteen minima.
    pub scales: &'a [[u16; ROWS]],
    /// Eight (Q8) or four (Q4, Q4M) vectors a block.
    pub payload: &'a [[u8; 64]],
}

impl<'a> Blocks<'a> {
    /// Panel `p`.
    #[inline]
    pub(in super::super) fn of(w: &Matrix<'a>, p: usize) -> Self {
        Self { scales: w.panel_scales(p).as_chunks().0, payload: w.panel_payload(p).as_chunks().0 }
    }

    /// Panel `p` and all that follow.
    #[inline]
    pub(super) fn from(w: &Matrix<'a>, p: usize) -> Self {
        let (scales, payload) = w.panels_from(p);
        Self { scales: scales.as_chunks().0, payload: payload.as_chunks().0 }
    }

    /// What follows the first `blocks` blocks.
    #[inline]
    pub(in super::super) fn skip<const F: u8>(self, blocks: usize) -> Self {
        Self {
            scales: self.scales.get(blocks * scale_count::<F>()..).unwrap_or(&[]),
            payload: self.payload.get(blocks * vectors::<F>()..).unwrap_or(&[]),
        }
    }

    /// Payload and scales, block by block.
    #[inline]
    pub(super) fn each<const F: u8>(self) -> impl Iterator<Item = (&'a [[u8; 64]], &'a [[u16; ROWS]])> {
        self.payload.chunks_exact(vectors::<F>()).zip(self.scales.chunks_exact(scale_count::<F>()))
    }
}

/// One token's activations as blocks.
#[derive(Clone, Copy, Default)]
pub(super) struct ActBlocks<'a> {
    pub(super) q: &'a [[i8; BLOCK]],
    pub(super) scale: &'a [f32],
    pub(super) sum: &'a [i32],
}

impl<'a> ActBlocks<'a> {
    /// Token `t`; `None` when its row is not `blocks` long.
    #[inline]
    pub(super) fn of(acts: &Acts<'a>, t: usize, blocks: usize) -> Option<Self> {
        let ActRow { q, scale, sum } = acts.row(t);
        let q = q.as_chunks::<BLOCK>().0;
        (q.len() == blocks && scale.len() == blocks && sum.len() == blocks).then_some(Self { q, scale, sum })
    }
}

/// What a block's sum of activations contributes: the start of the integer accumulator, or, for a minimum to be multiplied
/// with, the bits of `scale * sum`.
#[inline]
pub(super) fn offset<const F: u8>(scale: f32, sum: i32) -> i32 {
    match F {
        Q8 => -128 * sum,
        Q4 => -8 * sum,
        _ => (scale * sum as f32).to_bits().cast_signed(),
    }
}

/// See [`crate::scalar::matmul`]; returns false, having done nothing, when the shapes do not fit each other.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, how: Store) -> bool {
    let tokens = out.tokens().min(x.tokens);
    if !fits(w, &panels, x, out) {
        return false;
    }
    let at = panels.start;
    match (w.format(), tokens) {
        (Format::Q8, 1) => one::<Q8>(w, panels, &x.acts, out, how),
        (Format::Q4, 1) => one::<Q4>(w, panels, &x.acts, out, how),
        (Format::Q4M, 1) => one::<Q4M>(w, panels, &x.acts, out, how),
        (Format::Q8, 2..=FEW) => few::some::<Q8>(w, (panels, at), &x.acts, 0..tokens, out, how),
        (Format::Q4, 2..=FEW) => few::some::<Q4>(w, (panels, at), &x.acts, 0..tokens, out, how),
        (Format::Q4M, 2..=FEW) => few::some::<Q4M>(w, (panels, at), &x.acts, 0..tokens, out, how),
        (Format::Q8, _) => tiles::<Q8>(w, panels, &x.acts, 0..tokens, out, how),
        (Format::Q4, _) => tiles::<Q4>(w, panels, &x.acts, 0..tokens, out, how),
        (Format::Q4M, _) => tiles::<Q4M>(w, panels, &x.acts, 0..tokens, out, how),
        _ => return false,
    }
    true
}

/// Whether the shapes of a product fit each other.
pub(in super::super) fn fits(w: &Matrix<'_>, panels: &Range<usize>, x: &Input<'_>, out: &Tile<'_>) -> bool {
    let rows = panels.len().saturating_mul(ROWS);
    panels.end <= w.panels()
        && out.rows() <= rows
        && rows - out.rows() < ROWS
        && (0..out.tokens().min(x.tokens)).all(|t| ActBlocks::of(&x.acts, t, w.blocks()).is_some())
}

/// Codes as unsigned bytes, 128 too large.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn unsigned(codes: __m512i) -> __m512i {
    _mm512_xor_si512(codes, _mm512_set1_epi8(-128))
}

/// The low nibble of each byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn low(bytes: __m512i) -> __m512i {
    _mm512_and_si512(bytes, _mm512_set1_epi8(0x0f))
}

/// The high nibble of each byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn high(bytes: __m512i) -> __m512i {
    low(_mm512_srli_epi16::<4>(bytes))
}

/// A block of weights as unsigned bytes, one vector a k-step.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn unpack<const F: u8>(payload: &[[u8; 64]]) -> [__m512i; 8] {
    let mut w = [_mm512_setzero_si512(); 8];
    if F == Q8 {
        for (w, bytes) in w.iter_mut().zip(payload) {
            *w = unsigned(load_bytes(bytes));
        }
    } else {
        let (first, second) = w.split_at_mut(4);
        for ((to_low, to_high), bytes) in first.iter_mut().zip(second).zip(payload) {
            let bytes = load_bytes(bytes);
            *to_low = low(bytes);
            *to_high = high(bytes);
        }
    }
    w
}

/// A block's scales, and its minima if it has them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(in super::super) fn scales<const F: u8>(scales: &[[u16; ROWS]]) -> (__m512, __m512) {
    let zero = _mm512_setzero_ps();
    match scales {
        [d, m, ..] if F == Q4M => (load_f16(d), load_f16(m)),
        [d, ..] => (load_f16(d), zero),
        [] => (zero, zero),
    }
}

/// Four activations in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn broadcast(q: &[i8; 4]) -> __m512i {
    _mm512_set1_epi32(i32::from_le_bytes(q.map(i8::cast_unsigned)))
}

/// Adds one block's contribution to sixteen rows' sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add<const F: u8>(acc: __m512, isum: __m512i, d: __m512, m: __m512, scale: f32, offset: i32) -> __m512 {
    let product = _mm512_mul_ps(_mm512_mul_ps(d, _mm512_set1_ps(scale)), _mm512_cvtepi32_ps(isum));
    if F == Q4M {
        let minimum = _mm512_mul_ps(m, _mm512_set1_ps(f32::from_bits(offset.cast_unsigned())));
        _mm512_add_ps(acc, _mm512_add_ps(product, minimum))
    } else {
        _mm512_add_ps(acc, product)
    }
}
