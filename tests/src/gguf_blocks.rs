//! Writers of GGUF's block encodings beyond 4 and 8 bits, as plain as can be; see `host-cli/src/import/blocks.rs` for layouts.

use half::f16;
use pipsqueak_cli::source::Encoding;

/// Levels of `IQ4_NL` and `IQ4_XS`.
const LEVELS: [f32; 16] = [-127., -104., -83., -65., -49., -35., -22., -10., 1., 13., 25., 38., 53., 69., 89., 113.];

/// Encodes whole blocks: 32 values each, or 256.
///
/// # Panics
/// When `encoding` is none of these, or a block is not full.
pub fn encode(values: &[f32], encoding: Encoding, out: &mut Vec<u8>) {
    assert!(values.len().is_multiple_of(encoding.block_len()), "whole blocks");
    for block in values.chunks_exact(encoding.block_len()) {
        match encoding {
            Encoding::Q5_0 | Encoding::Q5_1 | Encoding::IQ4NL => short(block, encoding, out),
            Encoding::Q3K | Encoding::Q6K | Encoding::IQ4XS => symmetric(block, encoding, out),
            Encoding::Q2K | Encoding::Q4K | Encoding::Q5K => with_minimum(block, encoding, out),
            _ => panic!("{encoding:?} is not written here"),
        }
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, x| max.max(x.abs()))
}

/// The least value, at most zero, and the greatest.
fn range(values: &[f32]) -> (f32, f32) {
    values.iter().fold((0.0, f32::MIN), |(low, high), x| (low.min(*x), high.max(*x)))
}

fn divide(x: f32, by: f32) -> f32 {
    if by == 0.0 { 0.0 } else { x / by }
}

/// The number of the level that is nearest.
fn nearest_level(x: f32) -> u8 {
    let distance = |i: usize| (LEVELS[i] - x).abs();
    (0..16).min_by(|a, b| distance(*a).total_cmp(&distance(*b))).expect("a level") as u8
}

/// Codes `from..`, each `bits` wide, into bytes: code `i` of a run at bits `shift` of byte `i`.
fn put(bytes: &mut [u8], codes: &[u8], mask: u8, shift: usize) {
    for (byte, code) in bytes.iter_mut().zip(codes) {
        *byte |= (code & mask) << shift;
    }
}

/// One bit of each code, in order.
fn bits(codes: &[u8], bit: usize) -> Vec<u8> {
    codes.chunks(8).map(|codes| codes.iter().rev().fold(0, |byte, code| byte << 1 | code >> bit & 1)).collect()
}

fn short(block: &[f32], encoding: Encoding, out: &mut Vec<u8>) {
    let (low, high) = block.iter().fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
    let (d, m) = match encoding {
        Encoding::Q5_1 => ((high - low) / 31.0, low),
        Encoding::Q5_0 => (largest(block) / 15.0, 0.0),
        _ => (largest(block) / 113.0, 0.0),
    };
    let (d, m) = (f16::from_f32(d), f16::from_f32(m));
    out.extend(d.to_le_bytes());
    if encoding == Encoding::Q5_1 {
        out.extend(m.to_le_bytes());
    }
    let code = |x: &f32| {
        let scaled = divide(x - m.to_f32(), d.to_f32());
        match encoding {
            Encoding::Q5_1 => scaled.round().clamp(0.0, 31.0) as u8,
            Encoding::Q5_0 => (scaled.round() + 16.0).clamp(0.0, 31.0) as u8,
            _ => nearest_level(scaled),
        }
    };
    let codes: Vec<u8> = block.iter().map(code).collect();
    if encoding != Encoding::IQ4NL {
        out.extend(bits(&codes, 4));
    }
    let mut nibbles = [0; 16];
    put(&mut nibbles, &codes[..16], 15, 0);
    put(&mut nibbles, &codes[16..], 15, 4);
    out.extend(nibbles);
}

fn symmetric(block: &[f32], encoding: Encoding, out: &mut Vec<u8>) {
    let (group, top, factor_max, offset) = match encoding {
        Encoding::Q3K => (16, 3.0, 31.0, 4.0),
        Encoding::Q6K => (16, 31.0, 127.0, 32.0),
        _ => (32, 113.0, 31.0, 0.0),
    };
    let scales: Vec<f32> = block.chunks(group).map(|values| largest(values) / top).collect();
    let d = f16::from_f32(largest(&scales) / factor_max);
    // Every other factor is negative, as both signs are legal.
    let sign = |i: usize| if i % 2 == 1 { -1.0 } else { 1.0 };
    let factors: Vec<i8> =
        scales.iter().enumerate().map(|(i, s)| (sign(i) * divide(*s, d.to_f32()).round()) as i8).collect();
    let code = |(i, x): (usize, &f32)| {
        let scaled = divide(*x, d.to_f32() * f32::from(factors[i / group]));
        if encoding == Encoding::IQ4XS {
            return nearest_level(scaled);
        }
        (scaled.round() + offset).clamp(0.0, 2.0 * offset - 1.0) as u8
    };
    let codes: Vec<u8> = block.iter().enumerate().map(code).collect();
    match encoding {
        Encoding::Q6K => {
            let (mut low, mut high) = ([0; 128], [0; 64]);
            for (i, codes) in codes.chunks(32).enumerate() {
                put(&mut low[i / 4 * 64 + i % 2 * 32..], codes, 15, i % 4 / 2 * 4);
                let upper: Vec<u8> = codes.iter().map(|code| code >> 4).collect();
                put(&mut high[i / 4 * 32..], &upper, 3, i % 4 * 2);
            }
            out.extend(low);
            out.extend(high);
            out.extend(factors.iter().map(|factor| *factor as u8));
            out.extend(d.to_le_bytes());
        }
        Encoding::Q3K => {
            let (mut third, mut low, mut packed) = ([0; 32], [0; 64], [0; 12]);
            for (i, codes) in codes.chunks(32).enumerate() {
                put(&mut low[i / 4 * 32..], codes, 3, i % 4 * 2);
                let upper: Vec<u8> = codes.iter().map(|code| code >> 2).collect();
                put(&mut third, &upper, 1, i);
            }
            for (i, factor) in factors.iter().enumerate() {
                let stored = (factor + 32) as u8;
                packed[i % 8] |= (stored & 15) << (i / 8 * 4);
                packed[8 + i % 4] |= (stored >> 4) << (i / 4 * 2);
            }
            out.extend(third);
            out.extend(low);
            out.extend(packed);
            out.extend(d.to_le_bytes());
        }
        _ => {
            out.extend(d.to_le_bytes());
            let stored = |i: usize| (factors[i] + 32) as u8;
            out.extend((0..8).fold(0u16, |high, i| high | u16::from(stored(i) >> 4) << (2 * i)).to_le_bytes());
            out.extend((0..4).map(|i| stored(2 * i) & 15 | stored(2 * i + 1) << 4));
            for codes in codes.chunks(32) {
                let mut nibbles = [0; 16];
                put(&mut nibbles, &codes[..16], 15, 0);
                put(&mut nibbles, &codes[16..], 15, 4);
                out.extend(nibbles);
            }
        }
    }
}

fn with_minimum(block: &[f32], encoding: Encoding, out: &mut Vec<u8>) {
    let (group, top, factor_max) = match encoding {
        Encoding::Q2K => (16, 3.0, 15.0),
        Encoding::Q4K => (32, 15.0, 63.0),
        _ => (32, 31.0, 63.0),
    };
    let ranges: Vec<(f32, f32)> = block.chunks(group).map(range).collect();
    let of = |part: fn(&(f32, f32)) -> f32| ranges.iter().map(part).fold(0.0, f32::max);
    let d = f16::from_f32(of(|(low, high)| high - low) / top / factor_max);
    let m = f16::from_f32(of(|(low, _)| -low) / factor_max);
    let factor = |x: f32, of: f16| divide(x, of.to_f32()).round().clamp(0.0, factor_max) as u8;
    let factors: Vec<(u8, u8)> =
        ranges.iter().map(|(low, high)| (factor((high - low) / top, d), factor(-low, m))).collect();
    let code = |(i, x): (usize, &f32)| {
        let (scale, minimum) = factors[i / group];
        let above = x + m.to_f32() * f32::from(minimum);
        divide(above, d.to_f32() * f32::from(scale)).round().clamp(0.0, top) as u8
    };
    let codes: Vec<u8> = block.iter().enumerate().map(code).collect();
    if encoding == Encoding::Q2K {
        out.extend(factors.iter().map(|(scale, minimum)| scale | minimum << 4));
        let mut low = [0; 64];
        codes.chunks(32).enumerate().for_each(|(i, codes)| put(&mut low[i / 4 * 32..], codes, 3, i % 4 * 2));
        out.extend(low);
        out.extend(d.to_le_bytes());
        out.extend(m.to_le_bytes());
        return;
    }
    out.extend(d.to_le_bytes());
    out.extend(m.to_le_bytes());
    let mut packed = [0; 12];
    for (i, (scale, minimum)) in factors.iter().enumerate() {
        if i < 4 {
            packed[i] |= scale;
            packed[i + 4] |= minimum;
        } else {
            packed[i + 4] = scale & 15 | minimum << 4;
            packed[i - 4] |= scale >> 4 << 6;
            packed[i] |= minimum >> 4 << 6;
        }
    }
    out.extend(packed);
    if encoding == Encoding::Q5K {
        let mut fifth = [0; 32];
        for (i, codes) in codes.chunks(32).enumerate() {
            let upper: Vec<u8> = codes.iter().map(|code| code >> 4).collect();
            put(&mut fifth, &upper, 1, i);
        }
        out.extend(fifth);
    }
    for codes in codes.chunks(64) {
        let mut nibbles = [0; 32];
        put(&mut nibbles, &codes[..32], 15, 0);
        put(&mut nibbles, &codes[32..], 15, 4);
        out.extend(nibbles);
    }
}
