//! Boards an image may be meant for, and whether it fits them.

use std::fmt::Write;

use pipsqueak::{
    Image, Plan, PlanOptions,
    kernels::{Panel, select},
};

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
    /// The kernel set that is linked for it; a name of [`select::EVERYWHERE`].
    pub kernels: &'static str,
}

impl Board {
    /// The panel its kernels read.
    pub fn panel(&self) -> Panel {
        select::panel_of(self.kernels).unwrap_or(Panel::R1)
    }
}

const fn board(
    name: &'static str,
    core: &'static str,
    flash_kib: usize,
    ram_kib: usize,
    kernels: &'static str,
) -> Board {
    Board { name, core, flash_kib, ram_kib, kernels }
}

/// Known boards: those of `boards/` in the same kernels as there, then chips whose users bring their own start-up.
pub const ALL: &[Board] = &[
    board("microbit", "Cortex-M0", 256, 16, "scalar"),
    board("lm3s6965evb", "Cortex-M3", 256, 64, "scalar"),
    board("netduino2", "Cortex-M3", 1024, 128, "scalar"),
    board("netduinoplus2", "Cortex-M4F", 1024, 128, "dsp"),
    board("mps2-an386", "Cortex-M4F", 4096, 4096, "dsp"),
    board("mps2-an500", "Cortex-M7", 4096, 4096, "dsp"),
    board("mps2-an505", "Cortex-M33", 4096, 4096, "dsp"),
    board("mps3-an547", "Cortex-M55", 2560, 512, "scalar"),
    board("riscv32-virt", "RV32IMC", 8192, 4096, "scalar"),
    board("aarch64-virt", "Cortex-A53", 16384, 16384, "neon"),
    board("stm32f405", "Cortex-M4F", 1024, 128, "dsp"),
    board("nrf52840", "Cortex-M4F", 1024, 256, "dsp"),
    board("stm32h743", "Cortex-M7", 2048, 512, "dsp"),
    board("rp2350", "Cortex-M33", 4096, 520, "dsp"),
    board("esp32c3", "RV32IMC", 4096, 400, "scalar"),
];

/// Positions planned for when nothing else is said.
pub const DEFAULT_CONTEXT: usize = 256;
/// Flash for the program: `boards/sizes.txt` has up to 69 KB on a Cortex-M4F (32 for the story), and more on RV32IMC.
const PROGRAM_BYTES: usize = 112 << 10;
/// RAM for the stack, twice what the story takes, and for the program's other statics.
const STACK_BYTES: usize = 8 << 10;
const STATIC_BYTES: usize = 2 << 10;

/// The board with this name.
pub fn by_name(name: &str) -> Option<Board> {
    ALL.iter().copied().find(|board| board.name == name)
}

/// What an image needs on a board.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Fit {
    /// The board.
    pub board: &'static str,
    /// The kernel set of its programs.
    pub kernels: &'static str,
    /// The weights and tables, read where they are stored.
    pub image_bytes: usize,
    /// Flash needed: image and program, in bytes.
    pub flash_bytes: usize,
    /// The KV cache, in RAM.
    pub kv_bytes: usize,
    /// Everything else that the engine writes.
    pub scratch_bytes: usize,
    /// The stack.
    pub stack_bytes: usize,
    /// RAM needed: KV cache, scratch, stack and statics, in bytes.
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
    let ram_bytes = plan.total_bytes().saturating_add(STACK_BYTES + STATIC_BYTES);
    Fit {
        board: board.name,
        kernels: board.kernels,
        image_bytes: image.len(),
        flash_bytes,
        kv_bytes: plan.kv_bytes(),
        scratch_bytes: plan.scratch_bytes(),
        stack_bytes: STACK_BYTES,
        ram_bytes,
        context,
        fits: flash_bytes <= board.flash_kib << 10 && ram_bytes <= board.ram_kib << 10,
    }
}

/// The most positions up to what the model was trained for with which `image` fits `board`; `None` when it fits with none.
pub fn longest_context(image: &Image<'_>, board: &Board) -> Option<usize> {
    let fits = |context: usize| fit(image, context, board).fits;
    // More positions never need less.
    let (mut yes, mut no) = (0, image.config().seq_len as usize + 1);
    while yes + 1 < no {
        let middle = yes.midpoint(no);
        if fits(middle) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    (yes > 0).then_some(yes)
}

/// A table for people: what is needed and what is there, in KiB.
pub fn table(image: &Image<'_>, context: usize, boards: &[Board]) -> String {
    let mut out = String::new();
    let kib = |bytes: usize| bytes.div_ceil(1024);
    let _ = writeln!(
        out,
        "  {:<14} {:<10} {:<7}  {:>6} {:>6} {:>6}   {:>5} {:>7} {:>5} {:>6} {:>6}",
        "KiB", "core", "kernels", "image", "flash", "of", "KV", "scratch", "stack", "RAM", "of"
    );
    for board in boards {
        let fit = fit(image, context, board);
        let verdict = match (fit.fits, longest_context(image, board)) {
            (true, _) => "fits".to_owned(),
            (false, Some(longest)) => format!("fits with {longest} positions"),
            (false, None) => "does not fit".to_owned(),
        };
        let _ = writeln!(
            out,
            "  {:<14} {:<10} {:<7}  {:>6} {:>6} {:>6}   {:>5} {:>7} {:>5} {:>6} {:>6}   {verdict}",
            board.name,
            board.core,
            board.kernels,
            kib(fit.image_bytes),
            kib(fit.flash_bytes),
            board.flash_kib,
            kib(fit.kv_bytes),
            kib(fit.scratch_bytes),
            kib(fit.stack_bytes),
            kib(fit.ram_bytes),
            board.ram_kib,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boards_kernel_sets_are_known() {
        for board in ALL {
            assert!(select::panel_of(board.kernels).is_some(), "{}", board.name);
        }
    }

    #[test]
    fn the_longest_context_fits_and_one_more_does_not() {
        let image = Image::open(crate::boxed::stories()).unwrap();
        let mut some = false;
        for board in ALL {
            let Some(longest) = longest_context(&image, board) else { continue };
            assert!(fit(&image, longest, board).fits, "{}", board.name);
            if longest < image.config().seq_len as usize {
                some = true;
                assert!(!fit(&image, longest + 1, board).fits, "{}", board.name);
            }
        }
        assert!(some, "no board is too small for anything");
    }
}
