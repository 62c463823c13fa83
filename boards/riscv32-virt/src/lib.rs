//! QEMU's RISC-V machine with a small core, RV32IMC: integers only, as in an ESP32-C3.
#![no_std]

use common::{Region, riscv::Instructions, semihosting::Semihosting};
pub use common::{riscv_entry as entry, semihosting::fail};
use pipsqueak::kernels::Scalar;

/// BOARD: its name.
pub const NAME: &str = "riscv32-virt";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Scalar = Scalar;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 128 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 256;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = false;

/// BOARD: the memory kept for a model apart from the program.
// SAFETY: memory.x keeps the linker away from it, and nothing writes to it.
pub const MODEL: Region = unsafe { Region::new(0x8040_0000, 4 << 20) };

/// What demos work with.
pub type Board = common::Board<Semihosting, Instructions>;

/// The board, once.
pub fn board() -> Board {
    Board { console: Semihosting::new(), clock: Instructions }
}
