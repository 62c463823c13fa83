//! VEX-encoded instructions of the 0F38 map, where AVX-VNNI and AMX are.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2.

/// What an instruction says, before anyone knows what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub opcode: u8,
    pub prefix: Prefix,
    /// VEX.L: 256 bits and not 128.
    pub long: bool,
    /// VEX.W.
    pub wide: bool,
    /// ModRM.reg.
    pub reg: usize,
    /// VEX.vvvv.
    pub second: usize,
    /// ModRM.rm.
    pub third: Operand,
    /// Bytes.
    pub length: usize,
}

/// VEX.pp: the prefix that the legacy encoding would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    None,
    P66,
    F3,
    F2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Register(usize),
    Memory(Memory),
}

/// An address: `base + (index << scale) + displacement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub base: Base,
    pub index: Option<usize>,
    pub scale: u32,
    pub displacement: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    None,
    Register(usize),
    /// The instruction after this one.
    Next,
}

/// Reads an instruction; no byte is asked for that does not belong to it. `None` when it is of another encoding or map.
pub(crate) fn decode(code: impl Iterator<Item = u8>) -> Option<Instruction> {
    let mut length = 0;
    let mut code = code.inspect(|_| length += 1);
    let mut next = || code.next();
    if next()? != 0xc4 {
        return None;
    }
    let first = next()?;
    if first & 0x1f != 2 {
        return None;
    }
    let last = next()?;
    let opcode = next()?;
    // The fourth bits of registers, which are stored inverted.
    let high = |bit: u32| usize::from(!first >> bit & 1) << 3;
    let (reg_high, index_high, base_high) = (high(7), high(6), high(5));
    let modrm = next()?;
    let (mode, reg, rm) = fields(modrm);
    let third = if mode == 3 {
        Operand::Register(rm | base_high)
    } else {
        let (mut base, mut index, mut scale) = (Base::Register(rm | base_high), None, 0);
        let mut wide_displacement = mode == 2;
        // What would be a register with the number 4 is an SIB byte, and one with 5 and no displacement is none.
        let mut low = rm;
        if rm == 4 {
            let (shift, second, first) = fields(next()?);
            scale = shift as u32;
            index = Some(second | index_high).filter(|index| *index != 4);
            base = Base::Register(first | base_high);
            low = first;
        }
        if low == 5 && mode == 0 {
            base = if rm == 4 { Base::None } else { Base::Next };
            wide_displacement = true;
        }
        let displacement = if wide_displacement {
            i32::from_le_bytes([next()?, next()?, next()?, next()?])
        } else if mode == 1 {
            i32::from(next()?.cast_signed())
        } else {
            0
        };
        Operand::Memory(Memory { base, index, scale, displacement })
    };
    let prefix = [Prefix::None, Prefix::P66, Prefix::F3, Prefix::F2][usize::from(last & 3)];
    Some(Instruction {
        opcode,
        prefix,
        long: last & 4 != 0,
        wide: last & 0x80 != 0,
        reg: reg | reg_high,
        second: usize::from(!last >> 3 & 0xf),
        third,
        length,
    })
}

/// Two, three and three bits.
fn fields(byte: u8) -> (usize, usize, usize) {
    (usize::from(byte >> 6), usize::from(byte >> 3 & 7), usize::from(byte & 7))
}
