//! BBC micro:bit: an nRF51822, a Cortex-M0 with 256 KB of flash and 16 KB of RAM.
#![no_std]

use common::{cortex_m::SysTick, semihosting::Semihosting};
pub use common::{cortex_m_entry as entry, semihosting::fail};
use pipsqueak::kernels::Scalar;

/// BOARD: its name.
pub const NAME: &str = "microbit";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Scalar = Scalar;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 12 << 10;
/// BOARD: a tick of SysTick; the core runs at 16 MHz.
const TICK_PICOSECONDS: u32 = 62_500;

/// What demos work with.
pub type Board = common::Board<Semihosting, SysTick>;

/// The board, once.
pub fn board() -> Board {
    // SAFETY: called once, by the entry point, before anything else has a peripheral.
    let peripherals = unsafe { cortex_m::Peripherals::steal() };
    Board { console: Semihosting::new(), clock: SysTick::new(peripherals.SYST, TICK_PICOSECONDS) }
}
