//! AVX-VNNI: products of bytes or 16-bit integers, summed in 32 bits.

use crate::{
    context::Context,
    decode::{Instruction, Operand, Prefix},
};

/// Executes the instruction if it is one of these; returns whether it was.
///
/// # Safety
/// * The instruction is the one that `context` is at.
pub(crate) unsafe fn execute(instruction: &Instruction, context: &mut Context<'_>) -> bool {
    let step: fn(i32, [u8; 4], [u8; 4]) -> i32 = match (instruction.opcode, instruction.prefix, instruction.wide) {
        (0x50, Prefix::P66, false) => |sum, u, s| sum.wrapping_add(bytes(u, s)),
        (0x51, Prefix::P66, false) => |sum, u, s| sum.saturating_add(bytes(u, s)),
        (0x52, Prefix::P66, false) => |sum, a, b| sum.wrapping_add(words(a, b) as i32),
        (0x53, Prefix::P66, false) => {
            |sum, a, b| (i64::from(sum) + words(a, b)).clamp(i32::MIN.into(), i32::MAX.into()) as i32
        }
        _ => return false,
    };
    let length = if instruction.long { 32 } else { 16 };
    let first = context.vector(instruction.second);
    let mut second = [0; 32];
    match &instruction.third {
        Operand::Register(register) => second = context.vector(*register),
        Operand::Memory(memory) => {
            let address = context.base(instruction, memory).wrapping_add(context.index(memory));
            // SAFETY: the instruction reads as many bytes there.
            unsafe { (address as *const u8).copy_to_nonoverlapping(second.as_mut_ptr(), length) };
        }
    }
    let mut sums = context.vector(instruction.reg);
    sums[length..].fill(0);
    let lanes = sums[..length].as_chunks_mut::<4>().0.iter_mut();
    for (sum, (a, b)) in lanes.zip(first.as_chunks::<4>().0.iter().zip(second.as_chunks::<4>().0)) {
        *sum = step(i32::from_le_bytes(*sum), *a, *b).to_le_bytes();
    }
    context.set_vector(instruction.reg, sums);
    true
}

/// Four unsigned bytes times four signed ones.
fn bytes(unsigned: [u8; 4], signed: [u8; 4]) -> i32 {
    unsigned.iter().zip(signed).map(|(u, s)| i32::from(*u) * i32::from(s.cast_signed())).sum()
}

/// Two signed words times two. Beyond 32 bits when all four are least.
fn words(a: [u8; 4], b: [u8; 4]) -> i64 {
    let word = |x: [u8; 4], at: usize| i64::from(i16::from_le_bytes([x[at], x[at + 1]]));
    word(a, 0) * word(b, 0) + word(a, 2) * word(b, 2)
}
