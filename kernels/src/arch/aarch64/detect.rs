//! What this CPU has beyond NEON, by its identification registers, without std.
//!
//! A feature that the program is compiled for counts everywhere (`-C target-feature=+dotprod`, `-C target-cpu=native`, and
//! every build for Apple's computers as to `dotprod`). Beyond that the registers are asked where they may be read: without
//! an operating system, where programs run at EL1 or above, and under Linux and Android, which answer for them since
//! version 4.11 and say so. Elsewhere, and where `/proc` is not mounted, nothing more is found.
//!
//! Source: Arm Architecture Reference Manual for A-profile, ID_AA64ISAR0_EL1 and ID_AA64ISAR1_EL1;
//! Documentation/arch/arm64/cpu-feature-registers.rst and elf_hwcaps.rst of Linux.

/// Instruction sets that may be executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// FEAT_DotProd: `sdot` (Cortex-A55 and A75 2017, later A76 and Neoverse N1; all Armv8.4).
    pub dotprod: bool,
    /// FEAT_I8MM: `smmla` (Cortex-A510, A710 and Neoverse V1 2020-2021, Apple M2; all Armv8.6).
    pub i8mm: bool,
}

/// Asks the CPU, through the operating system where there is one.
pub fn features() -> Features {
    let compiled = Features { dotprod: cfg!(target_feature = "dotprod"), i8mm: cfg!(target_feature = "i8mm") };
    if compiled.dotprod && compiled.i8mm || !registers_may_be_read() {
        return compiled;
    }
    let [isar0, isar1] = registers();
    Features { dotprod: compiled.dotprod || field(isar0, 44) >= 1, i8mm: compiled.i8mm || field(isar1, 52) >= 1 }
}

/// The four bits of a register from `lowest` on: 0 where the feature is missing, and never a sign in these fields.
const fn field(register: u64, lowest: u32) -> u64 {
    register >> lowest & 0xf
}

/// ID_AA64ISAR0_EL1 and ID_AA64ISAR1_EL1.
#[cfg(any(target_os = "none", target_os = "linux", target_os = "android"))]
fn registers() -> [u64; 2] {
    let (isar0, isar1): (u64, u64);
    // SAFETY: reading an identification register changes nothing. It is allowed at EL1 and above, and where Linux has said
    // that it emulates it, which `registers_may_be_read` has asked.
    unsafe {
        core::arch::asm!(
            "mrs {isar0}, id_aa64isar0_el1",
            "mrs {isar1}, id_aa64isar1_el1",
            isar0 = out(reg) isar0,
            isar1 = out(reg) isar1,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    [isar0, isar1]
}

#[cfg(not(any(target_os = "none", target_os = "linux", target_os = "android")))]
fn registers() -> [u64; 2] {
    [0; 2]
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn registers_may_be_read() -> bool {
    cfg!(target_os = "none")
}

/// Whether this Linux answers for the registers. An older one ends the program that reads them.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn registers_may_be_read() -> bool {
    /// The type of the entry that says what programs may use, and its bit for these registers.
    const AT_HWCAP: usize = 16;
    const HWCAP_CPUID: usize = 1 << 11;
    let mut vector = [[0; 2]; 64];
    let entries = auxiliary_vector(&mut vector);
    let value = entries.iter().find(|[kind, _]| *kind == AT_HWCAP).map_or(0, |[_, value]| *value);
    value & HWCAP_CPUID != 0
}

/// Reads what the kernel tells each program when it starts: pairs of a type and a value.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn auxiliary_vector(vector: &mut [[usize; 2]; 64]) -> &[[usize; 2]] {
    const OPENAT: usize = 56;
    const CLOSE: usize = 57;
    const READ: usize = 63;
    const O_CLOEXEC: usize = 0o2000000;
    let path = c"/proc/self/auxv";
    // A folder's descriptor, which an absolute path makes no use of.
    let nowhere = usize::MAX;
    // SAFETY: the path ends with a zero and is only read.
    let file = unsafe { system_call(OPENAT, [nowhere, path.as_ptr().expose_provenance(), O_CLOEXEC, 0]) };
    if file < 0 {
        return &[];
    }
    let file = file.cast_unsigned();
    // SAFETY: the kernel writes at most the vector's bytes to the vector, of which any value is one.
    let bytes = unsafe { system_call(READ, [file, vector.as_mut_ptr().expose_provenance(), size_of_val(vector), 0]) };
    // SAFETY: the descriptor was opened here, and nobody else has it.
    unsafe { system_call(CLOSE, [file, 0, 0, 0]) };
    let entries = usize::try_from(bytes).unwrap_or(0) / size_of::<[usize; 2]>();
    vector.get(..entries).unwrap_or(&[])
}

/// A system call of Linux; negative: an error.
///
/// # Safety
/// * Memory that the call reads or writes must be the caller's, for that length.
#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn system_call(number: usize, [a, b, c, d]: [usize; 4]) -> isize {
    let result: isize;
    // SAFETY: the caller answers for the memory; Linux keeps all registers but the result's.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            options(nostack),
        );
    }
    result
}

#[cfg(test)]
mod tests {
    extern crate std;

    #[test]
    fn finds_what_the_standard_library_finds() {
        use std::arch::is_aarch64_feature_detected;
        let features = super::features();
        assert_eq!(features.dotprod, is_aarch64_feature_detected!("dotprod"));
        assert_eq!(features.i8mm, is_aarch64_feature_detected!("i8mm"));
    }
}
