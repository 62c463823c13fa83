//! Products: every format, every panel, shapes around the edges of panels, blocks and batches, and extreme values.

use core::ops::Range;

use super::{Case, Mismatch, Outcome, Rng, differ, fill_initial, initial};
use crate::{
    Acts, BLOCK, Block, Format, Input, Kernels, Matrix, MatrixMut, Panel, Store, Tile,
    arena::{Carver, Line, bytes_of, bytes_of_mut},
    float16::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16},
    matrix_bytes, scalar,
};

const COLS: [usize; 8] = [1, 31, 32, 33, 64, 172, 288, 576];
const FLOAT_COLS: [usize; 14] = [1, 2, 3, 5, 7, 8, 9, 15, 31, 32, 64, 172, 289, 576];
const TOKENS: [usize; 9] = [1, 2, 3, 4, 5, 7, 8, 9, 17];
/// Canaries on either side of the outputs.
const PAD: usize = 16;

/// How weights and activations are drawn.
struct Values {
    name: &'static str,
    /// A weight's code; formats with nibbles use the lower four bits.
    code: fn(&mut Rng) -> u8,
    /// f16 bits of a scale or minimum.
    scale: fn(&mut Rng) -> u16,
    act: fn(&mut Rng) -> i8,
    act_scale: fn(&mut Rng) -> f32,
}

fn any_act(rng: &mut Rng) -> i8 {
    (rng.below(255) as i32 - 127) as i8
}

fn any_act_scale(rng: &mut Rng) -> f32 {
    let scale = rng.wide(-12, 4);
    if scale < 0.0 { -scale } else { scale }
}

const RANDOM: Values =
    Values { name: "random", code: |rng| rng.bits() as u8, scale: Rng::half, act: any_act, act_scale: any_act_scale };

const CORNERS: [Values; 14] = [
    Values { name: "+127 x +127", code: |_| 0x7f, act: |_| 127, ..RANDOM },
    Values { name: "+127 x -127", code: |_| 0x7f, act: |_| -127, ..RANDOM },
    Values { name: "-127 x +127", code: |_| 0x81, act: |_| 127, ..RANDOM },
    Values { name: "-128 x +127", code: |_| 0x80, act: |_| 127, ..RANDOM },
    Values { name: "-128 x -127", code: |_| 0x80, act: |_| -127, ..RANDOM },
    Values { name: "-1 or nibble 15 x -127", code: |_| 0xff, act: |_| -127, ..RANDOM },
    Values { name: "zero codes", code: |_| 0, ..RANDOM },
    Values {
        name: "extreme",
        code: |rng| rng.pick(&[0x80, 0x81, 0x7f, 0x00, 0xff, 0x01]),
        act: |rng| rng.pick(&[127, -127, 127, -127, 0, 1, -1]),
        ..RANDOM
    },
    Values { name: "zero scales", scale: |rng| rng.pick(&[0, 0x8000]), ..RANDOM },
    Values {
        name: "subnormal scales",
        scale: |rng| rng.pick(&[1, 0x8001, 0x03ff, 0x83ff, 0x0200, 0x0400, 0x8155, 0x03fe, 2, 3]),
        ..RANDOM
    },
    Values { name: "large scales", scale: |rng| rng.pick(&[0x7bff, 0xfbff, 0x7bfe, 0x7801]), ..RANDOM },
    Values { name: "zero activations", act: |_| 0, act_scale: |_| 0.0, ..RANDOM },
    Values {
        name: "wide activation scales",
        act_scale: |rng| {
            let scale = rng.wide(-57, 60);
            if scale < 0.0 { -scale } else { scale }
        },
        ..RANDOM
    },
    Values { name: "all scales", scale: |rng| (rng.bits() & 0xffff) as u16 & !0x4000 | 0x0001, ..RANDOM },
];

/// Q8 in every panel.
pub(super) fn matmul_q8(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    all_shapes(kernels, arena, Format::Q8)
}

/// Q4 in every panel.
pub(super) fn matmul_q4(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    all_shapes(kernels, arena, Format::Q4)
}

/// Q4M in every panel.
pub(super) fn matmul_q4m(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    all_shapes(kernels, arena, Format::Q4M)
}

fn all_shapes(kernels: &dyn Kernels, arena: &mut [Line], format: Format) -> Outcome {
    let mut count = 0;
    let mut seed = 1;
    for panel in Panel::ALL {
        let r = panel.rows();
        for rows in [1, r.saturating_sub(1), r, r + 1, 2 * r + 3] {
            for cols in COLS {
                if rows > 0 {
                    let case = case(format, panel, rows, cols, &RANDOM, seed);
                    count += quantised(kernels, arena, format, panel, &RANDOM, case, &TOKENS)?;
                    seed += 1;
                }
            }
        }
    }
    Ok(count)
}

/// Extreme codes, scales and activations, in every quantised format and panel.
pub(super) fn matmul_corners(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    let mut count = 0;
    let mut seed = 1000;
    for format in [Format::Q8, Format::Q4, Format::Q4M] {
        for panel in Panel::ALL {
            for values in &CORNERS {
                for (rows, cols) in [(panel.rows() + 3, 172), (panel.rows(), 64)] {
                    let case = case(format, panel, rows, cols, values, seed);
                    count += quantised(kernels, arena, format, panel, values, case, &[1, 2, 5, 9])?;
                    seed += 1;
                }
            }
        }
    }
    Ok(count)
}

/// The specification itself, and the kernel set, against the formula read off [`Matrix::block`], row by row.
pub(super) fn matmul_from_blocks(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    let mut count = 0;
    for format in [Format::Q8, Format::Q4, Format::Q4M] {
        for panel in Panel::ALL {
            let case = case(format, panel, panel.rows() + 1, 172, &RANDOM, 7);
            let Some(buffers) = Buffers::new(arena, format, panel, case.shape, 2) else { continue };
            let (w, acts, ..) = buffers.draw(format, panel, &RANDOM, &case);
            let Some(w) = w else { continue };
            let rows = w.rows();
            let mut out = [0.0f32; 2 * 17];
            let Some(out) = out.get_mut(..2 * rows) else { continue };
            let input = Input { tokens: 2, x: &[], acts };
            for (name, scalar) in [("scalar", true), ("", false)] {
                let mut tile = Tile::whole(out, rows, 2);
                if scalar {
                    scalar::matmul(&w, 0..w.panels(), &input, &mut tile, Store::Set);
                } else {
                    kernels.matmul(&w, 0..w.panels(), &input, &mut tile, Store::Set);
                }
                let what = if name.is_empty() { "out" } else { "scalar out" };
                for t in 0..2 {
                    for row in 0..rows {
                        let (expected, got) = (formula(&w, row, &acts, t), tile.part(t, row, 1).first().copied());
                        let got = got.unwrap_or(f32::NAN);
                        if expected.to_bits() != got.to_bits() {
                            return Err(differ(
                                &case,
                                what,
                                (t * rows + row) as isize,
                                expected.to_bits(),
                                got.to_bits(),
                            ));
                        }
                        count += 1;
                    }
                }
            }
        }
    }
    Ok(count)
}

/// One row's product, written as the contract puts it.
fn formula(w: &Matrix<'_>, row: usize, acts: &Acts<'_>, t: usize) -> f32 {
    let act = acts.row(t);
    let mut acc = 0.0f32;
    for (b, (q, (ad, asum))) in act.q.chunks(BLOCK).zip(act.scale.iter().zip(act.sum)).enumerate() {
        let Some(block) = w.block(row, b) else { return f32::NAN };
        let [d, m] = block.scales.map(f16_to_f32);
        let level = |code: u8| match w.format() {
            Format::Q8 => code.cast_signed() as i32,
            Format::Q4 => code as i32 - 8,
            _ => code as i32,
        };
        let isum: i32 = block.codes.iter().zip(q).map(|(code, q)| level(*code) * *q as i32).sum();
        let product = (d * ad) * isum as f32;
        let step = if w.format() == Format::Q4M { product + m * (ad * *asum as f32) } else { product };
        acc += step;
    }
    acc
}

fn case(format: Format, panel: Panel, rows: usize, cols: usize, values: &Values, seed: u32) -> Case {
    Case {
        operation: "matmul",
        format: format.name(),
        panel: format.is_quantised().then_some(panel),
        shape: [rows, cols, 1],
        values: values.name,
        seed,
    }
}

/// Everything one quantised shape needs, carved from the arena.
struct Buffers<'a> {
    weights: &'a mut [Line],
    q: &'a mut [i8],
    scale: &'a mut [f32],
    sum: &'a mut [i32],
    expected: &'a mut [f32],
    got: &'a mut [f32],
}

impl<'a> Buffers<'a> {
    fn new(arena: &'a mut [Line], format: Format, panel: Panel, shape: [usize; 3], tokens: usize) -> Option<Self> {
        let [rows, cols, _] = shape;
        let lines = Line::count(matrix_bytes(format, panel, rows, cols)?);
        let (weights, rest) = arena.split_at_mut_checked(lines)?;
        let mut carver = Carver::new(rest);
        let blocks = cols.div_ceil(BLOCK);
        Some(Self {
            weights,
            q: carver.take(tokens * blocks * BLOCK).ok()?,
            scale: carver.take(tokens * blocks).ok()?,
            sum: carver.take(tokens * blocks).ok()?,
            expected: carver.take(tokens * rows + 2 * PAD).ok()?,
            got: carver.take(tokens * rows + 2 * PAD).ok()?,
        })
    }

    /// Draws weights and activations.
    #[allow(clippy::type_complexity)]
    fn draw(
        self,
        format: Format,
        panel: Panel,
        values: &Values,
        case: &Case,
    ) -> (Option<Matrix<'a>>, Acts<'a>, &'a mut [f32], &'a mut [f32]) {
        let [rows, cols, _] = case.shape;
        let rng = &mut Rng::new(case.seed);
        let blocks = cols.div_ceil(BLOCK);
        if let Ok(mut w) = MatrixMut::new(format, panel, rows, cols, bytes_of_mut(self.weights)) {
            for row in 0..rows {
                for block in 0..blocks {
                    let mut value = Block { scales: [(values.scale)(rng), (values.scale)(rng)], codes: [0; BLOCK] };
                    for code in &mut value.codes {
                        *code = (values.code)(rng) & if format == Format::Q8 { 0xff } else { 0x0f };
                    }
                    let _ = w.set_block(row, block, &value);
                }
            }
        }
        for q in self.q.chunks_mut(blocks * BLOCK) {
            for q in q.iter_mut().take(cols) {
                *q = (values.act)(rng);
            }
        }
        for ((q, scale), sum) in self.q.chunks(BLOCK).zip(&mut *self.scale).zip(&mut *self.sum) {
            *scale = (values.act_scale)(rng);
            *sum = q.iter().map(|q| *q as i32).sum();
            // Some blocks hold only zeros, as quantising leaves them.
            if q.iter().all(|q| *q == 0) {
                *scale = 0.0;
            }
        }
        let w = Matrix::new(format, panel, rows, cols, bytes_of(self.weights)).ok();
        (w, Acts::new(self.q, self.scale, self.sum, blocks), self.expected, self.got)
    }
}

/// One shape with as many of the token counts as fit.
fn quantised(
    kernels: &dyn Kernels,
    arena: &mut [Line],
    format: Format,
    panel: Panel,
    values: &Values,
    case: Case,
    tokens: &[usize],
) -> Outcome {
    for (index, most) in tokens.iter().enumerate().rev() {
        let Some(buffers) = Buffers::new(arena, format, panel, case.shape, *most) else { continue };
        let (Some(w), acts, expected, got) = buffers.draw(format, panel, values, &case) else { return Ok(0) };
        let x = |tokens| Input { tokens, x: &[], acts };
        return compare(kernels, &w, x, expected, got, case, tokens.get(..=index).unwrap_or(tokens));
    }
    Ok(0)
}

/// The whole matrix and a range in its middle, for each number of tokens, written and added.
fn compare<'x>(
    kernels: &dyn Kernels,
    w: &Matrix<'_>,
    x: impl Fn(usize) -> Input<'x>,
    expected: &mut [f32],
    got: &mut [f32],
    mut case: Case,
    tokens: &[usize],
) -> Outcome {
    let mut count = 0;
    let mut rng = Rng::new(case.seed ^ 0x5555);
    for &tokens in tokens {
        case.shape[2] = tokens;
        let x = x(tokens);
        let panels = w.panels();
        let first = rng.below(panels);
        let some = first..first + 1 + rng.below(panels - first);
        let other = 1.min(panels - 1)..panels;
        let swap = rng.bits() & 1 == 0;
        let (one, two) = if swap { (Store::Set, Store::Add) } else { (Store::Add, Store::Set) };
        for (range, store) in [(0..panels, one), (some, two), (other, one)] {
            product(kernels, w, range, &x, expected, got, &case, store)?;
            count += 1;
        }
    }
    Ok(count)
}

#[allow(clippy::too_many_arguments)]
fn product(
    kernels: &dyn Kernels,
    w: &Matrix<'_>,
    range: Range<usize>,
    x: &Input<'_>,
    expected: &mut [f32],
    got: &mut [f32],
    case: &Case,
    store: Store,
) -> Result<(), Mismatch> {
    let (rows, unit) = (w.rows(), w.unit_rows());
    let first = (range.start * unit).min(rows);
    let last = (range.end * unit).min(rows);
    let len = x.tokens * rows;
    for (scalar, out) in [(true, &mut *expected), (false, &mut *got)] {
        fill_initial(out);
        let Some(out) = out.get_mut(PAD..PAD + len) else { return Ok(()) };
        let tile = Tile::whole(out, rows, x.tokens);
        // SAFETY: this is the only part, and the whole tile is not written.
        let mut tile = unsafe { tile.cut(first..last, 0..x.tokens) };
        if scalar {
            scalar::matmul(w, range.clone(), x, &mut tile, store);
        } else {
            kernels.matmul(w, range.clone(), x, &mut tile, store);
        }
    }
    let len = PAD + len + PAD;
    let mut column = 0;
    for (index, (expected, got)) in expected.iter().zip(got).take(len).enumerate() {
        let inside = index >= PAD && index < len - PAD;
        let in_tile = inside && column >= first && column < last;
        let want = if in_tile { *expected } else { initial(index) };
        if want.to_bits() != got.to_bits() {
            let what = if in_tile { "out" } else { "outside the tile: out" };
            return Err(differ(case, what, index as isize - PAD as isize, want.to_bits(), got.to_bits()));
        }
        if inside {
            column += 1;
            if column == rows {
                column = 0;
            }
        }
    }
    Ok(())
}

/// F32 weights.
pub(super) fn matmul_f32(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    float(kernels, arena, Format::F32)
}

/// F16 weights.
pub(super) fn matmul_f16(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    float(kernels, arena, Format::F16)
}

/// BF16 weights.
pub(super) fn matmul_bf16(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    float(kernels, arena, Format::BF16)
}

fn float(kernels: &dyn Kernels, arena: &mut [Line], format: Format) -> Outcome {
    let mut count = 0;
    let mut seed = 2000;
    for wide in [false, true] {
        for rows in [1, 3, 7, 8, 9, 19] {
            for cols in FLOAT_COLS {
                count += float_shape(kernels, arena, format, rows, cols, wide, seed)?;
                seed += 1;
            }
        }
    }
    Ok(count)
}

fn float_shape(
    kernels: &dyn Kernels,
    arena: &mut [Line],
    format: Format,
    rows: usize,
    cols: usize,
    wide: bool,
    seed: u32,
) -> Outcome {
    let mut case = case(format, Panel::R1, rows, cols, &RANDOM, seed);
    if wide {
        case.values = "wide";
    }
    for (index, most) in TOKENS.iter().enumerate().rev() {
        let Some(bytes) = matrix_bytes(format, Panel::R1, rows, cols) else { return Ok(0) };
        let Some((weights, rest)) = arena.split_at_mut_checked(Line::count(bytes)) else { return Ok(0) };
        let mut carver = Carver::new(rest);
        let (Ok(x), Ok(expected), Ok(got)) = (
            carver.take::<f32>(most * cols),
            carver.take::<f32>(most * rows + 2 * PAD),
            carver.take::<f32>(most * rows + 2 * PAD),
        ) else {
            continue;
        };
        let rng = &mut Rng::new(seed);
        let elements = bytes_of_mut(weights);
        let weight = |rng: &mut Rng| match (wide, rng.below(16)) {
            (true, 0) => 0.0,
            (true, 1) => -0.0,
            (true, _) => rng.wide(-30, 15),
            _ => rng.unit(),
        };
        match format {
            Format::F32 => {
                for bytes in elements.as_chunks_mut::<4>().0 {
                    *bytes = weight(rng).to_le_bytes();
                }
            }
            Format::F16 => {
                for bytes in elements.as_chunks_mut::<2>().0 {
                    *bytes = f32_to_f16(weight(rng)).to_le_bytes();
                }
            }
            _ => {
                for bytes in elements.as_chunks_mut::<2>().0 {
                    let bits = f32_to_bf16(weight(rng));
                    debug_assert!(bf16_to_f32(bits).is_finite());
                    *bytes = bits.to_le_bytes();
                }
            }
        }
        for x in x.iter_mut() {
            *x = if wide { rng.wide(-20, 20) } else { rng.unit() };
        }
        let x: &[f32] = x;
        let Ok(w) = Matrix::new(format, Panel::R1, rows, cols, bytes_of(weights)) else { return Ok(0) };
        let input = |tokens| Input { tokens, x, acts: Acts::NONE };
        return compare(kernels, &w, input, expected, got, case, TOKENS.get(..=index).unwrap_or(&TOKENS));
    }
    Ok(0)
}
