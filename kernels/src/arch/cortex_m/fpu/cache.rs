//! Writing keys and values to the cache.

use super::{codes, narrow, widen};
use crate::{NotFinite, scalar};

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
    let ((fours, rest), (out, out_rest)) = (x.as_chunks::<4>(), out.as_chunks_mut::<4>());
    let rest_max = rest.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
    let max = codes::largest(fours).max(rest_max);
    if max >= scalar::INFINITE {
        return Err(NotFinite);
    }
    let scale = narrow(f32::from_bits(max) / 127.0);
    if scale >= 0x7c00 {
        return Err(NotFinite);
    }
    let id = if scale == 0 { 0.0 } else { 1.0 / widen(scale) };
    // The scale is at least two thirds of max|x| / 127, so that no product is near 2^15.
    codes::clamped(fours, out, id);
    for (x, out) in rest.iter().zip(out_rest) {
        *out = scalar::round_clamp(*x * id);
    }
    Ok(scale)
}
