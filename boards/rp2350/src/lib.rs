//! Raspberry Pi Pico 2: an RP2350 with two Cortex-M33 at 150 MHz, 4 MB of flash, 520 KB of RAM.
//!
//! Not run on hardware here: built only. UART: UART0, GP0 sends and GP1 receives, 115,200 baud. Lamp: GP25.
#![no_std]

use common::{cortex_m::SysTick, serial::Serial};
pub use common::{cortex_m::interrupt_every, cortex_m_entry as entry, serial::stand_still as fail};
use pipsqueak::kernels::Dsp;
use rp235x_hal::{
    self as hal, Clock as _,
    fugit::RateExtU32 as _,
    gpio::{
        FunctionUart, Pin, PullDown,
        bank0::{Gpio0, Gpio1},
    },
    multicore::{Multicore, Stack},
    pac::{Peripherals, SIO, UART0},
    uart::{DataBits, Reader, StopBits, UartConfig, UartPeripheral, Writer},
};

/// BOARD: its name.
pub const NAME: &str = "rp2350";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Dsp = Dsp;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 256 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 256;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = true;
/// BOARD: a tick of SysTick; the core runs at 150 MHz.
const TICK_PICOSECONDS: u32 = 6_667;
/// The crystal.
const CRYSTAL_HZ: u32 = 12_000_000;
/// The lamp's pin.
const LAMP: u32 = 25;

/// What the boot ROM starts.
#[unsafe(link_section = ".start_block")]
#[used]
pub static IMAGE_DEF: hal::block::ImageDef = hal::block::ImageDef::secure_exe();

/// BOARD: changes the lamp.
pub fn toggle_lamp() {
    // SAFETY: a write-only register that changes single pins; this one has no other user.
    let sio = unsafe { SIO::steal() };
    sio.gpio_out_xor().write(|w| unsafe { w.bits(1 << LAMP) });
}

/// The second core's stack.
static SECOND: Stack<1024> = Stack::new();

/// BOARD: starts the second core. To be called once.
pub fn start_second(work: fn() -> !) {
    // SAFETY: nothing else uses the two cores' switches and the mailbox between them.
    let mut chip = unsafe { Peripherals::steal() };
    let mut sio = hal::Sio::new(chip.SIO);
    let mut cores = Multicore::new(&mut chip.PSM, &mut chip.PPB, &mut sio.fifo);
    let (Some(stack), [_, second]) = (SECOND.take(), cores.cores()) else { fail("no second core") };
    if second.spawn(stack, move || work()).is_err() {
        fail("no second core");
    }
}

type Pins = (Pin<Gpio0, FunctionUart, PullDown>, Pin<Gpio1, FunctionUart, PullDown>);
/// What demos work with.
pub type Board = common::Board<Serial<Reader<UART0, Pins>, Writer<UART0, Pins>>, SysTick>;

/// The board, once.
pub fn board() -> Board {
    // SAFETY: called once, by the entry point, before anything else has a peripheral.
    let (core, mut chip) = unsafe { (cortex_m::Peripherals::steal(), Peripherals::steal()) };
    let mut watchdog = hal::Watchdog::new(chip.WATCHDOG);
    let Ok(clocks) = hal::clocks::init_clocks_and_plls(
        CRYSTAL_HZ,
        chip.XOSC,
        chip.CLOCKS,
        chip.PLL_SYS,
        chip.PLL_USB,
        &mut chip.RESETS,
        &mut watchdog,
    ) else {
        fail("no clocks")
    };
    let sio = hal::Sio::new(chip.SIO);
    let pins = hal::gpio::Pins::new(chip.IO_BANK0, chip.PADS_BANK0, sio.gpio_bank0, &mut chip.RESETS);
    let _lamp = pins.gpio25.into_push_pull_output();
    let line = UartConfig::new(115_200.Hz(), DataBits::Eight, None, StopBits::One);
    let pins = (pins.gpio0.into_function(), pins.gpio1.into_function());
    let uart = UartPeripheral::new(chip.UART0, pins, &mut chip.RESETS);
    let Ok(uart) = uart.enable(line, clocks.peripheral_clock.freq()) else { fail("no UART") };
    let (input, output) = uart.split();
    Board { console: Serial { input, output }, clock: SysTick::new(core.SYST, TICK_PICOSECONDS) }
}
