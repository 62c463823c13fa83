//! Pipsqueak for C: small language models inside firmware, over memory that the caller owns.
//!
//! The header is `include/pipsqueak.h`, made from this source. A program opens an image with [`pipsqueak_model_open`], asks
//! [`pipsqueak_plan`] for the memory (or has the header's macros plan it when compiling), opens a session over two arenas with
//! [`pipsqueak_session_open`], and then feeds tokens, does steps of bounded work, samples, and takes the text.
//!
//! Nothing is allocated, nothing unwinds, nothing is kept in variables of the library: all state is in the handles and
//! arenas that the caller brings. The results are the same bits as everywhere else.
//!
//! # Rules
//!
//! What returns an error, always: a NULL pointer; a misaligned pointer; a length that does not fit
//! the address space; a buffer that is too small; arenas, handles and image that overlap; a handle that is closed, zeroed,
//! or a copy of an open one; a setting out of its range; a token that is not in the vocabulary; any bytes whatever as
//! image or text. Results are then left as they were; buffers and arenas may have been cleared, and a handle that was to be
//! opened is closed.
//!
//! What is undefined behaviour, as anywhere in C:
//! * a pointer to memory that is not the caller's, or to less of it than the length beside it says;
//! * writing to an image, a handle or an arena while a model or session that was opened over it is in use, moving it, or
//!   using it for something else;
//! * opening a model anew over one that a session still uses;
//! * using one session (or encoder) from two threads or interrupts at once, or opening and closing sessions of one model
//!   from two at once. Different sessions of one model may work at the same time.
//!
//! Handles may be uninitialised memory before they are opened, but then nothing except opening may be done with them. So may
//! arenas. A handle that is not needed any more is closed, or simply forgotten: it holds nothing but memory.
#![no_std]
#![allow(non_camel_case_types, reason = "names are those of the header")]

#[cfg(not(target_os = "none"))]
extern crate std;

mod error;
mod handle;
mod kernels;
mod layout;
mod memory;
mod model;
mod plan;
mod session;
mod tokens;

use core::ffi::c_char;

pub use error::*;
pub use handle::*;
pub use kernels::pipsqueak_kernels_name;
pub use model::*;
pub use plan::*;
pub use session::*;
pub use tokens::*;

/// The version of this interface. A header and a library belong together when
/// `PIPSQUEAK_ABI_VERSION == pipsqueak_abi_version()`.
pub const PIPSQUEAK_ABI_VERSION: u32 = 1;

/// "None": no such token, no layer.
pub const PIPSQUEAK_NONE: u32 = u32::MAX;

/// The interface's version that this library was built with.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_abi_version() -> u32 {
    PIPSQUEAK_ABI_VERSION
}

/// The library's version, as in `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The library cannot panic: in the optimised build no panic is left, and this function that nobody has is never asked for.
/// Were it needed, the linker would say so.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn pipsqueak_panic_reached() -> !;
    }
    // SAFETY: a program in which this call is left does not link, so it is never run.
    unsafe { pipsqueak_panic_reached() }
}
