//! RISC-V: start-up, faults, and the counter of instructions as the clock.

use crate::Clock;

/// `minstret`, which counts instructions on silicon too.
#[derive(Debug)]
pub struct Instructions;

impl Clock for Instructions {
    fn now(&mut self) -> u64 {
        riscv::register::minstret::read64()
    }
}

/// The entry point of a demo, `fn(&mut Board) -> Result<(), Error>`, on the board `board::board()`. A fault or a panic calls
/// `board::fail(text)`.
#[macro_export]
macro_rules! riscv_entry {
    ($demo:path) => {
        #[riscv_rt::entry]
        fn start() -> ! {
            $crate::run(board::board(), $demo)
        }

        #[unsafe(export_name = "ExceptionHandler")]
        fn exception(_: &riscv_rt::TrapFrame) -> ! {
            board::fail("fault\n")
        }

        /// Nothing in the engine panics; what else does ends here, without the kilobytes of a formatted message.
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            board::fail("panic\n")
        }
    };
}
