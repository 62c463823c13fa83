//! One instruction each, under the name of the intrinsic it stands for: `core::arch::arm`'s are not stable.

use core::arch::asm;

/// Bytes 0 and 2, sign-extended to half-words.
#[inline(always)]
pub(super) fn sxtb16(x: u32) -> u32 {
    let out;
    // SAFETY: one instruction of the DSP extension, which the feature `dsp` promises, from a register to a register.
    unsafe {
        asm!("sxtb16 {out}, {x}", out = lateout(reg) out, x = in(reg) x, options(pure, nomem, nostack, preserves_flags))
    };
    out
}

/// Bytes 1 and 3, sign-extended to half-words.
#[inline(always)]
pub(super) fn sxtb16_ror8(x: u32) -> u32 {
    let out;
    // SAFETY: as above.
    unsafe {
        asm!("sxtb16 {out}, {x}, ror #8", out = lateout(reg) out, x = in(reg) x,
             options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// Differences of half-words. (The flags it writes are the four GE bits, which compiled code does not rely on across
/// assembly without `preserves_flags`.)
#[inline(always)]
pub(super) fn ssub16(a: u32, b: u32) -> u32 {
    let out;
    // SAFETY: as above.
    unsafe {
        asm!("ssub16 {out}, {a}, {b}", out = lateout(reg) out, a = in(reg) a, b = in(reg) b, options(pure, nomem, nostack))
    };
    out
}

/// `acc` and the products of lower and of upper half-words.
#[inline(always)]
pub(super) fn smlad(a: u32, b: u32, acc: i32) -> i32 {
    let out;
    // SAFETY: as above; an overflow, which cannot occur here, would set the sticky Q flag.
    unsafe {
        asm!("smlad {out}, {a}, {b}, {acc}", out = lateout(reg) out, a = in(reg) a, b = in(reg) b, acc = in(reg) acc,
             options(pure, nomem, nostack));
    }
    out
}
