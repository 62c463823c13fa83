//! How weights are stored: number formats, and the panels that lay rows out for SIMD lanes.

/// Values that share one scale.
pub const BLOCK: usize = 32;

/// The number format of a weight matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Format {
    /// IEEE single precision.
    F32 = 0,
    /// IEEE half precision.
    F16 = 1,
    /// bfloat16: the upper half of an `f32`.
    BF16 = 2,
    /// 32 `i8` and an f16 scale: `w = d * q`. GGUF's `Q8_0`; -128 is legal.
    Q8 = 3,
    /// 32 nibbles and an f16 scale: `w = d * (q - 8)`. GGUF's `Q4_0`.
    Q4 = 4,
    /// 32 nibbles, an f16 scale and an f16 minimum: `w = d * q + m`. GGUF's `Q4_1`.
    Q4M = 5,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::BF16, Self::Q8, Self::Q4, Self::Q4M];

    /// The format with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::BF16,
            3 => Self::Q8,
            4 => Self::Q4,
            5 => Self::Q4M,
            _ => return None,
        })
    }

    /// The name used on command lines and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
            Self::Q4M => "q4m",
        }
    }

    /// Whether weights come in blocks of [`BLOCK`] with a scale, against int8 activations.
    pub const fn is_quantised(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4 | Self::Q4M)
    }

    /// Payload bytes of one block of one row; 0 for float formats.
    pub const fn block_payload(self) -> usize {
        match self {
            Self::Q8 => 32,
            Self::Q4 | Self::Q4M => 16,
            _ => 0,
        }
    }

    /// f16 numbers stored with each block: scale, and minimum for Q4M.
    pub const fn block_scales(self) -> usize {
        match self {
            Self::Q8 | Self::Q4 => 1,
            Self::Q4M => 2,
            _ => 0,
        }
    }

    /// Bytes of one element of a float format; 0 for quantised ones.
    pub const fn element_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            _ => 0,
        }
    }
}

/// How the rows of a quantised matrix are interleaved.
///
/// Rows are taken in groups of R, the last group filled up with zero rows. A *panel* is one such group over the whole
/// depth. With `p` the panel, `b` the block (32 columns), `r` the row inside the panel:
///
/// * scales: `[p][b][r]` as f16; for Q4M `[p][b]` holds R scales and then R minima;
/// * Q8 payload: `[p][b][s][r][4]` for the eight k-steps `s`: the byte is column `32 b + 4 s + i`;
/// * Q4 and Q4M payload: `[p][b][v][r][4]` for four vectors `v`: the low nibble is column `32 b + 4 v + i`, the high one
///   column `32 b + 16 + 4 v + i`.
///
/// With R = 1 this is GGUF's own order with scales and payload apart. Float matrices are always row-major.
///
/// The panels for microcontrollers have the same scales and another payload, in which their instructions find what they
/// need without shuffling.
///
/// [`Panel::D4`]:
/// * Q8: as above with R = 4, but bytes of even columns are `q ^ 0x80`: a half-word of two columns is then
///   `256 * odd + (even + 128)`.
/// * Q4 and Q4M: `[p][b][g][r][4]` for four groups `g` of eight columns: a little-endian word of eight nibbles. From its
///   lowest nibble up, the lower half-word holds columns 0, 1, 4 and 5 of the group, the upper one columns 2, 3, 6 and 7.
///   The uppermost nibble of each half-word (columns 5 and 7) is `q ^ 8`.
///
/// [`Panel::H8`]:
/// * Q8: `[p][b][r][32]`: a row's block as it is.
/// * Q4 and Q4M: `[p][b][r / 2][32]`: a byte holds one column of two rows, the even one's code in the low nibble, the odd
///   one's `q ^ 8` in the high one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Panel {
    /// One row: the canonical order, smallest for odd shapes.
    R1 = 0,
    /// Four rows: a 128-bit register holds one k-step (NEON and its dot-product and matrix instructions).
    R4 = 1,
    /// Eight rows: a 256-bit register holds one k-step (AVX2, AVX-VNNI).
    R8 = 2,
    /// Sixteen rows: a 512-bit register holds one k-step (AVX-512 VNNI), or a row of a tile (AMX).
    R16 = 3,
    /// Four rows for 16-bit dual multiplications: Cortex-M with the DSP extension.
    D4 = 4,
    /// Eight rows for dot products along the row: Cortex-M with Helium.
    H8 = 5,
}

impl Panel {
    /// Every panel.
    pub const ALL: [Self; 6] = [Self::R1, Self::R4, Self::R8, Self::R16, Self::D4, Self::H8];

    /// The panel with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::R1,
            1 => Self::R4,
            2 => Self::R8,
            3 => Self::R16,
            4 => Self::D4,
            5 => Self::H8,
            _ => return None,
        })
    }

    /// R: rows interleaved.
    pub const fn rows(self) -> usize {
        match self {
            Self::R1 => 1,
            Self::R4 | Self::D4 => 4,
            Self::R8 | Self::H8 => 8,
            Self::R16 => 16,
        }
    }

    /// The name used on command lines and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::R1 => "r1",
            Self::R4 => "r4",
            Self::R8 => "r8",
            Self::R16 => "r16",
            Self::D4 => "d4",
            Self::H8 => "h8",
        }
    }

    /// Panels that `rows` rows make.
    pub const fn count(self, rows: usize) -> usize {
        match self {
            Self::R1 => rows,
            Self::R4 | Self::D4 => rows.div_ceil(4),
            Self::R8 | Self::H8 => rows.div_ceil(8),
            Self::R16 => rows.div_ceil(16),
        }
    }

    /// Whether codes lie in four-byte steps of R rows, as the formula above says; the others are read one by one.
    pub(crate) const fn is_stepped(self) -> bool {
        matches!(self, Self::R1 | Self::R4 | Self::R8 | Self::R16)
    }

    /// Where a panel that is not [stepped](Self::is_stepped) keeps row `r`'s code of column `i` (0 to 31) of a block.
    pub(crate) const fn place(self, format: Format, r: usize, i: usize) -> Place {
        match (self, format) {
            (Self::D4, Format::Q8) => {
                Place { byte: i / 4 * 16 + r * 4 + i % 4, shift: 0, flip: if i & 1 == 0 { 0x80 } else { 0 } }
            }
            (Self::D4, _) => {
                // Columns 0, 1, 4, 5 and 2, 3, 6, 7: bits 1 and 2 of the column change places.
                let nibble = (i & 1) | (i & 4) >> 1 | (i & 2) << 1;
                let flip = if nibble % 4 == 3 { 8 } else { 0 };
                Place { byte: i / 8 * 16 + r * 4 + nibble / 2, shift: nibble as u32 % 2 * 4, flip }
            }
            (_, Format::Q8) => Place { byte: r * 32 + i, shift: 0, flip: 0 },
            _ => Place { byte: r / 2 * 32 + i, shift: r as u32 % 2 * 4, flip: if r & 1 == 0 { 0 } else { 8 } },
        }
    }
}

/// A code's place in one block's payload: `(payload[byte] >> shift) ^ flip`, of which Q4 and Q4M keep the low four bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) byte: usize,
    pub(crate) shift: u32,
    pub(crate) flip: u8,
}
