//! The console of QEMU, or of a debug probe that speaks semihosting.

use core::fmt;

#[expect(deprecated, reason = "see `arguments`")]
use semihosting::sys::arm_compat::sys_get_cmdline;
use semihosting::{
    fd::{BorrowedFd, RawFd},
    process,
    sys::arm_compat::{CommandLine, OpenMode, sys_open, sys_read_orig, sys_write_orig},
};

use crate::Console;

/// Semihosting's word for "none".
const CLOSED: RawFd = -1;

/// Standard input and output of the emulator. They are never closed.
#[derive(Debug)]
pub struct Semihosting {
    input: RawFd,
    output: RawFd,
}

impl Semihosting {
    /// Opens both; what cannot be opened stays silent.
    pub fn new() -> Self {
        // Standard output is the log's, where there is one; then text is written to standard error.
        let output = if cfg!(feature = "defmt") { OpenMode::WRONLY_APPEND } else { OpenMode::WRONLY_TRUNC };
        let open = |mode| sys_open(c":tt", mode).map_or(CLOSED, |fd| fd.into_raw_fd());
        Self { input: open(OpenMode::RDONLY), output: open(output) }
    }
}

impl Default for Semihosting {
    fn default() -> Self {
        Self::new()
    }
}

/// For a call of the crate. Its own streams ask again each time whether they are open, and panic.
fn borrow(fd: RawFd) -> Option<BorrowedFd<'static>> {
    if fd == CLOSED {
        return None;
    }
    // SAFETY: the descriptor is open, and nobody closes it.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}

impl fmt::Write for Semihosting {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let output = borrow(self.output).ok_or(fmt::Error)?;
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let left = sys_write_orig(output, rest).map_err(|_| fmt::Error)?;
            rest = rest.get(rest.len().saturating_sub(left)..).unwrap_or(&[]);
        }
        Ok(())
    }
}

impl Console for Semihosting {
    fn read(&mut self) -> Option<u8> {
        let mut byte = [0];
        let left = sys_read_orig(borrow(self.input)?, &mut byte).ok()?;
        (left == 0).then_some(byte).map(|[byte]| byte)
    }

    #[expect(deprecated, reason = "what is recommended in its place has a slice that can panic")]
    fn arguments<'b>(&mut self, buffer: &'b mut [u8]) -> &'b str {
        let mut line = CommandLine { ptr: buffer.as_mut_ptr(), size: buffer.len() };
        // SAFETY: the pointer and size are those of `buffer`, which is writable.
        if unsafe { sys_get_cmdline(&mut line) }.is_err() {
            return "";
        }
        let line = buffer.get(..line.size).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("");
        // The first word is the program's name.
        let program = line.bytes().position(|byte| byte == b' ').unwrap_or(line.len());
        line.get(program + 1..).unwrap_or_default()
    }

    fn exit(&mut self, success: bool) -> ! {
        process::exit(if success { 0 } else { 1 })
    }
}

/// For a panic or a fault: a line without formatting, and the end.
pub fn fail(text: &str) -> ! {
    let _ = fmt::Write::write_str(&mut Semihosting::new(), text);
    process::exit(101)
}
