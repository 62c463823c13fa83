//! Reads two handwritten digits, drawn in `digits.txt`: ink from 0 (a point) to 9.
#![no_std]
#![no_main]

use core::fmt::Write;

use board::Board;
use common::{Clock, Error, report::stat, stack};
use pipsqueak::{
    Classifier,
    crc::Crc32,
    include_image,
    kernels::{arena::Line, team::Team},
    sampler::greedy,
};
use static_cell::ConstStaticCell;

static MODEL: &[u8] = include_image!("../../host-cli/box/digits-hidden.pipc");
static PICTURES: &str = include_str!("digits.txt");
const SIDE: usize = 16;
const PIXELS: usize = SIDE * SIDE;
const CLASSES: usize = 10;

/// What 256 pixels and 96 hidden units take; another model's need is checked when it runs.
static SCRATCH: ConstStaticCell<[Line; 12]> = ConstStaticCell::new([Line::ZERO; _]);
static INK: ConstStaticCell<[f32; PIXELS]> = ConstStaticCell::new([0.0; _]);

board::entry!(demo);

fn demo(board: &mut Board) -> Result<(), Error> {
    let classifier = Classifier::open(MODEL)?;
    let (scratch, ink) = SCRATCH.try_take().zip(INK.try_take()).ok_or(Error::Taken)?;
    let team = Team::alone();
    let mut lines = PICTURES.lines();
    for picture in 1..=2 {
        for (row, line) in ink.chunks_exact_mut(SIDE).zip(&mut lines) {
            for (pixel, level) in row.iter_mut().zip(line.bytes()) {
                *pixel = f32::from(level.saturating_sub(b'0').min(9)) / 9.0;
            }
        }
        let mut scores = [0.0; CLASSES];
        let before = board.clock.now();
        classifier.classify(&board::KERNELS, &team, ink, &mut scores, scratch)?;
        let spent = board.clock.now().wrapping_sub(before);
        let (digit, bits) = (greedy(&scores), Crc32::new().update_f32(&scores).finish());
        let _ = writeln!(board.console, "picture {picture} is a {digit} (scores {bits:08x})");
        stat(&mut board.console, "instructions_a_picture", spent);
    }
    stat(&mut board.console, "stack", stack::used() as u64);
    Ok(())
}
