//! 64-bit Arm without an operating system: start-up, faults, and the generic timer as the clock.

use core::arch::asm;

use crate::{Clock, clock::Ticks};

/// The virtual count, from 0 at 62.5 MHz under QEMU.
#[derive(Debug)]
pub struct VirtualCount(Ticks);

impl VirtualCount {
    /// From now on. A tick takes `picoseconds`.
    pub fn new(picoseconds: u32) -> Self {
        Self(Ticks::new(u32::MAX, picoseconds, count()))
    }
}

/// The count's low half.
fn count() -> u32 {
    let count: u64;
    // SAFETY: reads a counter, after the instructions before it.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack, preserves_flags)) };
    count as u32
}

impl Clock for VirtualCount {
    fn now(&mut self) -> u64 {
        self.0.nanoseconds(count())
    }
}

/// The entry point of a demo, `fn(&mut Board) -> Result<(), Error>`, on the board `board::board()`. A fault or a panic calls
/// `board::fail(text)`.
#[macro_export]
macro_rules! aarch64_entry {
    ($demo:path) => {
        // Caches on, and memory as memory: a gigabyte of devices, a gigabyte of RAM.
        aarch64_rt::initial_pagetable!({
            let mut table = [0; 512];
            table[0] = board::DEVICES;
            table[1] = board::MEMORY;
            aarch64_rt::InitialPagetable(table)
        });
        aarch64_rt::entry!(start, 8);

        fn start(_: u64, _: u64, _: u64, _: u64) -> ! {
            $crate::run(board::board(), $demo)
        }

        struct Faults;
        aarch64_rt::exception_handlers!(Faults);
        $crate::aarch64_faults!(Faults: sync_current irq_current fiq_current serror_current
            sync_lower irq_lower fiq_lower serror_lower);

        /// Nothing in the engine panics; what else does ends here, without the kilobytes of a formatted message.
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            board::fail("panic\n")
        }
    };
}

/// Every exception ends the demo; the handlers that `aarch64_rt` has panic.
#[macro_export]
macro_rules! aarch64_faults {
    ($handlers:ty: $($name:ident)*) => {
        impl aarch64_rt::ExceptionHandlers for $handlers {
            $(extern "C" fn $name(_: aarch64_rt::RegisterStateRef<'_>) {
                board::fail("fault\n")
            })*
        }
    };
}
