//! AMX with int8 products: eight tiles of at most sixteen rows of 64 bytes, a thread's own.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18, and volume 2. What a processor
//! refuses ends the program in words here.

use std::cell::RefCell;

use crate::{
    context::Context,
    decode::{Instruction, Memory, Operand, Prefix},
    die,
};

const TILES: usize = 8;
const ROWS: usize = 16;
const ROW_BYTES: usize = 64;

#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    row_bytes: usize,
    data: [[u8; ROW_BYTES]; ROWS],
}

impl Tile {
    const NONE: Self = Self { rows: 0, row_bytes: 0, data: [[0; ROW_BYTES]; ROWS] };
}

thread_local! {
    /// `rows` are 0 where a tile is not configured.
    static UNIT: RefCell<[Tile; TILES]> = const { RefCell::new([Tile::NONE; TILES]) };
}

/// Executes the instruction if it is one of these; returns whether it was.
///
/// # Safety
/// * The instruction is the one that `context` is at.
pub(crate) unsafe fn execute(instruction: &Instruction, context: &mut Context<'_>) -> bool {
    if instruction.wide || instruction.long {
        return false;
    }
    UNIT.with_borrow_mut(|unit| match (instruction.opcode, instruction.prefix, instruction.third) {
        (0x49, Prefix::None, Operand::Memory(memory)) => {
            let address = context.base(instruction, &memory).wrapping_add(context.index(&memory));
            // SAFETY: the instruction reads as many bytes there.
            let configuration = unsafe { (address as *const [u8; 64]).read_unaligned() };
            configure(unit, &configuration);
            true
        }
        (0x49, Prefix::None, Operand::Register(0)) if instruction.reg == 0 => {
            *unit = [Tile::NONE; TILES];
            true
        }
        (0x49, Prefix::F2, Operand::Register(0)) => {
            configured(unit, instruction.reg).data = Tile::NONE.data;
            true
        }
        (0x4b, Prefix::F2 | Prefix::P66, Operand::Memory(memory)) => {
            let tile = configured(unit, instruction.reg);
            tile.data = Tile::NONE.data;
            for (row, at) in tile.data.iter_mut().take(tile.rows).zip(addresses(instruction, context, &memory)) {
                // SAFETY: the instruction reads as many bytes there.
                unsafe { (at as *const u8).copy_to_nonoverlapping(row.as_mut_ptr(), tile.row_bytes) };
            }
            true
        }
        (0x4b, Prefix::F3, Operand::Memory(memory)) => {
            let tile = configured(unit, instruction.reg);
            for (row, at) in tile.data.iter().take(tile.rows).zip(addresses(instruction, context, &memory)) {
                // SAFETY: the instruction writes as many bytes there.
                unsafe { (at as *mut u8).copy_from_nonoverlapping(row.as_ptr(), tile.row_bytes) };
            }
            true
        }
        (0x5e, prefix, Operand::Register(a)) => {
            let signs = match prefix {
                Prefix::None => (false, false),
                Prefix::P66 => (false, true),
                Prefix::F3 => (true, false),
                Prefix::F2 => (true, true),
            };
            multiply(unit, [instruction.reg, a, instruction.second], signs);
            true
        }
        _ => false,
    })
}

/// Where a tile's rows begin: the index is the distance from one to the next.
fn addresses(instruction: &Instruction, context: &Context<'_>, memory: &Memory) -> impl Iterator<Item = i64> {
    let (first, stride) = (context.base(instruction, memory), context.index(memory));
    (0..).map(move |row: i64| first.wrapping_add(stride.wrapping_mul(row)))
}

fn configured(unit: &mut [Tile; TILES], tile: usize) -> &mut Tile {
    match unit.get_mut(tile) {
        Some(tile) if tile.rows > 0 => tile,
        _ => die("a tile is used that is not configured"),
    }
}

fn configure(unit: &mut [Tile; TILES], memory: &[u8; 64]) {
    let (head, rest) = memory.split_at(16);
    let (row_bytes, rows) = rest.split_at(32);
    *unit = [Tile::NONE; TILES];
    match head[0] {
        0 => return,
        1 => {}
        _ => die("a configuration of tiles has a palette that is not there"),
    }
    // The second byte is the row at which an interrupted load goes on.
    if head[1..].iter().any(|byte| *byte != 0) {
        die("a configuration of tiles has a row to begin with, or bytes that are reserved");
    }
    let sizes = row_bytes.as_chunks::<2>().0.iter().map(|bytes| usize::from(u16::from_le_bytes(*bytes)));
    for (index, (row_bytes, rows)) in sizes.zip(rows.iter().map(|rows| usize::from(*rows))).enumerate() {
        match unit.get_mut(index) {
            _ if (row_bytes == 0) != (rows == 0) => die("a tile has rows of no bytes, or bytes and no rows"),
            Some(tile) if row_bytes <= ROW_BYTES && rows <= ROWS => (tile.rows, tile.row_bytes) = (rows, row_bytes),
            None if rows == 0 => {}
            _ => die("a tile is configured that is too large, or not there"),
        }
    }
}

/// Adds to `sum` the products of `a`'s rows with `b`'s columns; four neighbouring bytes of each are a step.
fn multiply(unit: &mut [Tile; TILES], [sum, a, b]: [usize; 3], (a_signed, b_signed): (bool, bool)) {
    let (first, second) = (*configured(unit, a), *configured(unit, b));
    let sums = configured(unit, sum);
    let shapes_agree = (sums.rows, sums.row_bytes) == (first.rows, second.row_bytes)
        && first.row_bytes == 4 * second.rows
        && second.row_bytes.is_multiple_of(4);
    if sum == a || sum == b || a == b || !shapes_agree {
        die("a product of tiles that have other shapes, or are the same");
    }
    for (sums, a) in sums.data.iter_mut().zip(&first.data).take(sums.rows) {
        for (column, sum) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate().take(second.row_bytes / 4) {
            let mut total = i32::from_le_bytes(*sum);
            for (a, b) in a.as_chunks::<4>().0.iter().zip(&second.data).take(second.rows) {
                for (a, b) in a.iter().zip(&b[column * 4..]) {
                    total = total.wrapping_add(integer(*a, a_signed) * integer(*b, b_signed));
                }
            }
            *sum = total.to_le_bytes();
        }
    }
}

fn integer(byte: u8, signed: bool) -> i32 {
    if signed { byte.cast_signed().into() } else { byte.into() }
}
