//! Netduino Plus 2: an STM32F405, a Cortex-M4F with 1 MB of flash and 192 KB of RAM, of which 64 KB (CCM) are left alone.
#![no_std]

use common::{Region, cortex_m::SysTick, semihosting::Semihosting};
pub use common::{cortex_m::interrupt_every, cortex_m_entry as entry, semihosting::fail};
#[cfg(feature = "defmt")]
use defmt_semihosting as _;
use pipsqueak::kernels::Dsp;

/// BOARD: its name.
pub const NAME: &str = "netduinoplus2";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Dsp = Dsp;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 112 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 256;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = false;
/// BOARD: a tick of SysTick; the core runs at 168 MHz.
const TICK_PICOSECONDS: u32 = 5_952;

/// BOARD: the flash kept for a model apart from the program.
// SAFETY: memory.x gives the linker the flash below, and nothing writes to it.
pub const MODEL: Region = unsafe { Region::new(0x0808_0000, 512 << 10) };

/// BOARD: the chip's own interrupts, behind the core's exceptions in the vector table: none is ever enabled. (A device crate
/// of svd2rust brings its own; without one cortex-m-rt keeps 960 bytes for 240.)
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
pub static __INTERRUPTS: [fn() -> !; 1] = [common::cortex_m::unexpected];

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
