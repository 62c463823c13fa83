//! Weights to blocks: nearest rounding, and a search for the scale that loses least.

use crate::{
    BLOCK, Block, Format,
    float16::{f16_to_f32, f32_to_f16},
};

/// The weighted squared error of a block against the values it stands for. `importance` of `None` weighs all alike.
pub fn block_error(format: Format, block: &Block, x: &[f32; BLOCK], importance: Option<&[f32; BLOCK]>) -> f32 {
    let values = block.dequantise(format);
    let mut error = 0.0;
    for (i, (x, value)) in x.iter().zip(values).enumerate() {
        let weight = importance.and_then(|importance| importance.get(i)).map_or(1.0, |weight| *weight);
        error += weight * (x - value) * (x - value);
    }
    error
}

/// Codes for a given scale `d` (and, for Q4M, minimum `m`), both rounded to f16: each value to its nearest code.
pub fn encode(format: Format, x: &[f32; BLOCK], d: f32, m: f32) -> Block {
    let mut block = Block { scales: [f32_to_f16(d), f32_to_f16(m)], codes: [0; BLOCK] };
    let (d, m) = (f16_to_f32(f32_to_f16(d)), f16_to_f32(f32_to_f16(m)));
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    let (low, high, offset) = match format {
        Format::Q8 => (-127.0, 127.0, 0.0),
        Format::Q4 => (0.0, 15.0, 8.0),
        _ => (0.0, 15.0, -m * id),
    };
    for (code, x) in block.codes.iter_mut().zip(x) {
        let level = (x * id + offset).clamp(low, high);
        *code = crate::scalar::round(level) as u8;
    }
    if !matches!(format, Format::Q4M) {
        block.scales = [block.scales[0], 0];
    }
    block
}

/// Rounding to nearest with the scale that just covers the block: Q8 `max|x| / 127`; Q4 the value of largest magnitude
/// over -8; Q4M from minimum to maximum in 15 steps.
pub fn nearest(format: Format, x: &[f32; BLOCK]) -> Block {
    let (d, m) = cover(format, x);
    encode(format, x, d, m)
}

fn cover(format: Format, x: &[f32; BLOCK]) -> (f32, f32) {
    let largest = x.iter().fold(0.0f32, |best, x| if x.abs() > best.abs() { *x } else { best });
    match format {
        Format::Q8 => (largest.abs() / 127.0, 0.0),
        Format::Q4 => (largest / -8.0, 0.0),
        _ => {
            let min = x.iter().fold(f32::INFINITY, |min, x| min.min(*x));
            let max = x.iter().fold(f32::NEG_INFINITY, |max, x| max.max(*x));
            ((max - min) / 15.0, min)
        }
    }
}

/// The block with the least [`block_error`] among many scales (and minima) around the covering one, each refined by the
/// weighted least-squares scale for its codes. Never worse than [`nearest`] under the same weights.
pub fn search(format: Format, x: &[f32; BLOCK], importance: Option<&[f32; BLOCK]>) -> Block {
    let mut best = nearest(format, x);
    let mut least = block_error(format, &best, x, importance);
    let mut consider = |d: f32, m: f32| {
        let (mut d, mut m) = (d, m);
        // Codes for the scale, the best scale for those codes, codes again: two rounds settle nearly every block.
        for _ in 0..3 {
            let block = encode(format, x, d, m);
            if block.scales.iter().any(|half| half & 0x7c00 == 0x7c00) {
                break;
            }
            let error = block_error(format, &block, x, importance);
            if error < least {
                least = error;
                best = block;
            }
            let Some(fit) = least_squares(format, &block, x, importance) else { break };
            (d, m) = fit;
        }
    };
    let (d, m) = cover(format, x);
    match format {
        Format::Q8 => consider(d, 0.0),
        Format::Q4 => {
            for step in -6..=10 {
                // 8 levels reach the largest value exactly; fewer clip it, more leave room on its side.
                let levels = 8.0 + step as f32 * 0.25;
                consider(d * 8.0 / levels, 0.0);
                consider(-d * 8.0 / levels, 0.0);
            }
        }
        _ => {
            for step in 0..=12 {
                let shrink = 1.05 - step as f32 * 0.05;
                let slack = d * 15.0 * (1.0 - shrink);
                for lean in [0.0, 0.5, 1.0] {
                    consider(d * shrink, m + slack * lean);
                }
            }
        }
    }
    best
}

/// The scale (and minimum) that minimise the weighted squared error for fixed codes.
fn least_squares(
    format: Format,
    block: &Block,
    x: &[f32; BLOCK],
    importance: Option<&[f32; BLOCK]>,
) -> Option<(f32, f32)> {
    let (mut w, mut wl, mut wll, mut wx, mut wlx) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for (i, (x, code)) in x.iter().zip(block.codes).enumerate() {
        let weight = importance.and_then(|importance| importance.get(i)).map_or(1.0, |weight| *weight) as f64;
        let level = match format {
            Format::Q8 => code.cast_signed() as f64,
            Format::Q4 => code as f64 - 8.0,
            _ => code as f64,
        };
        w += weight;
        wl += weight * level;
        wll += weight * level * level;
        wx += weight * *x as f64;
        wlx += weight * level * *x as f64;
    }
    if !matches!(format, Format::Q4M) {
        return (wll > 0.0).then(|| ((wlx / wll) as f32, 0.0));
    }
    let det = w * wll - wl * wl;
    (det > 0.0).then(|| {
        let d = (w * wlx - wl * wx) / det;
        (d as f32, ((wx - d * wl) / w) as f32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seed: u32) -> [f32; BLOCK] {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        core::array::from_fn(|_| {
            let mut sum = 0.0;
            for _ in 0..4 {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                sum += state as f32 / u32::MAX as f32 - 0.5;
            }
            sum * 0.1
        })
    }

    #[test]
    fn search_is_never_worse_and_usually_better() {
        for format in [Format::Q8, Format::Q4, Format::Q4M] {
            let (mut total, mut total_searched) = (0.0, 0.0);
            for seed in 0..200 {
                let x = sample(seed);
                let importance = sample(seed + 1000).map(|x| x * x + 0.001);
                for importance in [None, Some(&importance)] {
                    let plain = block_error(format, &nearest(format, &x), &x, importance);
                    let searched = block_error(format, &search(format, &x, importance), &x, importance);
                    assert!(searched <= plain, "{format:?} {seed}: {searched} > {plain}");
                    total += plain;
                    total_searched += searched;
                }
            }
            let gain = if format == Format::Q8 { 1.0 } else { 0.9 };
            assert!(total_searched < total * gain, "{format:?}: {total_searched} of {total}");
        }
    }

    #[test]
    fn zeros_and_exact_values_are_exact() {
        for format in [Format::Q8, Format::Q4, Format::Q4M] {
            assert_eq!(search(format, &[0.0; BLOCK], None).dequantise(format), [0.0; BLOCK]);
        }
        let x: [f32; BLOCK] = core::array::from_fn(|i| (i as f32 % 16.0 - 8.0) * 0.25);
        assert_eq!(search(Format::Q4, &x, None).dequantise(Format::Q4), x);
        assert_eq!(search(Format::Q4M, &x, None).dequantise(Format::Q4M), x);
    }
}
