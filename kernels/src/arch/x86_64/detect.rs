//! What this CPU and its operating system allow, by CPUID and XCR0, without std.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 14.

use core::{
    arch::x86_64::{__cpuid_count, _xgetbv, CpuidResult},
    sync::atomic::{AtomicU8, Ordering},
};

/// Instruction sets that may be executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// AVX2 and F16C (Haswell 2013, Zen 2017).
    pub avx2: bool,
    /// AVX-512 F, BW, VL and VNNI (Cascade Lake 2019, Zen 4).
    pub avx512vnni: bool,
    /// VNNI without AVX-512 (Alder Lake 2021, Zen 5).
    pub avxvnni: bool,
    /// AMX with int8 products (Sapphire Rapids 2023), as far as CPUID and XCR0 tell: Linux wants to be asked besides.
    pub amx_int8: bool,
}

/// In a build for checks, `--cfg pipsqueak_emulated`, AVX-VNNI and AMX are taken to be there: what `tests/emulate` executes
/// where a CPU does not.
pub(super) const EMULATED: bool = cfg!(pipsqueak_emulated);

/// The tiles' configuration and their data, in XCR0.
const TILES: u64 = 0b11 << 17;

/// Asks the CPU, and the operating system through XCR0 whether it saves the registers.
pub fn features() -> Features {
    let max_leaf = cpuid(0, 0).eax;
    if max_leaf < 7 {
        return Features::default();
    }
    let leaf1 = cpuid(1, 0);
    let has = |bit: u32| leaf1.ecx >> bit & 1 == 1;
    let (f16c, avx, osxsave) = (has(29), has(28), has(27));
    if !(osxsave && avx) {
        return Features::default();
    }
    // SAFETY: OSXSAVE says that the operating system has enabled XGETBV.
    let xcr0 = unsafe { xcr0() };
    let ymm_saved = xcr0 & 0b110 == 0b110;
    // The mask registers, the upper halves of the first sixteen registers, and the other sixteen.
    let zmm_saved = xcr0 & 0b1110_0110 == 0b1110_0110;
    let leaf7 = cpuid(7, 0);
    let has = |register: u32, bit: u32| register >> bit & 1 == 1;
    let avx2 = ymm_saved && f16c && has(leaf7.ebx, 5);
    let (f, bw, vl, vnni) = (has(leaf7.ebx, 16), has(leaf7.ebx, 30), has(leaf7.ebx, 31), has(leaf7.ecx, 11));
    Features {
        avx2,
        avx512vnni: avx2 && zmm_saved && f && bw && vl && vnni,
        // Leaf 7 tells in EAX how many further ones it has.
        amx_int8: EMULATED || xcr0 & TILES == TILES && has(leaf7.edx, 24) && has(leaf7.edx, 25),
        avxvnni: avx2 && (EMULATED || leaf7.eax >= 1 && has(cpuid(7, 1).eax, 4)),
    }
}

/// Whether hardware prefetchers of this CPU do better alone: AMD's, as far as measured (Zen 4).
///
/// Asked once: in a virtual machine CPUID takes as long as a small product.
pub(super) fn prefetches_well() -> bool {
    const UNKNOWN: u8 = 2;
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    match ANSWER.load(Ordering::Relaxed) {
        UNKNOWN => {
            // "AuthenticAMD" in EBX, EDX and ECX.
            let CpuidResult { ebx, ecx, edx, .. } = cpuid(0, 0);
            let amd = [ebx, edx, ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD";
            ANSWER.store(amd as u8, Ordering::Relaxed);
            amd
        }
        answer => answer == 1,
    }
}

// Newer compilers declare it safe.
#[allow(unused_unsafe)]
fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    // SAFETY: every 64-bit x86 has CPUID.
    unsafe { __cpuid_count(leaf, subleaf) }
}

/// # Safety
/// * CPUID must report OSXSAVE.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: the caller promises OSXSAVE; register 0 always exists then.
    unsafe { _xgetbv(0) }
}
