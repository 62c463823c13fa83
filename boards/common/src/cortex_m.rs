//! Cortex-M: start-up, faults, and SysTick as the clock.

use cortex_m::peripheral::{SYST, syst::SystClkSource};

use crate::{Clock, clock::Ticks};

const MASK: u32 = 0x00ff_ffff;

/// SysTick, counting the core's clock down from 2^24, without its interrupt.
#[derive(Debug)]
pub struct SysTick(Ticks);

impl SysTick {
    /// Starts it. A tick takes `picoseconds`.
    pub fn new(mut syst: SYST, picoseconds: u32) -> Self {
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(MASK);
        syst.clear_current();
        syst.enable_counter();
        Self(Ticks::new(MASK, picoseconds, 0))
    }
}

/// From now on SysTick interrupts every `ticks` of the core's clock. A clock that runs on it counts wrongly.
pub fn interrupt_every(ticks: u32) {
    // SAFETY: the registers' other user is a clock that counts wrongly from now on, as said.
    let mut syst = unsafe { cortex_m::Peripherals::steal() }.SYST;
    syst.disable_counter();
    syst.set_reload(ticks.wrapping_sub(1) & MASK);
    syst.clear_current();
    syst.enable_interrupt();
    syst.enable_counter();
}

/// Handles an interrupt that nobody has enabled: it stays here.
pub fn unexpected() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

impl Clock for SysTick {
    fn now(&mut self) -> u64 {
        self.0.nanoseconds(SYST::get_current().wrapping_neg() & MASK)
    }
}

/// The entry point of a demo, `fn(&mut Board) -> Result<(), Error>`, on the board `board::board()`; or, after `forever`, a
/// block that is not left. A fault or a panic calls `board::fail(text)`.
#[macro_export]
macro_rules! cortex_m_entry {
    ($demo:path) => {
        $crate::cortex_m_entry!(forever { $crate::run(board::board(), $demo) });
    };
    (forever $start:block) => {
        #[cortex_m_rt::entry]
        fn main() -> ! {
            $start
        }

        #[cortex_m_rt::exception]
        unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
            board::fail("fault\n")
        }

        /// Nothing in the engine panics; what else does ends here, without the kilobytes of a formatted message.
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            board::fail("panic\n")
        }
    };
}
