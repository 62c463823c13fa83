//! What is in the blocks of GGUF's block encodings.
//!
//! `d` and `m` are f16, `q` unsigned codes, a nibble pair's low nibble first: 16 bytes hold the low nibbles of 16 values
//! and then, in the high ones, the 16 values behind them.
//!
//! | encoding | values | bytes | layout | value |
//! |---|---|---|---|---|
//! | `Q8_0` | 32 | 34 | d, 32 `i8` | d q |
//! | `Q4_0`, `Q4_1` | 32 | 18, 20 | d (and m), 16 bytes of nibbles | d (q - 8); d q + m |
//! | `Q5_0`, `Q5_1` | 32 | 22, 24 | d (and m), `u32` of fifth bits, nibbles | d (q - 16); d q + m |
//! | `IQ4_NL` | 32 | 18 | d, nibbles that number the levels of a table | d level |
//! | `IQ4_XS` | 256 | 136 | d, `u16` and 4 bytes of 6-bit factors f a run, nibbles as in `IQ4_NL` | d (f - 32) level |
//! | `Q2_K` | 256 | 84 | 16 bytes of nibbles f and g a half run, 64 bytes of 2-bit codes, d, m | d f q - m g |
//! | `Q3_K` | 256 | 110 | 32 bytes of third bits, 64 of two bits, 12 of 6-bit factors f a half run, d | d (f - 32) (q - 4) |
//! | `Q4_K`, `Q5_K` | 256 | 144, 176 | d, m, 12 bytes of 6-bit factors f and g a run, (32 bytes of fifth bits,) nibbles | d f q - m g |
//! | `Q6_K` | 256 | 210 | 128 bytes of nibbles, 64 of two bits, 16 `i8` factors f a half run, d | d f (q - 32) |
//!
//! A *run* is 32 neighbouring values, a half run 16. Where two bits are stored apart, bits `2 p` of 32 bytes belong to run
//! `p` of four. Source: ggml's block structures (`ggml-common.h`).

use super::dequantize::f16_at;
use crate::source::Encoding;

/// Values in a run, and in the blocks that are one run.
pub const BLOCK: usize = 32;
/// Values in a block of the K encodings.
const SUPER: usize = 256;
/// Levels of `IQ4_NL` and `IQ4_XS`. Source: ggml's `kvalues_iq4nl`.
const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The outside of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Values in it.
    pub(crate) values: usize,
    /// Its bytes.
    pub(crate) bytes: usize,
    /// Where its f16 scale is.
    pub(crate) scale: usize,
    /// Where its f16 minimum is, if it has one.
    pub(crate) minimum: Option<usize>,
}

impl Encoding {
    /// The blocks of this encoding; `None` where there are none.
    pub(crate) fn layout(self) -> Option<Layout> {
        let layout = |values, bytes, scale, minimum| Some(Layout { values, bytes, scale, minimum });
        match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::Llama2cQ80 { .. } => None,
            Self::Q8_0 => layout(BLOCK, 34, 0, None),
            Self::Q4_0 | Self::IQ4NL => layout(BLOCK, 18, 0, None),
            Self::Q4_1 => layout(BLOCK, 20, 0, Some(2)),
            Self::Q5_0 => layout(BLOCK, 22, 0, None),
            Self::Q5_1 => layout(BLOCK, 24, 0, Some(2)),
            Self::IQ4XS => layout(SUPER, 136, 0, None),
            Self::Q2K => layout(SUPER, 84, 80, Some(82)),
            Self::Q3K => layout(SUPER, 110, 108, None),
            Self::Q4K => layout(SUPER, 144, 0, Some(2)),
            Self::Q5K => layout(SUPER, 176, 0, Some(2)),
            Self::Q6K => layout(SUPER, 210, 208, None),
        }
    }
}

/// 32 neighbouring values as their block stores them: value `i` is `d * factors[i / 16] * codes[i] + minima[i / 16]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    /// The block's scale.
    pub(crate) d: f32,
    /// What each half multiplies it with.
    pub(crate) factors: [i8; 2],
    /// What is added in each half.
    pub(crate) minima: [f32; 2],
    /// The values' codes.
    pub(crate) codes: [i8; BLOCK],
}

impl Run {
    /// The values: two products and a sum each.
    pub(crate) fn values(&self) -> [f32; BLOCK] {
        let scales = self.factors.map(|factor| self.d * f32::from(factor));
        std::array::from_fn(|i| scales[i / 16] * f32::from(self.codes[i]) + self.minima[i / 16])
    }

    /// The same values over one factor, a divisor of both halves', where the codes stay within `i8`.
    pub(crate) fn over(&self, factor: i8) -> Option<[i8; BLOCK]> {
        let times = self.factors.map(|own| i16::from(own).checked_div(factor.into()));
        let times = [times[0]?, times[1]?];
        let mut codes = [0; BLOCK];
        for (i, (code, own)) in codes.iter_mut().zip(self.codes).enumerate() {
            *code = i8::try_from(times[i / 16] * i16::from(own)).ok()?;
        }
        Some(codes)
    }
}

impl Encoding {
    /// Run `index` of a block; `None` for an encoding without blocks.
    ///
    /// # Panics
    /// When `block` is shorter than the layout says, or has no such run.
    pub(crate) fn run(self, block: &[u8], index: usize) -> Option<Run> {
        let layout = self.layout()?;
        let d = f16_at(&block[layout.scale..]);
        let m = layout.minimum.map_or(0.0, |at| f16_at(&block[at..]));
        // A block of one run, its minimum stored as it is.
        let plain = |codes| Run { d, factors: [1; 2], minima: [m; 2], codes };
        Some(match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::Llama2cQ80 { .. } => return None,
            Self::Q8_0 => plain(std::array::from_fn(|i| block[2 + i].cast_signed())),
            Self::Q4_0 => plain(nibbles(&block[2..]).map(|q| q - 8)),
            Self::Q4_1 => plain(nibbles(&block[4..])),
            Self::Q5_0 => plain(with_bits(nibbles(&block[6..]), |i| fifth_bit(&block[2..], i)).map(|q| q - 16)),
            Self::Q5_1 => plain(with_bits(nibbles(&block[8..]), |i| fifth_bit(&block[4..], i))),
            Self::IQ4NL => plain(nibbles(&block[2..]).map(level)),
            Self::IQ4XS => {
                let high = u16::from_le_bytes([block[2], block[3]]) >> (2 * index) & 3;
                let factor = half_byte(block[4 + index / 2], index % 2) | (high as u8) << 4;
                let codes = nibbles(&block[8 + 16 * index..]).map(level);
                Run { d, factors: [factor.cast_signed() - 32; 2], minima: [0.0; 2], codes }
            }
            Self::Q2K => {
                let halves = [block[2 * index], block[2 * index + 1]];
                Run {
                    d,
                    factors: halves.map(|byte| (byte & 15).cast_signed()),
                    minima: halves.map(|byte| -(m * f32::from(byte >> 4))),
                    codes: two_bits(&block[16..], index),
                }
            }
            Self::Q3K => {
                let factor = |i: usize| {
                    let low = half_byte(block[96 + i % 8], i / 8);
                    let high = block[104 + i % 4] >> (2 * (i / 4)) & 3;
                    (low | high << 4).cast_signed() - 32
                };
                let codes = two_bits(&block[32..], index);
                let third = |i: usize| (block[i] >> index & 1).cast_signed() << 2;
                Run {
                    d,
                    factors: [factor(2 * index), factor(2 * index + 1)],
                    minima: [0.0; 2],
                    codes: std::array::from_fn(|i| codes[i] + third(i) - 4),
                }
            }
            Self::Q4K | Self::Q5K => {
                let (factor, minimum) = six_bits(&block[4..16], index);
                let nibbles_at = if self == Self::Q4K { 16 } else { 48 };
                let codes = side(&block[nibbles_at + index / 2 * 32..], index % 2);
                let fifth = |i: usize| self == Self::Q5K && block[16 + i] >> index & 1 == 1;
                Run {
                    d,
                    factors: [factor.cast_signed(); 2],
                    minima: [-(m * f32::from(minimum)); 2],
                    codes: with_bits(codes, fifth),
                }
            }
            Self::Q6K => {
                let (part, run) = (index / 4, index % 4);
                let low = side(&block[part * 64 + run % 2 * 32..], run / 2);
                let high = two_bits(&block[128..], index);
                Run {
                    d,
                    factors: [block[192 + 2 * index], block[193 + 2 * index]].map(u8::cast_signed),
                    minima: [0.0; 2],
                    codes: std::array::from_fn(|i| (low[i] | high[i] << 4) - 32),
                }
            }
        })
    }
}

/// The low nibble of a byte, or the high one.
fn half_byte(byte: u8, high: usize) -> u8 {
    if high == 0 { byte & 15 } else { byte >> 4 }
}

/// 16 bytes: all low nibbles, then all high ones.
fn nibbles(bytes: &[u8]) -> [i8; BLOCK] {
    std::array::from_fn(|i| half_byte(bytes[i % 16], i / 16).cast_signed())
}

/// One nibble of each of 32 bytes: the low ones, or the high ones.
fn side(bytes: &[u8], high: usize) -> [i8; BLOCK] {
    std::array::from_fn(|i| half_byte(bytes[i], high).cast_signed())
}

/// The two bits of run `index` in each byte: four runs share 32 bytes.
fn two_bits(bytes: &[u8], index: usize) -> [i8; BLOCK] {
    std::array::from_fn(|i| (bytes[index / 4 * 32 + i] >> (2 * (index % 4)) & 3).cast_signed())
}

/// Bit `i` of the 32 that `bytes` begins with.
fn fifth_bit(bytes: &[u8], i: usize) -> bool {
    bytes[i / 8] >> (i % 8) & 1 == 1
}

/// Nibbles with a fifth bit.
fn with_bits(nibbles: [i8; BLOCK], fifth: impl Fn(usize) -> bool) -> [i8; BLOCK] {
    std::array::from_fn(|i| nibbles[i] + if fifth(i) { 16 } else { 0 })
}

fn level(nibble: i8) -> i8 {
    LEVELS[usize::from(nibble.cast_unsigned() & 15)]
}

/// The factors of run `index` for scale and minimum: six bits each, in 12 bytes. Of the first four runs they are the low six
/// bits of bytes 0 to 3 and 4 to 7; of the others the nibbles of bytes 8 to 11, and the two high bits left in the bytes before.
fn six_bits(bytes: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        return (bytes[index] & 63, bytes[index + 4] & 63);
    }
    let low = bytes[index + 4];
    (low & 15 | bytes[index - 4] >> 6 << 4, low >> 4 | bytes[index] >> 6 << 4)
}
