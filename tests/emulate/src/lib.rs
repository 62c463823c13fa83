//! Executes AVX-VNNI and AMX instructions for programs on x86-64 CPUs that lack them, one signal at a time.
//!
//! Loaded before a program (`LD_PRELOAD`), it catches the signal of an illegal instruction, does what the instruction would
//! have done, and lets the program go on behind it. The kernels' bits can be checked so; their speed cannot. A CPU that has
//! the instructions executes them, and nothing here is called. At its end a program says on stderr how many there were.
//!
//! Kernels that are to be tried must be built with `--cfg pipsqueak_emulated`, for they ask the CPU before.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod amx;
mod context;
mod decode;
#[cfg(test)]
mod tests;
mod vnni;

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use context::Context;

static VNNI: AtomicU64 = AtomicU64::new(0);
static AMX: AtomicU64 = AtomicU64::new(0);

/// What the loader calls before the program begins, and after it ends.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;
#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

extern "C" fn begin() {
    context::prepare();
    // SAFETY: zeroes are a valid `sigaction`; the handler has the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handle as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut());
    }
}

extern "C" fn end() {
    let (vnni, amx) = (VNNI.load(Relaxed), AMX.load(Relaxed));
    if vnni + amx > 0 {
        eprintln!("emulated: {vnni} instructions of AVX-VNNI, {amx} of AMX");
    }
}

/// Executes the instruction that was illegal, and those of the same sort that follow it: a signal takes longer than they do.
extern "C" fn handle(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: this is a signal handler, and that its third argument.
    let mut context = unsafe { Context::new(context) };
    let mut any = false;
    loop {
        let first = context.instruction_pointer();
        // SAFETY: the program is about to execute these bytes, and no more are read than belong to an instruction.
        let code = (0..).map(|at| unsafe { first.add(at).read() });
        let Some(instruction) = decode::decode(code) else { break };
        // SAFETY: it is the one that the context is at.
        let counter = unsafe {
            if vnni::execute(&instruction, &mut context) {
                &VNNI
            } else if amx::execute(&instruction, &mut context) {
                &AMX
            } else {
                break;
            }
        };
        counter.fetch_add(1, Relaxed);
        context.advance(instruction.length);
        any = true;
    }
    if !any {
        // Illegal here too: the program meets it again, and ends as it would have.
        // SAFETY: the default action needs no handler.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
    }
}

/// In a signal handler little is allowed, and unwinding is not.
fn die(why: &str) -> ! {
    for text in ["pipsqueak-emulate: ", why, "\n"] {
        // SAFETY: the text is as long as it says.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
    // SAFETY: allowed anywhere.
    unsafe { libc::abort() }
}
