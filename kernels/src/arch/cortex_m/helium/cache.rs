//! Writing keys and values to the cache.

use core::arch::global_asm;

use super::fpu::{narrow, widen};
use crate::{NotFinite, scalar};

unsafe extern "C" {
    fn pipsqueak_helium_largest(x: *const f32, len: usize) -> u32;
    fn pipsqueak_helium_clamped(x: *const f32, len: usize, q: *mut i8, id: f32, least: f32, most: f32);
    fn pipsqueak_helium_narrow(x: *const f32, len: usize, out: *mut u16);
}

/// The least number that rounds to no finite half.
const BEYOND_HALF: f32 = 65520.0;

/// The largest of the bits of `|x[i]|`.
pub(crate) fn largest(x: &[f32]) -> u32 {
    // SAFETY: `x` has `len` elements, and 0 of them are none. The feature promises the instructions.
    unsafe { pipsqueak_helium_largest(x.as_ptr(), x.len()) }
}

/// See [`scalar::store_f16`].
pub(super) fn store_f16(x: &[f32], out: &mut [u16]) -> Result<(), NotFinite> {
    let len = x.len().min(out.len());
    let x = x.get(..len).unwrap_or(&[]);
    // SAFETY: both slices have `len` elements. The feature promises the instructions.
    unsafe { pipsqueak_helium_narrow(x.as_ptr(), len, out.as_mut_ptr()) };
    if largest(x) < BEYOND_HALF.to_bits() { Ok(()) } else { Err(NotFinite) }
}

/// See [`scalar::store_i8`].
pub(super) fn store_i8(x: &[f32], out: &mut [i8]) -> Result<u16, NotFinite> {
    let max = largest(x);
    if max >= scalar::INFINITE {
        return Err(NotFinite);
    }
    let scale = narrow(f32::from_bits(max) / 127.0);
    if scale >= 0x7c00 {
        return Err(NotFinite);
    }
    let id = if scale == 0 { 0.0 } else { 1.0 / widen(scale) };
    let len = x.len().min(out.len());
    // SAFETY: both slices have `len` elements. The feature promises the instructions.
    unsafe { pipsqueak_helium_clamped(x.as_ptr(), len, out.as_mut_ptr(), id, -127.0, 127.0) };
    Ok(scale)
}

global_asm!(
    r#"
    .syntax unified
    .cpu cortex-m55

    .section .text.pipsqueak_helium_largest, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_largest
    .type pipsqueak_helium_largest, %function
    .thumb_func
pipsqueak_helium_largest:
    push {r4, lr}
    movs r2, #0
    cbz r1, 2f
    dlstp.32 lr, r1
1:  vldrw.u32 q0, [r0], #16
    vabs.f32 q0, q0
    vmaxv.u32 r2, q0
    letp lr, 1b
2:  mov r0, r2
    pop {r4, pc}

    @ Adding 3 * 2^22 rounds to an integer, which the sum's low byte is.
    .section .text.pipsqueak_helium_clamped, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_clamped
    .type pipsqueak_helium_clamped, %function
    .thumb_func
pipsqueak_helium_clamped:
    push {r4, lr}
    cbz r1, 2f
    vmov r3, s1
    vdup.32 q1, r3
    vmov r3, s2
    vdup.32 q2, r3
    vmov r3, s0
    movs r4, #0
    movt r4, #0x4b40
    dlstp.32 lr, r1
1:  vldrw.u32 q0, [r0], #16
    vmul.f32 q0, q0, r3
    vmaxnm.f32 q0, q0, q1
    vminnm.f32 q0, q0, q2
    vadd.f32 q0, q0, r4
    vstrb.32 q0, [r2], #4
    letp lr, 1b
2:  pop {r4, pc}

    .section .text.pipsqueak_helium_narrow, "ax", %progbits
    .p2align 2
    .global pipsqueak_helium_narrow
    .type pipsqueak_helium_narrow, %function
    .thumb_func
pipsqueak_helium_narrow:
    push {r4, lr}
    cbz r1, 2f
    vmov.i32 q1, #0
    dlstp.32 lr, r1
1:  vldrw.u32 q0, [r0], #16
    vcvtb.f16.f32 q1, q0
    vstrh.32 q1, [r2], #8
    letp lr, 1b
2:  pop {r4, pc}
    .text
"#,
    options(raw)
);
