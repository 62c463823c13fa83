//! Writing keys and values to the cache.

use core::arch::wasm32::*;

use super::{
    lanes::{load, magnitude_bits, max_lane, store_bytes},
    vector::round,
};
use crate::{
    NotFinite,
    float16::{f16_to_f32, f32_to_f16},
    scalar,
};

/// Four floats as halves in 32-bit lanes: [`f32_to_f16`].
#[inline(always)]
fn narrow(x: v128) -> v128 {
    let all = |bits: u32| u32x4_splat(bits);
    let magnitude = magnitude_bits(x);
    let sign = v128_and(u32x4_shr(x, 16), all(0x8000));
    // Normal: the exponent rebiased, the 13 bits that go rounded to even.
    let rebased = i32x4_sub(magnitude, all(112 << 23));
    let odd = v128_and(u32x4_shr(rebased, 13), all(1));
    let normal = u32x4_shr(i32x4_add(i32x4_add(rebased, all(0x0fff)), odd), 13);
    // Subnormal: the unit in the last place of one half is 2^-24, so that adding it rounds as wanted.
    let half = f32x4_splat(0.5);
    let subnormal = i32x4_sub(f32x4_add(magnitude, half), half);
    let small = i32x4_lt(magnitude, all(0x3880_0000));
    let finite = v128_bitselect(subnormal, normal, small);
    let huge = i32x4_gt(magnitude, all(0x477f_efff));
    let halves = v128_bitselect(all(0x7c00), finite, huge);
    // A NaN keeps its upper bits, and is quiet.
    let nan = v128_and(i32x4_gt(magnitude, all(scalar::INFINITE)), v128_or(all(0x0200), upper_bits(magnitude)));
    v128_or(v128_or(halves, nan), sign)
}

/// The bits of a NaN that a half has room for.
#[inline(always)]
fn upper_bits(magnitude: v128) -> v128 {
    v128_and(u32x4_shr(magnitude, 13), u32x4_splat(0x03ff))
}

/// See [`scalar::store_f16`].
pub(super) fn store_f16(x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
    let count = x.len().min(out.len()) / 8;
    let (x, x_rest) = x.split_at_checked(count * 8).unwrap_or_default();
    let (out, out_rest) = out.split_at_mut_checked(count * 8).unwrap_or_default();
    // The largest exponent: all ones is what the format cannot hold.
    let mut max = i16x8_splat(0);
    for (x, out) in x.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
        if let [a, b] = x.as_chunks::<4>().0 {
            // As signed integers the lanes are 0 to 65535, which narrowing to unsigned ones keeps.
            let halves = u16x8_narrow_i32x4(narrow(load(a)), narrow(load(b)));
            max = i16x8_max(max, v128_and(halves, i16x8_splat(0x7c00)));
            // SAFETY: the reference is 16 writable bytes; `v128.store` asks for no alignment.
            unsafe { v128_store(out.as_mut_ptr().cast(), halves) };
        }
    }
    let rest = scalar::store_f16(x_rest, out_rest);
    if v128_any_true(i16x8_eq(max, i16x8_splat(0x7c00))) { Err(NotFinite) } else { rest }
}

/// See [`scalar::store_i8`].
pub(super) fn store_i8(x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
    let (fours, rest) = x.as_chunks::<4>();
    let max = max_lane(fours.iter().fold(i32x4_splat(0), |max, x| i32x4_max(max, magnitude_bits(load(x)))));
    let max = rest.iter().fold(max, |max, x| max.max(x.to_bits() & 0x7fff_ffff));
    if max >= scalar::INFINITE {
        return Err(NotFinite);
    }
    let scale = f32_to_f16(f32::from_bits(max) / 127.0);
    if scale >= 0x7c00 {
        return Err(NotFinite);
    }
    let id = if scale == 0 { 0.0 } else { 1.0 / f16_to_f32(scale) };
    let id4 = f32x4_splat(id);
    let code = |x: &[f32; 4]| {
        let x = f32x4_mul(load(x), id4);
        // The specification's comparisons: `pmax(a, b)` is `a < b ? b : a`, `pmin(a, b)` is `b < a ? b : a`.
        round(f32x4_pmin(f32x4_splat(127.0), f32x4_pmax(f32x4_splat(-127.0), x)))
    };
    let count = x.len().min(out.len()) / 16;
    let (x, x_rest) = x.split_at_checked(count * 16).unwrap_or_default();
    let (out, out_rest) = out.split_at_mut_checked(count * 16).unwrap_or_default();
    for (x, out) in x.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<16>().0) {
        if let [a, b, c, d] = x.as_chunks::<4>().0 {
            store_bytes(out, [code(a), code(b), code(c), code(d)]);
        }
    }
    for (x, out) in x_rest.iter().zip(out_rest) {
        *out = scalar::round_clamp(*x * id);
    }
    Ok(scale)
}
