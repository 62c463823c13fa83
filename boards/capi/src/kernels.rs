//! The kernel set that is linked: one, chosen when the library is built.

use core::ffi::c_char;

use pipsqueak_kernels::team::Team;

#[cfg(all(feature = "dsp", feature = "helium"))]
compile_error!("a core runs one kernel set: choose `dsp` or `helium`");
#[cfg(all(not(target_arch = "arm"), any(feature = "dsp", feature = "helium")))]
compile_error!("the kernel sets `dsp` and `helium` are for Cortex-M");

#[cfg(all(feature = "dsp", not(feature = "helium")))]
pub(crate) use pipsqueak_kernels::Dsp as Set;
#[cfg(feature = "helium")]
pub(crate) use pipsqueak_kernels::Helium as Set;
#[cfg(not(any(target_arch = "aarch64", feature = "dsp", feature = "helium")))]
pub(crate) use pipsqueak_kernels::Scalar as Set;
#[cfg(all(target_arch = "aarch64", not(any(feature = "dsp", feature = "helium"))))]
pub(crate) use pipsqueak_kernels::arch::aarch64::Neon as Set;

/// The set itself.
pub(crate) static SET: Set = Set;
/// Nobody helps: a team of its leader is never waited for, so all sessions can share it.
pub(crate) static ALONE: Team<'static> = Team::alone();

/// The name of the kernel set in this library: `scalar`, `dsp`, `helium` or `neon`.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_kernels_name() -> *const c_char {
    let name = if cfg!(feature = "dsp") {
        c"dsp"
    } else if cfg!(feature = "helium") {
        c"helium"
    } else if cfg!(target_arch = "aarch64") {
        c"neon"
    } else {
        c"scalar"
    };
    name.as_ptr()
}
