//! The kernels' shared test suite, on the chip: the board's set against the scalar specification, bit for bit.
#![no_std]
#![no_main]

use core::fmt::Write;

use board::Board;
use common::{Error, kernels::testing, report::stat, stack};
use pipsqueak::kernels::{Kernels, arena::Line};
use static_cell::ConstStaticCell;

/// Shapes that do not fit into it are left out.
const LINES: usize = {
    let lines = board::MODEL_RAM / Line::BYTES;
    if lines < testing::ARENA_LINES { lines } else { testing::ARENA_LINES }
};
static ARENA: ConstStaticCell<[Line; LINES]> = ConstStaticCell::new([Line::ZERO; _]);

board::entry!(demo);

fn demo(board: &mut Board) -> Result<(), Error> {
    let arena = ARENA.try_take().ok_or(Error::Taken)?;
    // A set that is the specification itself is compared with itself: all there is to see is that it runs, for which small
    // shapes do. The large ones take an emulator minutes.
    let lines = if board::KERNELS.name() == "scalar" { testing::SMALL_ARENA_LINES } else { LINES };
    let arena = arena.get_mut(..lines.min(LINES)).unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    let console = &mut board.console;
    testing::run(&board::KERNELS, arena, &mut |name, outcome| match outcome {
        Ok(0) => _ = writeln!(console, "{name}: no shape fits this board's memory"),
        Ok(_) => passed += 1,
        Err(mismatch) => {
            failed += 1;
            // Without the values as decimal fractions, for which a chip would need ten kilobytes.
            let common::kernels::testing::Mismatch { case, what, index, expected, got } = mismatch;
            let _ = writeln!(console, "{case}: {what}[{index}] is {got:#010x}, expected {expected:#010x}");
        }
    });
    let _ = writeln!(console, "{passed} tests passed, {failed} failed");
    let _ = writeln!(console, "stat kernels {}", board::KERNELS.name());
    stat(console, "stack", stack::used() as u64);
    if failed == 0 { Ok(()) } else { Err(Error::Tests { failed }) }
}
