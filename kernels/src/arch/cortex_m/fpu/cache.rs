//! Writing keys and values to the cache.

use super::{largest, narrow, widen};
use crate::{NotFinite, math::ROUND_MAGIC, scalar};

/// See [`scalar::store_f16`].
pub(in super::super) fn store_f16(x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
    let mut bad = false;
    for (x, out) in x.iter().zip(out) {
        *out = narrow(*x);
        bad |= *out & 0x7c00 == 0x7c00;
    }
    if bad { Err(NotFinite) } else { Ok(()) }
}

/// See [`scalar::store_i8`].
pub(in super::super) fn store_i8(x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
    let max = largest(x);
    if max >= scalar::INFINITE {
        return Err(NotFinite);
    }
    let scale = narrow(f32::from_bits(max) / 127.0);
    if scale >= 0x7c00 {
        return Err(NotFinite);
    }
    let id = if scale == 0 { 0.0 } else { 1.0 / widen(scale) };
    for (x, out) in x.iter().zip(out) {
        // Rounded before it is clamped: the same, as the limits are whole numbers. Beyond 2^22 the rounding is another
        // value, but none that is within the limits.
        let rounded = (*x * id + ROUND_MAGIC).to_bits().wrapping_sub(ROUND_MAGIC.to_bits()).cast_signed();
        *out = rounded.clamp(-127, 127) as i8;
    }
    Ok(scale)
}
