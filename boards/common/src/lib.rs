//! What the boards share. A board gives a [`Console`] and a [`Clock`]; the demos in `../demos` do the rest.
#![no_std]

/// A line for the log: `defmt::info!` with the feature `defmt`, nothing at all without it.
macro_rules! log {
    ($($argument:expr),+) => {
        #[cfg(feature = "defmt")]
        defmt::info!($($argument),+);
    };
}

pub mod clock;
pub mod console;
#[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
pub mod cores;
mod error;
pub mod line_editor;
pub mod region;
pub mod report;
pub mod selftest;
pub mod settings;
pub mod stack;
pub mod story;
pub mod words;

#[cfg(target_arch = "aarch64")]
pub mod aarch64;
#[cfg(feature = "cortex-m")]
pub mod cortex_m;
#[cfg(feature = "cortex-m")]
mod mem;
#[cfg(feature = "riscv")]
pub mod riscv;
#[cfg(feature = "semihosting")]
pub mod semihosting;
#[cfg(feature = "serial")]
pub mod serial;

pub use clock::Clock;
pub use console::Console;
pub use error::Error;
pub use pipsqueak_kernels as kernels;
pub use region::Region;
pub use story::TellError;
pub use words::Say;

/// A board under a demo: something to talk through and something to count with.
#[derive(Debug)]
pub struct Board<C, T> {
    /// Where text goes and comes from.
    pub console: C,
    /// Counts instructions (under an emulator) or time.
    pub clock: T,
}

/// Runs a demo, says how it ended, and leaves; what a board's `entry!` calls.
pub fn run<C: Console, T: Clock, E: Say>(mut board: Board<C, T>, demo: fn(&mut Board<C, T>) -> Result<(), E>) -> ! {
    stack::paint();
    let result = demo(&mut board);
    if let Err(error) = &result {
        log!("{}", error);
        let mut sink = |text: &str| board.console.write_str(text);
        let _ = sink("error: ").and_then(|()| error.say(&mut sink)).and_then(|()| sink("\n"));
    }
    board.console.exit(result.is_ok())
}
