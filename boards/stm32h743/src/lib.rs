//! Nucleo-H743ZI: an STM32H743, a Cortex-M7 at 400 MHz, 2 MB of flash, 512 KB of the RAM used.
//!
//! Not run on hardware here: built only. UART: USART3 to the board's USB, PD8 sends and PD9 receives, 115,200 baud. Lamp: PB0.
#![no_std]

use common::{cortex_m::SysTick, serial::Serial};
pub use common::{cortex_m::interrupt_every, cortex_m_entry as entry, serial::stand_still as fail};
use embedded_io::{ErrorKind, ErrorType, Read, Write};
use pipsqueak::kernels::Dsp;
use stm32h7xx_hal::{
    hal::serial,
    pac::{GPIOB, Peripherals, USART3},
    prelude::*,
    serial::{Rx, Tx},
};

/// BOARD: its name.
pub const NAME: &str = "stm32h743";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Dsp = Dsp;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 256 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 256;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = true;
/// BOARD: a tick of SysTick; the core runs at 400 MHz.
const TICK_PICOSECONDS: u32 = 2_500;

/// BOARD: changes the lamp.
pub fn toggle_lamp() {
    // SAFETY: one register of the port, whose only user after start-up is this interrupt.
    let port = unsafe { &*GPIOB::ptr() };
    port.odr.modify(|r, w| w.odr0().bit(r.odr0().bit_is_clear()));
}

/// Half of the line, for the console, which waits: the HAL's has bytes that may not have come, or gone, yet.
pub struct Half<T>(T);

impl<T> ErrorType for Half<T> {
    type Error = ErrorKind;
}

impl Read for Half<Rx<USART3>> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let Some(place) = buffer.first_mut() else { return Ok(0) };
        *place = nb::block!(serial::Read::read(&mut self.0)).map_err(|_| ErrorKind::Other)?;
        Ok(1)
    }
}

impl Write for Half<Tx<USART3>> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let Some(byte) = bytes.first() else { return Ok(0) };
        nb::block!(serial::Write::write(&mut self.0, *byte)).map_err(|_| ErrorKind::Other)?;
        Ok(1)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        nb::block!(serial::Write::flush(&mut self.0)).map_err(|_| ErrorKind::Other)
    }
}

/// What demos work with.
pub type Board = common::Board<Serial<Half<Rx<USART3>>, Half<Tx<USART3>>>, SysTick>;

/// The board, once.
pub fn board() -> Board {
    // SAFETY: called once, by the entry point, before anything else has a peripheral.
    let (core, chip) = unsafe { (cortex_m::Peripherals::steal(), Peripherals::steal()) };
    let power = chip.PWR.constrain().freeze();
    let clocks = chip.RCC.constrain().sys_ck(400.MHz()).freeze(power, &chip.SYSCFG);
    let (b, d) = (chip.GPIOB.split(clocks.peripheral.GPIOB), chip.GPIOD.split(clocks.peripheral.GPIOD));
    let _lamp = b.pb0.into_push_pull_output();
    let pins = (d.pd8.into_alternate(), d.pd9.into_alternate());
    let Ok(uart) = chip.USART3.serial(pins, 115_200.bps(), clocks.peripheral.USART3, &clocks.clocks) else {
        fail("no UART")
    };
    let (output, input) = uart.split();
    Board {
        console: Serial { input: Half(input), output: Half(output) },
        clock: SysTick::new(core.SYST, TICK_PICOSECONDS),
    }
}
