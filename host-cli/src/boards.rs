//! Boards an image may be meant for, and whether it fits them.

use std::fmt::Write;

use pipsqueak::{Image, Plan, PlanOptions, kernels::Panel};

/// A board's memory.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    /// The word for `pack --for`.
    pub name: &'static str,
    /// Its core.
    pub core: &'static str,
    /// Flash for program and model, in KiB.
    pub flash_kib: usize,
    /// RAM, in KiB.
    pub ram_kib: usize,
    /// The panel its kernels read.
    pub panel: Panel,
}

const fn board(name: &'static str, core: &'static str, flash_kib: usize, ram_kib: usize, panel: Panel) -> Board {
    Board { name, core, flash_kib, ram_kib, panel }
}

/// Known boards.
pub const ALL: &[Board] = &[
    board("microbit", "Cortex-M0", 256, 16, Panel::R1),
    board("lm3s6965evb", "Cortex-M3", 256, 64, Panel::R1),
    board("netduinoplus2", "Cortex-M4F", 1024, 128, Panel::D4),
    board("nrf52840", "Cortex-M4F", 1024, 256, Panel::D4),
    board("stm32f405", "Cortex-M4F", 1024, 128, Panel::D4),
    board("rp2350", "Cortex-M33", 4096, 520, Panel::D4),
    board("stm32h7", "Cortex-M7", 2048, 512, Panel::D4),
    board("esp32c3", "RV32IMC", 4096, 400, Panel::R1),
    board("mps2-an386", "Cortex-M4F", 4096, 4096, Panel::D4),
    board("mps2-an500", "Cortex-M7", 4096, 4096, Panel::D4),
    board("mps2-an505", "Cortex-M33", 4096, 4096, Panel::D4),
    board("mps3-an547", "Cortex-M55", 4096, 4096, Panel::H8),
];

/// Positions planned for when nothing else is said.
pub const DEFAULT_CONTEXT: usize = 256;
/// Flash kept for the program, and RAM for its stack and statics.
const PROGRAM_BYTES: usize = 48 << 10;
const STACK_BYTES: usize = 8 << 10;

/// The board with this name.
pub fn by_name(name: &str) -> Option<Board> {
    ALL.iter().copied().find(|board| board.name == name)
}

/// What an image needs on a board.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Fit {
    /// The board.
    pub board: &'static str,
    /// Flash needed: image and program, in bytes.
    pub flash_bytes: usize,
    /// RAM needed: KV cache, scratch, stack, in bytes.
    pub ram_bytes: usize,
    /// Positions planned for.
    pub context: usize,
    /// Whether both are there.
    pub fits: bool,
}

/// What `image` needs on `board` with `context` positions, an int8 cache and one token at a time.
pub fn fit(image: &Image<'_>, context: usize, board: &Board) -> Fit {
    let context = context.min(image.config().seq_len as usize);
    let plan = Plan::new(image.config(), PlanOptions::small(context));
    let flash_bytes = image.len().saturating_add(PROGRAM_BYTES);
    let ram_bytes = plan.total_bytes().saturating_add(STACK_BYTES);
    let fits = flash_bytes <= board.flash_kib << 10 && ram_bytes <= board.ram_kib << 10;
    Fit { board: board.name, flash_bytes, ram_bytes, context, fits }
}

/// A table for people.
pub fn table(image: &Image<'_>, context: usize, boards: &[Board]) -> String {
    let mut out = String::new();
    for board in boards {
        let fit = fit(image, context, board);
        let _ = writeln!(
            out,
            "  {:<14} {:<10} flash {:>7} of {:>5} KiB   RAM {:>7} of {:>5} KiB   {}",
            board.name,
            board.core,
            fit.flash_bytes.div_ceil(1024),
            board.flash_kib,
            fit.ram_bytes.div_ceil(1024),
            board.ram_kib,
            if fit.fits { "fits" } else { "does not fit" }
        );
    }
    out
}
