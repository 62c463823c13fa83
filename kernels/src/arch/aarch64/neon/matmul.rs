//! Products with quantised weights in panels of four rows; float weights go to `float`, other panels to scalar code.
//!
//! A 16-byte vector holds one k-step, four columns of each of four rows. The four activations of the step, copied to all
//! four words of a register, multiply it to two vectors of eight i16, which are added in pairs until each row is one i32
//! lane. The float work is then on rows in lanes: one multiplication and one addition a block and token.

use core::{arch::aarch64::*, ops::Range};

use super::{float, widen_halves};
use crate::{BLOCK, Format, Input, Matrix, Panel, Store, Tile, acts::ActRow, scalar};

/// Rows of the panel this set reads.
const R: usize = 4;
/// Tokens that share one reading (and unpacking) of a panel.
const TOKENS: usize = 4;

/// See [`scalar::matmul`].
#[target_feature(enable = "neon")]
pub(super) fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    match (w.format(), w.panel()) {
        (Format::Q8, Panel::R4) => quantised::<Q8>(w, panels, x, out, store),
        (Format::Q4, Panel::R4) => quantised::<Q4>(w, panels, x, out, store),
        (Format::Q4M, Panel::R4) => quantised::<Q4M>(w, panels, x, out, store),
        (Format::F32, _) => float::matmul::<float::F32>(w, panels, x, out, store, Matrix::row_f32),
        (Format::F16, _) => float::matmul::<float::F16>(w, panels, x, out, store, Matrix::row_16),
        (Format::BF16, _) => float::matmul::<float::BF16>(w, panels, x, out, store, Matrix::row_16),
        _ => scalar::matmul(w, panels, x, out, store),
    }
}

/// One format's codes: how they are read, and how they multiply activations.
trait Codes {
    const FORMAT: Format;
    /// Bytes of one block of a panel.
    const BYTES: usize = R * Self::FORMAT.block_payload();

    /// The eight k-steps of one block of a panel.
    ///
    /// # Safety
    /// * NEON; `payload` points to `BYTES` readable bytes.
    unsafe fn steps(payload: *const u8) -> [int8x16_t; 8];

    /// The integer products of a block's four rows with one token's activations.
    ///
    /// # Safety
    /// * NEON; `q` points to 32 readable bytes.
    unsafe fn dot(steps: &[int8x16_t; 8], q: *const i8) -> int32x4_t;
}

struct Q8;
struct Q4;
struct Q4M;

impl Codes for Q8 {
    const FORMAT: Format = Format::Q8;

    #[inline(always)]
    unsafe fn steps(payload: *const u8) -> [int8x16_t; 8] {
        // SAFETY: the caller promises NEON and 128 readable bytes.
        unsafe {
            let payload = payload.cast::<i8>();
            [
                vld1q_s8(payload),
                vld1q_s8(payload.add(16)),
                vld1q_s8(payload.add(32)),
                vld1q_s8(payload.add(48)),
                vld1q_s8(payload.add(64)),
                vld1q_s8(payload.add(80)),
                vld1q_s8(payload.add(96)),
                vld1q_s8(payload.add(112)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn dot(steps: &[int8x16_t; 8], q: *const i8) -> int32x4_t {
        // SAFETY: the caller promises NEON and 32 readable bytes.
        unsafe {
            let [s0, s1, s2, s3, s4, s5, s6, s7] = *steps;
            let [q0, q1, q2, q3, q4, q5, q6, q7] = broadcast(q);
            let sums = two_steps([vdupq_n_s32(0); 2], s0, q0, s1, q1);
            let sums = two_steps(sums, s2, q2, s3, q3);
            let sums = two_steps(sums, s4, q4, s5, q5);
            let [low, high] = two_steps(sums, s6, q6, s7, q7);
            vpaddq_s32(low, high)
        }
    }
}

/// Adds the products of two k-steps to the sums of rows 0 and 1, and of rows 2 and 3, two lanes a row.
///
/// Two products fit an i16, -128 included: 2 * 128 * 127 < 2^15.
#[inline]
#[target_feature(enable = "neon")]
fn two_steps([low, high]: [int32x4_t; 2], s: int8x16_t, q: int8x16_t, t: int8x16_t, p: int8x16_t) -> [int32x4_t; 2] {
    let first = vmull_s8(vget_low_s8(s), vget_low_s8(q));
    let first = vmlal_s8(first, vget_low_s8(t), vget_low_s8(p));
    let second = vmull_high_s8(s, q);
    let second = vmlal_high_s8(second, t, p);
    [vpadalq_s16(low, first), vpadalq_s16(high, second)]
}

/// Four activations at a time in every word of a register.
///
/// # Safety
/// * `q` points to 32 readable bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn broadcast(q: *const i8) -> [int8x16_t; 8] {
    // SAFETY: the caller promises 32 readable bytes; `ld1` asks for no alignment.
    let (first, second) = unsafe { (vld1q_s8(q), vld1q_s8(q.add(16))) };
    let (first, second) = (vreinterpretq_s32_s8(first), vreinterpretq_s32_s8(second));
    [
        vreinterpretq_s8_s32(vdupq_laneq_s32::<0>(first)),
        vreinterpretq_s8_s32(vdupq_laneq_s32::<1>(first)),
        vreinterpretq_s8_s32(vdupq_laneq_s32::<2>(first)),
        vreinterpretq_s8_s32(vdupq_laneq_s32::<3>(first)),
        vreinterpretq_s8_s32(vdupq_laneq_s32::<0>(second)),
        vreinterpretq_s8_s32(vdupq_laneq_s32::<1>(second)),
        vreinterpretq_s8_s32(vdupq_laneq_s32::<2>(second)),
        vreinterpretq_s8_s32(vdupq_laneq_s32::<3>(second)),
    ]
}

/// Nibbles of one block as bytes from 0 to 15: low ones are the first four k-steps, high ones the others.
///
/// # Safety
/// * `payload` points to 64 readable bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn nibbles(payload: *const u8) -> [int8x16_t; 8] {
    // SAFETY: the caller promises 64 readable bytes; `ld1` asks for no alignment.
    let vectors =
        unsafe { [vld1q_u8(payload), vld1q_u8(payload.add(16)), vld1q_u8(payload.add(32)), vld1q_u8(payload.add(48))] };
    let mask = vdupq_n_u8(0x0f);
    let [l0, l1, l2, l3] = vectors.map(|v| vreinterpretq_s8_u8(vandq_u8(v, mask)));
    let [h0, h1, h2, h3] = vectors.map(|v| vreinterpretq_s8_u8(vshrq_n_u8::<4>(v)));
    [l0, l1, l2, l3, h0, h1, h2, h3]
}

/// The products of a block's nibbles: all eight steps fit an i16 (8 * 15 * 127 = 15240), and so does a pair of lanes.
///
/// # Safety
/// * `q` points to 32 readable bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn nibble_dot(steps: &[int8x16_t; 8], q: *const i8) -> int32x4_t {
    // SAFETY: the caller promises 32 readable bytes.
    let q = unsafe { broadcast(q) };
    let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
    for (s, q) in steps.iter().zip(q) {
        low = vmlal_s8(low, vget_low_s8(*s), vget_low_s8(q));
        high = vmlal_high_s8(high, *s, q);
    }
    vpaddlq_s16(vpaddq_s16(low, high))
}

impl Codes for Q4 {
    const FORMAT: Format = Format::Q4;

    #[inline(always)]
    unsafe fn steps(payload: *const u8) -> [int8x16_t; 8] {
        // SAFETY: the caller promises the same.
        unsafe { nibbles(payload) }
    }

    #[inline(always)]
    unsafe fn dot(steps: &[int8x16_t; 8], q: *const i8) -> int32x4_t {
        // SAFETY: the caller promises the same.
        unsafe { nibble_dot(steps, q) }
    }
}

impl Codes for Q4M {
    const FORMAT: Format = Format::Q4M;

    #[inline(always)]
    unsafe fn steps(payload: *const u8) -> [int8x16_t; 8] {
        // SAFETY: the caller promises the same.
        unsafe { nibbles(payload) }
    }

    #[inline(always)]
    unsafe fn dot(steps: &[int8x16_t; 8], q: *const i8) -> int32x4_t {
        // SAFETY: the caller promises the same.
        unsafe { nibble_dot(steps, q) }
    }
}

#[target_feature(enable = "neon")]
fn quantised<C: Codes>(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    let tokens = out.tokens().min(x.tokens);
    for (index, p) in panels.enumerate() {
        let first = index.saturating_mul(R);
        let rows = out.rows().saturating_sub(first).min(R);
        let (scales, payload) = (w.panel_scales(p), w.panel_payload(p));
        let mut t = 0;
        let mut put = |t: usize, acc: float32x4_t| {
            let mut lanes = [0.0; R];
            super::store(&mut lanes, acc);
            for (out, acc) in out.part(t, first, rows).iter_mut().zip(lanes) {
                store.put(out, acc);
            }
        };
        while t + TOKENS <= tokens {
            let acts: [ActRow<'_>; TOKENS] = core::array::from_fn(|i| x.acts.row(t + i));
            for (i, acc) in panel_dot::<C, TOKENS>(scales, payload, &acts).into_iter().enumerate() {
                put(t + i, acc);
            }
            t += TOKENS;
        }
        while t < tokens {
            let [acc] = panel_dot::<C, 1>(scales, payload, &[x.acts.row(t)]);
            put(t, acc);
            t += 1;
        }
    }
}

/// The four rows of a panel times `T` tokens.
#[inline]
#[target_feature(enable = "neon")]
fn panel_dot<C: Codes, const T: usize>(scales: &[u16], payload: &[u8], acts: &[ActRow<'_>; T]) -> [float32x4_t; T] {
    let scale_step = R * C::FORMAT.block_scales();
    let mut blocks = (scales.len() / scale_step).min(payload.len() / C::BYTES);
    for act in acts {
        blocks = blocks.min(act.q.len() / BLOCK).min(act.scale.len()).min(act.sum.len());
    }
    let mut acc = [vdupq_n_f32(0.0); T];
    for b in 0..blocks {
        // SAFETY: `b < blocks`, and `blocks` whole blocks of scales, payload and every row of activations are inside their
        // slices, as computed above. NEON as in this function.
        unsafe {
            let scales = scales.as_ptr().add(b * scale_step);
            let steps = C::steps(payload.as_ptr().add(b * C::BYTES));
            let d = widen_halves(vld1_u16(scales));
            let m = match C::FORMAT {
                Format::Q4M => widen_halves(vld1_u16(scales.add(R))),
                _ => d,
            };
            for (acc, act) in acc.iter_mut().zip(acts) {
                let isum = C::dot(&steps, act.q.as_ptr().add(b * BLOCK));
                let (ad, asum) = (*act.scale.as_ptr().add(b), *act.sum.as_ptr().add(b));
                // A nibble of Q4 is stored plus 8: the offset leaves through the activations' sum.
                let isum = match C::FORMAT {
                    Format::Q4 => vsubq_s32(isum, vdupq_n_s32(asum.wrapping_mul(8))),
                    _ => isum,
                };
                let product = vmulq_f32(vmulq_n_f32(d, ad), vcvtq_f32_s32(isum));
                let step = match C::FORMAT {
                    Format::Q4M => vaddq_f32(product, vmulq_n_f32(m, ad * asum as f32)),
                    _ => product,
                };
                *acc = vaddq_f32(*acc, step);
            }
        }
    }
    acc
}
