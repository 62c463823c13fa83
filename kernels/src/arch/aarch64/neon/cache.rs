//! Writing keys and values to the cache.

use core::arch::{aarch64::*, asm};

use super::load;
use crate::{
    NotFinite,
    float16::{f16_to_f32, f32_to_f16},
    scalar,
};

/// Four floats as halves, ties to even: `fcvtn`, whose intrinsic wants a type that is not stable.
#[inline]
#[target_feature(enable = "neon")]
fn narrow(x: float32x4_t) -> uint16x4_t {
    let out: uint16x4_t;
    // SAFETY: one instruction of base NEON, from a register to a register.
    unsafe {
        asm!("fcvtn {out:v}.4h, {x:v}.4s", out = lateout(vreg) out, x = in(vreg) x,
             options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// See [`scalar::store_f16`].
#[target_feature(enable = "neon")]
pub(super) fn store_f16(x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks::<4>(), out.as_chunks_mut::<4>());
    let mut max = vdup_n_u16(0);
    for (x, out) in x.iter().zip(out) {
        let halves = narrow(load(x));
        // The largest exponent: all ones is what the format cannot hold.
        max = vmax_u16(max, vand_u16(halves, vdup_n_u16(0x7c00)));
        // SAFETY: the reference is four writable halves.
        unsafe { vst1_u16(out.as_mut_ptr(), halves) };
    }
    let rest = scalar::store_f16(x_rest, out_rest);
    if vmaxv_u16(max) == 0x7c00 { Err(NotFinite) } else { rest }
}

/// See [`scalar::store_i8`].
#[target_feature(enable = "neon")]
pub(super) fn store_i8(x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
    let (x, x_rest) = x.as_chunks::<8>();
    let mut max = vdupq_n_u32(0);
    for x in x.as_flattened().as_chunks::<4>().0 {
        max = vmaxq_u32(max, vreinterpretq_u32_f32(vabsq_f32(load(x))));
    }
    let rest = x_rest.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
    let max = vmaxvq_u32(max).max(rest);
    if max >= scalar::INFINITE {
        return Err(NotFinite);
    }
    let scale = f32_to_f16(f32::from_bits(max) / 127.0);
    if scale >= 0x7c00 {
        return Err(NotFinite);
    }
    let id = if scale == 0 { 0.0 } else { 1.0 / f16_to_f32(scale) };
    let round = |x: &[f32; 4]| {
        let x = vmulq_n_f32(load(x), id);
        // Every value is a finite number here, so that `fmax` and `fmin` are the specification's comparisons.
        let x = vminq_f32(vmaxq_f32(x, vdupq_n_f32(-127.0)), vdupq_n_f32(127.0));
        vmovn_s32(vcvtnq_s32_f32(x))
    };
    let (out, out_rest) = out.as_chunks_mut::<8>();
    for (x, out) in x.iter().zip(out) {
        if let [a, b] = x.as_chunks::<4>().0 {
            let bytes = vmovn_s16(vcombine_s16(round(a), round(b)));
            // SAFETY: the reference is eight writable bytes.
            unsafe { vst1_s8(out.as_mut_ptr(), bytes) };
        }
    }
    for (x, out) in x_rest.iter().zip(out_rest) {
        *out = scalar::round_clamp(*x * id);
    }
    Ok(scale)
}
