//! QEMU's 64-bit Arm machine with a Cortex-A53 and no operating system.
#![no_std]

use core::cell::UnsafeCell;

use aarch64_rt::Stack;
use common::{Region, aarch64::VirtualCount, semihosting::Semihosting};
pub use common::{aarch64_entry as entry, semihosting::fail};
use pipsqueak::kernels::arch::aarch64::Neon;

/// BOARD: its name.
pub const NAME: &str = "aarch64-virt";
/// BOARD: the kernel set that is linked.
pub static KERNELS: Neon = Neon;
/// BOARD: RAM for the model's arenas, less than memory.x says by the stack and other statics.
pub const MODEL_RAM: usize = 128 << 10;
/// BOARD: positions of the cache.
pub const CONTEXT: usize = 256;
/// BOARD: whether the console leaves it to the program to show what is typed, as a serial line does.
pub const ECHO: bool = false;
/// BOARD: a tick of the generic timer, which runs at 62.5 MHz.
const TICK_PICOSECONDS: u32 = 16_000;
/// BOARD: the first gigabyte of addresses: devices, not executable.
pub const DEVICES: usize = BLOCK | 1 << 54;
/// BOARD: the second: RAM, cached, shared with other cores.
pub const MEMORY: usize = 0x4000_0000 | BLOCK | 1 << 2 | 3 << 8;
/// A valid block of the page table that needs no access fault.
const BLOCK: usize = 1 | 1 << 10;

/// BOARD: the memory kept for a model apart from the program.
// SAFETY: memory.x keeps the linker away from it, and nothing writes to it.
pub const MODEL: Region = unsafe { Region::new(0x4200_0000, 4 << 20) };

/// The second core's stack, in pages of 4 KB.
static SECOND: Taken<Stack<2>> = Taken(UnsafeCell::new(Stack::new()));

/// Memory that [`start_second`] gives to the core it starts.
struct Taken<T>(UnsafeCell<T>);

// SAFETY: nobody has access but the second core.
unsafe impl<T> Sync for Taken<T> {}

/// BOARD: starts the second core, if the machine has one (`-smp 2`). To be called once.
pub fn start_second(work: fn() -> !) {
    // SAFETY: the stack is a static for this core alone, as it is started once: a second call of the firmware's interface is
    // refused. All of RAM is mapped alike for both cores.
    let started = unsafe { aarch64_rt::start_core::<smccc::Hvc, _, _>(1, SECOND.0.get(), move || work()) };
    if started.is_err() {
        fail("no second core\n");
    }
}

/// What demos work with.
pub type Board = common::Board<Semihosting, VirtualCount>;

/// The board, once.
pub fn board() -> Board {
    Board { console: Semihosting::new(), clock: VirtualCount::new(TICK_PICOSECONDS) }
}
