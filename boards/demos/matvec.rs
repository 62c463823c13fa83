//! What a product costs on this board: instructions of a square matrix times one token, block scales, the preparation of
//! the activations and the call included, but not the quantising that comes before.
#![no_std]
#![no_main]

use core::{fmt::Write, hint::black_box};

use board::Board;
use common::{
    Clock, Error,
    kernels::{
        Acts, BLOCK, Block, Format, Input, Kernels, Matrix, MatrixMut, Store, Tile,
        acts::ActRowMut,
        arena::{Carver, Line, bytes_of, bytes_of_mut},
        matrix_bytes,
        testing::Rng,
    },
    report::stat,
    stack,
};
use static_cell::ConstStaticCell;

static ARENA: ConstStaticCell<[Line; board::MODEL_RAM / Line::BYTES]> = ConstStaticCell::new([Line::ZERO; _]);

/// Rows and columns.
const SIZES: [usize; 2] = [64, 288];
/// Products that are counted, so that the clock's own steps do not show.
const TIMES: u64 = 8;

board::entry!(demo);

fn demo(board: &mut Board) -> Result<(), Error> {
    let arena = ARENA.try_take().ok_or(Error::Taken)?;
    for format in [Format::Q8, Format::Q4, Format::Q4M] {
        for n in SIZES {
            let Some(instructions) = product(board, arena, format, n) else {
                let _ = writeln!(board.console, "{} {n} x {n}: not enough memory", format.name());
                continue;
            };
            let _ = writeln!(board.console, "stat {}/{n} {instructions}", format.name());
        }
    }
    let _ = writeln!(board.console, "stat kernels {}", board::KERNELS.name());
    stat(&mut board.console, "stack", stack::used() as u64);
    Ok(())
}

/// Instructions of one product of an `n` x `n` matrix of random weights; nothing if the arena is too small for it.
fn product(board: &mut Board, arena: &mut [Line], format: Format, n: usize) -> Option<u64> {
    let kernels = &board::KERNELS;
    let panel = kernels.panel(format);
    let (weights, rest) = arena.split_at_mut_checked(Line::count(matrix_bytes(format, panel, n, n)?))?;
    let rng = &mut Rng::new(1);
    let blocks = n.div_ceil(BLOCK);
    {
        let mut w = MatrixMut::new(format, panel, n, n, bytes_of_mut(weights)).ok()?;
        let codes = if format == Format::Q8 { u8::MAX } else { 0x0f };
        for (row, block) in (0..n).flat_map(|row| (0..blocks).map(move |block| (row, block))) {
            let mut values = Block { scales: [rng.half(), rng.half()], codes: [0; BLOCK] };
            values.codes.fill_with(|| rng.bits() as u8 & codes);
            let _ = w.set_block(row, block, &values);
        }
    }
    let w = Matrix::new(format, panel, n, n, bytes_of(weights)).ok()?;
    let mut carver = Carver::new(rest);
    let (x, out) = (carver.take::<f32>(n).ok()?, carver.take::<f32>(n).ok()?);
    let q = carver.take::<i8>(blocks * BLOCK).ok()?;
    let (scale, sum) = (carver.take::<f32>(blocks).ok()?, carver.take::<i32>(blocks).ok()?);
    x.fill_with(|| rng.unit());
    kernels.quantise(x, ActRowMut { q, scale, sum }).ok()?;
    let input = Input { tokens: 1, x, acts: Acts::new(q, scale, sum, blocks) };
    let start = board.clock.now();
    for _ in 0..TIMES {
        let mut tile = Tile::whole(out, n, 1);
        kernels.matmul(black_box(&w), 0..w.panels(), &input, &mut tile, Store::Set);
    }
    Some((board.clock.now() - start) / TIMES)
}
