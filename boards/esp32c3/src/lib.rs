//! A board with an ESP32-C3: RV32IMC at 160 MHz without floating point, 4 MB of flash, 400 KB of RAM.
//!
//! Not run on hardware here: built only. UART: UART0, GPIO21 sends and GPIO20 receives, 115,200 baud. The linker script is
//! `esp-hal`'s, so there is no memory.x.
#![no_std]

pub use common::serial::stand_still as fail;
use common::{Clock, serial::Serial};
use esp_hal::{
    Blocking, Config,
    clock::CpuClock,
    time::Instant,
    uart::{Config as Line, Uart, UartRx, UartTx},
};
use pipsqueak::kernels::Scalar;

esp_bootloader_esp_idf::esp_app_desc!();

/// BOARD: its name.
pub const NAME: &str = "esp32c3";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Scalar = Scalar;
/// BOARD: RAM for the model's arenas.
pub const MODEL_RAM: usize = 192 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 256;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = true;

/// The system timer, of microseconds.
#[derive(Debug)]
pub struct Timer;

impl Clock for Timer {
    fn now(&mut self) -> u64 {
        Instant::now().duration_since_epoch().as_micros().wrapping_mul(1000)
    }
}

/// What demos work with.
pub type Board = common::Board<Serial<UartRx<'static, Blocking>, UartTx<'static, Blocking>>, Timer>;

/// The board, once.
pub fn board() -> Board {
    let chip = esp_hal::init(Config::default().with_cpu_clock(CpuClock::max()));
    let Ok(uart) = Uart::new(chip.UART0, Line::default().with_baudrate(115_200)) else { fail("no UART") };
    let (input, output) = uart.with_tx(chip.GPIO21).with_rx(chip.GPIO20).split();
    Board { console: Serial { input, output }, clock: Timer }
}

/// The entry point of a demo; its faults are `esp-hal`'s.
#[macro_export]
macro_rules! entry {
    ($demo:path) => {
        #[esp_hal::main]
        fn main() -> ! {
            common::run(board::board(), $demo)
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            board::fail("panic\n")
        }
    };
}
