//! A console over a serial line, as HALs have them.

use core::{fmt, hint::spin_loop};

use embedded_io::{Read, Write};

use crate::Console;

/// The two halves of a UART, or of anything else that bytes go through.
#[derive(Debug)]
pub struct Serial<R, W> {
    /// What is typed.
    pub input: R,
    /// What is said.
    pub output: W,
}

impl<R, W: Write> fmt::Write for Serial<R, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Terminals want a carriage return before a line feed. Not `write_all`, in which a panic is linked.
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r')?;
            }
            self.put(byte)?;
        }
        Ok(())
    }
}

impl<R, W: Write> Serial<R, W> {
    fn put(&mut self, byte: u8) -> fmt::Result {
        match self.output.write(&[byte]) {
            Ok(1..) => Ok(()),
            _ => Err(fmt::Error),
        }
    }
}

impl<R: Read, W: Write> Console for Serial<R, W> {
    fn read(&mut self) -> Option<u8> {
        let mut byte = [0];
        // A byte that was lost to noise or haste is asked for again.
        while !matches!(self.input.read(&mut byte), Ok(1..)) {
            spin_loop();
        }
        let [byte] = byte;
        Some(byte)
    }

    /// Nothing: a chip is not started with words.
    fn arguments<'b>(&mut self, _: &'b mut [u8]) -> &'b str {
        ""
    }

    fn exit(&mut self, _: bool) -> ! {
        loop {
            spin_loop();
        }
    }
}

/// For a panic or a fault where no line is at hand: stands still, for a debugger or the watchdog.
pub fn stand_still(_: &str) -> ! {
    loop {
        spin_loop();
    }
}
