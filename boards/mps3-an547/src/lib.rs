//! Arm MPS3 with the AN547 image: a Cortex-M55, as QEMU has it. Code in ITCM, data in DTCM, a model of its own in SRAM.
#![no_std]

use common::{Region, cortex_m::SysTick, semihosting::Semihosting};
pub use common::{cortex_m::interrupt_every, cortex_m_entry as entry, semihosting::fail};
#[cfg(feature = "defmt")]
use defmt_semihosting as _;
use pipsqueak::kernels::Helium;

/// BOARD: its name.
pub const NAME: &str = "mps3-an547";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Helium = Helium;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 128 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 256;
/// BOARD: multiply-adds of a slice, after which others have their turn.
pub const BUDGET: usize = 24_000;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = false;
/// BOARD: a tick of SysTick; the core runs at 32 MHz.
const TICK_PICOSECONDS: u32 = 31_250;

/// BOARD: the flash kept for a model apart from the program.
// SAFETY: memory.x gives the linker the flash below, and nothing writes to it.
pub const MODEL: Region = unsafe { Region::new(0x0100_0000, 2 << 20) };

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
