//! A board with an STM32F405 and a crystal of 8 MHz: a Cortex-M4F at 168 MHz, 1 MB of flash, 128 KB of RAM beside its CCM.
//!
//! Not run on hardware here: built only. UART: USART2, PA2 sends and PA3 receives, 115,200 baud. Lamp: PC13.
#![no_std]

use common::{cortex_m::SysTick, serial::Serial};
pub use common::{cortex_m::interrupt_every, cortex_m_entry as entry, serial::stand_still as fail};
use embedded_hal_nb::serial;
use embedded_io::{ErrorKind, ErrorType, Read, Write};
use pipsqueak::kernels::Dsp;
use stm32f4xx_hal::{
    pac::{GPIOC, Peripherals, USART2},
    prelude::*,
    rcc::Config,
    serial::{Rx, Serial as Uart, Tx, config::Config as Line},
};

/// BOARD: its name.
pub const NAME: &str = "stm32f405";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Dsp = Dsp;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 112 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 256;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = true;
/// BOARD: a tick of SysTick; the core runs at 168 MHz.
const TICK_PICOSECONDS: u32 = 5_952;

/// BOARD: changes the lamp.
pub fn toggle_lamp() {
    // SAFETY: one register of the port, whose only user after start-up is this interrupt.
    let port = unsafe { GPIOC::steal() };
    port.odr().modify(|r, w| w.odr13().bit(r.odr13().is_low()));
}

/// Half of the line, for the console, which waits: the HAL's has bytes that may not have come, or gone, yet.
pub struct Half<T>(T);

impl<T> ErrorType for Half<T> {
    type Error = ErrorKind;
}

impl Read for Half<Rx<USART2>> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let Some(place) = buffer.first_mut() else { return Ok(0) };
        *place = nb::block!(serial::Read::read(&mut self.0)).map_err(|_| ErrorKind::Other)?;
        Ok(1)
    }
}

impl Write for Half<Tx<USART2>> {
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
pub type Board = common::Board<Serial<Half<Rx<USART2>>, Half<Tx<USART2>>>, SysTick>;

/// The board, once.
pub fn board() -> Board {
    // SAFETY: called once, by the entry point, before anything else has a peripheral.
    let (core, chip) = unsafe { (cortex_m::Peripherals::steal(), Peripherals::steal()) };
    let mut rcc = chip.RCC.freeze(Config::hse(8.MHz()).sysclk(168.MHz()));
    let (a, c) = (chip.GPIOA.split(&mut rcc), chip.GPIOC.split(&mut rcc));
    let _lamp = c.pc13.into_push_pull_output();
    let line = Line::default().baudrate(115_200.bps());
    let Ok(uart) = Uart::new(chip.USART2, (a.pa2, a.pa3), line, &mut rcc) else { fail("no UART") };
    let (output, input) = uart.split();
    Board {
        console: Serial { input: Half(input), output: Half(output) },
        clock: SysTick::new(core.SYST, TICK_PICOSECONDS),
    }
}
