//! Four lanes: loads, stores, halves, and the contract's tree.

use core::arch::wasm32::*;

use crate::math::tree;

/// Four floats.
#[inline(always)]
pub(super) fn load(x: &[f32; 4]) -> v128 {
    // SAFETY: the reference is 16 readable bytes; `v128.load` asks for no alignment.
    unsafe { v128_load(x.as_ptr().cast()) }
}

/// Stores four floats.
#[inline(always)]
pub(super) fn store(out: &mut [f32; 4], x: v128) {
    // SAFETY: the reference is 16 writable bytes; `v128.store` asks for no alignment.
    unsafe { v128_store(out.as_mut_ptr().cast(), x) }
}

/// Four halves as floats, subnormals, infinities and NaN included.
#[inline(always)]
pub(super) fn load_halves(x: &[u16; 4]) -> v128 {
    // SAFETY: the reference is eight readable bytes; the load asks for no alignment.
    widen(unsafe { i32x4_load_extend_i16x4(x.as_ptr().cast()) })
}

/// Halves in 32-bit lanes, their sign extended, as floats: [`crate::float16::f16_to_f32`] without a conversion instruction.
#[inline(always)]
pub(super) fn widen(halves: v128) -> v128 {
    const REBIAS: i32 = 112 << 23;
    let sign = v128_and(halves, i32x4_splat(i32::MIN));
    let magnitude = v128_and(halves, i32x4_splat(0x7fff));
    // Infinity and NaN have the largest exponent in both formats: it is raised as far again.
    let special = v128_and(i32x4_gt(magnitude, i32x4_splat(0x7bff)), i32x4_splat(REBIAS));
    // A subnormal `m * 2^-24` is read as `2^-14 + m * 2^-24`, and 2^-14 taken off: no `f32` in between is subnormal, which
    // some machines are slow at. From the others zero is taken off, which also makes a NaN quiet.
    let small = i32x4_lt(magnitude, i32x4_splat(0x0400));
    let bits = i32x4_add(i32x4_shl(magnitude, 13), i32x4_splat(REBIAS));
    let bits = i32x4_add(i32x4_add(bits, special), v128_and(small, i32x4_splat(1 << 23)));
    v128_or(f32x4_sub(bits, v128_and(small, f32x4_splat(f32::from_bits(113 << 23)))), sign)
}

/// The eight partial sums of the contract: lanes 0 to 3 and 4 to 7.
pub(super) type Partial = [v128; 2];

/// [`tree`] over partial sums, to which `tail` adds the last terms (fewer than eight), from lane 0 on.
#[inline(always)]
pub(super) fn finish([low, high]: Partial, tail: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; 8];
    if let [a, b] = lanes.as_chunks_mut::<4>().0 {
        store(a, low);
        store(b, high);
    }
    for (lane, term) in lanes.iter_mut().zip(tail) {
        *lane += term;
    }
    tree(lanes)
}

/// The bits of |x|: as signed integers ordered as the magnitudes are, with infinity and NaN above all.
#[inline(always)]
pub(super) fn magnitude_bits(x: v128) -> v128 {
    v128_and(x, i32x4_splat(i32::MAX))
}

/// The largest of four signed integers that are not negative.
#[inline(always)]
pub(super) fn max_lane(x: v128) -> u32 {
    let x = i32x4_max(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
    let x = i32x4_max(x, i32x4_shuffle::<1, 0, 3, 2>(x, x));
    i32x4_extract_lane::<0>(x).cast_unsigned()
}

/// The sum of four integers.
#[inline(always)]
pub(super) fn sum_lanes(x: v128) -> i32 {
    let x = i32x4_add(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
    i32x4_extract_lane::<0>(x).wrapping_add(i32x4_extract_lane::<1>(x))
}

/// Stores 16 integers that fit into bytes.
#[inline(always)]
pub(super) fn store_bytes(out: &mut [i8; 16], [a, b, c, d]: [v128; 4]) {
    let bytes = i8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
    // SAFETY: the reference is 16 writable bytes; `v128.store` asks for no alignment.
    unsafe { v128_store(out.as_mut_ptr().cast(), bytes) }
}
