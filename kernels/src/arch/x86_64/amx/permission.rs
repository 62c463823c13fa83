//! Whether tiles may be used: CPU, operating system, and a product that is known.

use core::{
    fmt,
    sync::atomic::{AtomicI32, Ordering},
};

use super::{super::detect, tile};

/// Whether AMX can be used, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Availability {
    /// It is used.
    Ready,
    /// The CPU has none, or the operating system does not save its registers.
    Absent,
    /// The operating system has refused it to this process; Linux's error number.
    Refused(i32),
    /// It is there, and multiplies wrongly.
    Wrong,
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("AMX is used"),
            Self::Absent => f.write_str("no AMX here"),
            Self::Refused(error) => write!(f, "AMX is here, but the operating system refuses it: error {error}"),
            Self::Wrong => f.write_str("AMX is here, but multiplies wrongly: it is not used"),
        }
    }
}

const UNKNOWN: i32 = i32::MIN;
const READY: i32 = 0;
const ABSENT: i32 = -1;
const WRONG: i32 = -2;

/// See [`super::Amx::availability`].
pub(super) fn availability() -> Availability {
    // Error numbers are positive. Two threads that ask at once get the same answer.
    static STATE: AtomicI32 = AtomicI32::new(UNKNOWN);
    let mut state = STATE.load(Ordering::Relaxed);
    if state == UNKNOWN {
        state = ask();
        STATE.store(state, Ordering::Relaxed);
    }
    match state {
        READY => Availability::Ready,
        ABSENT => Availability::Absent,
        WRONG => Availability::Wrong,
        error => Availability::Refused(error),
    }
}

fn ask() -> i32 {
    let features = detect::features();
    if !(features.amx_int8 && features.avx512vnni) {
        return ABSENT;
    }
    match request() {
        refused if refused != READY && !detect::EMULATED => refused,
        _ if tile::is_right() => READY,
        _ => WRONG,
    }
}

/// Asks Linux for the tiles' data; 0 or an error number. Source: Documentation/arch/x86/xstate.rst.
#[cfg(target_os = "linux")]
fn request() -> i32 {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call that reads and writes no memory of ours.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack, nomem),
        );
    }
    i32::try_from(-result).unwrap_or(i32::MAX)
}

#[cfg(not(target_os = "linux"))]
fn request() -> i32 {
    ABSENT
}
