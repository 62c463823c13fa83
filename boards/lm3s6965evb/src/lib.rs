//! Stellaris LM3S6965: a Cortex-M3 without floating point, 256 KB of flash and 64 KB of RAM.
#![no_std]

pub use common::{cortex_m::interrupt_every, cortex_m_entry as entry};
use common::{cortex_m::SysTick, semihosting::Semihosting};
use pipsqueak::kernels::Scalar;

/// BOARD: its name.
pub const NAME: &str = "lm3s6965evb";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Scalar = Scalar;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 48 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 128;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = false;
/// BOARD: a tick of SysTick; the core runs at 12.5 MHz.
const TICK_PICOSECONDS: u32 = 80_000;

/// BOARD: changes the lamp; this one has none that anybody sees.
pub fn toggle_lamp() {}

/// What demos work with.
pub type Board = common::Board<Semihosting, SysTick>;

/// The board, once.
pub fn board() -> Board {
    // SAFETY: called once, by the entry point, before anything else has a peripheral.
    let peripherals = unsafe { cortex_m::Peripherals::steal() };
    Board { console: Semihosting::new(), clock: SysTick::new(peripherals.SYST, TICK_PICOSECONDS) }
}
