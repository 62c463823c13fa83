//! nRF52840 development kit: a Cortex-M4F at 64 MHz, 1 MB of flash, 256 KB of RAM.
//!
//! Not run on hardware here: built only. UART: UARTE0 to the kit's USB, P0.06 sends and P0.08 receives, 115,200 baud. Lamp: P0.13.
#![no_std]

use common::{cortex_m::SysTick, serial::Serial};
pub use common::{cortex_m::interrupt_every, cortex_m_entry as entry, serial::stand_still as fail};
use nrf52840_hal::{
    clocks::Clocks,
    gpio::{Level, p0},
    pac::{P0, Peripherals, UARTE0},
    uarte::{Baudrate, Parity, Pins, Uarte, UarteRx, UarteTx},
};
use pipsqueak::kernels::Dsp;
use static_cell::ConstStaticCell;

/// BOARD: its name.
pub const NAME: &str = "nrf52840";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Dsp = Dsp;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 192 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 256;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = true;
/// BOARD: a tick of SysTick; the core runs at 64 MHz.
const TICK_PICOSECONDS: u32 = 15_625;

/// BOARD: changes the lamp.
pub fn toggle_lamp() {
    // SAFETY: one pin of the port, whose only user after start-up is the lamp.
    let port = unsafe { &*P0::ptr() };
    port.out.modify(|r, w| w.pin13().bit(!r.pin13().bit()));
}

/// What the UART's DMA reads and writes.
static SENDING: ConstStaticCell<[u8; 1]> = ConstStaticCell::new([0]);
static RECEIVING: ConstStaticCell<[u8; 1]> = ConstStaticCell::new([0]);

/// What demos work with.
pub type Board = common::Board<Serial<UarteRx<UARTE0>, UarteTx<UARTE0>>, SysTick>;

/// The board, once.
pub fn board() -> Board {
    // SAFETY: called once, by the entry point, before anything else has a peripheral.
    let (core, chip) = unsafe { (cortex_m::Peripherals::steal(), Peripherals::steal()) };
    let _clocks = Clocks::new(chip.CLOCK).enable_ext_hfosc();
    let port = p0::Parts::new(chip.P0);
    let _lamp = port.p0_13.into_push_pull_output(Level::High);
    let pins = Pins {
        txd: port.p0_06.into_push_pull_output(Level::High).degrade(),
        rxd: port.p0_08.into_floating_input().degrade(),
        cts: None,
        rts: None,
    };
    let uart = Uarte::new(chip.UARTE0, pins, Parity::EXCLUDED, Baudrate::BAUD115200);
    let Some((sending, receiving)) = SENDING.try_take().zip(RECEIVING.try_take()) else { fail("started twice") };
    let Ok((output, input)) = uart.split(sending, receiving) else { fail("no UART") };
    Board { console: Serial { input, output }, clock: SysTick::new(core.SYST, TICK_PICOSECONDS) }
}
