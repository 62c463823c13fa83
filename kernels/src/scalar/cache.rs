//! Writing keys and values to the cache.

use super::round;
use crate::{
    NotFinite,
    float16::{f16_to_f32, f32_to_f16},
};

/// Writes `x` to a float16 cache row. A value that overflows the format is an error.
pub fn store_f16(x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
    let mut bad = false;
    for (x, out) in x.iter().zip(out) {
        *out = f32_to_f16(*x);
        bad |= *out & 0x7c00 == 0x7c00;
    }
    if bad { Err(NotFinite) } else { Ok(()) }
}

/// Writes `x` to an int8 cache row and returns the f16 scale: the half nearest to `max|x| / 127`, values rounded with
/// ties to even against that very scale and clamped to +-127. A NaN, an infinity or a scale beyond f16 is an error.
///
/// `x` may be several heads that share the scale.
pub fn store_i8(x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
    let max = x.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
    if max >= 0x7f80_0000 {
        return Err(NotFinite);
    }
    let scale = f32_to_f16(f32::from_bits(max) / 127.0);
    if scale >= 0x7c00 {
        return Err(NotFinite);
    }
    let id = if scale == 0 { 0.0 } else { 1.0 / f16_to_f32(scale) };
    for (x, out) in x.iter().zip(out) {
        *out = round_clamp(*x * id);
    }
    Ok(scale)
}

/// `x` clamped to +-127 and rounded, ties to even; NaN gives -127.
#[inline(always)]
pub(crate) fn round_clamp(x: f32) -> i8 {
    let x = if x > -127.0 { x } else { -127.0 };
    let x = if x < 127.0 { x } else { 127.0 };
    round(x) as i8
}
