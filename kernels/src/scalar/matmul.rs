//! Products of a weight matrix with activations, row by row, block by block.

use core::ops::Range;

use crate::{
    BLOCK, Format, Input, Matrix, Panel, Store, Tile,
    acts::ActRow,
    float16::{bf16_to_f32, f16_to_f32},
    linked::FLOAT_WEIGHTS,
    math::sum,
    matrix::FLOAT_UNIT,
};

/// `out[t][r] = sum over k of w[r][k] * x[t][k]` for the rows of `panels`, or added to `out` with [`Store::Add`].
///
/// `out` is the tile of exactly those rows. Quantised weights read `x.acts`, whose rows have `w.blocks()` blocks; float
/// weights read `x.x`, `[tokens][w.cols()]`. Any panel and format, on any machine.
///
/// Quantised: per block the exact integer product `isum`, then `acc = acc + (d * ad) * isum` (Q8, Q4) or
/// `acc = acc + ((d * ad) * isum + m * (ad * asum))` (Q4M), blocks in index order. Float: the contract's vector sum.
pub fn matmul(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    if !w.format().is_quantised() {
        if FLOAT_WEIGHTS {
            float(w, panels, x, out, store);
        }
        return;
    }
    let panel = w.panel();
    match panel {
        // What is left out has been refused.
        _ if !panel.is_linked() => {}
        Panel::R1 => quantised::<1>(w, panels, x, out, store),
        Panel::R4 => quantised::<4>(w, panels, x, out, store),
        Panel::R8 => quantised::<8>(w, panels, x, out, store),
        Panel::R16 => quantised::<16>(w, panels, x, out, store),
        Panel::D4 | Panel::H8 => foreign(w, panels, x, out, store),
    }
}

/// Panels made for the instructions of one kind of core: block by block, whatever their order.
fn foreign(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    let first = panels.start.saturating_mul(w.unit_rows());
    for t in 0..out.tokens().min(x.tokens) {
        let act = x.acts.row(t);
        for (index, out) in out.row(t).iter_mut().enumerate() {
            store.put(out, row_dot(w, first.saturating_add(index), &act));
        }
    }
}

fn row_dot(w: &Matrix<'_>, row: usize, act: &ActRow<'_>) -> f32 {
    let mut acc = 0.0f32;
    for (b, ((q, ad), asum)) in act.q.as_chunks::<BLOCK>().0.iter().zip(act.scale).zip(act.sum).enumerate() {
        let Some(block) = w.block(row, b) else { break };
        let [d, m] = block.scales.map(f16_to_f32);
        let dot =
            |level: fn(u8) -> i32| q.iter().zip(block.codes).map(|(q, code)| *q as i32 * level(code)).sum::<i32>();
        match w.format() {
            Format::Q8 => acc += (d * ad) * dot(|code| code.cast_signed() as i32) as f32,
            Format::Q4 => acc += (d * ad) * dot(|code| code as i32 - 8) as f32,
            _ => acc += (d * ad) * dot(|code| code as i32) as f32 + m * (ad * *asum as f32),
        }
    }
    acc
}

fn quantised<const R: usize>(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    for t in 0..out.tokens().min(x.tokens) {
        let act = x.acts.row(t);
        for (p, out) in panels.clone().zip(out.row(t).chunks_mut(R)) {
            let acc = panel_dot::<R>(w, p, &act);
            for (out, acc) in out.iter_mut().zip(acc) {
                store.put(out, acc);
            }
        }
    }
}

#[inline(always)]
fn panel_dot<const R: usize>(w: &Matrix<'_>, p: usize, act: &ActRow<'_>) -> [f32; R] {
    let format = w.format();
    let mut acc = [0.0f32; R];
    let mut scales = w.panel_scales(p).as_chunks::<R>().0.iter();
    let payload = w.panel_payload(p).as_chunks::<4>().0;
    let mut steps = payload.chunks_exact(R);
    for ((q, ad), asum) in act.q.as_chunks::<BLOCK>().0.iter().zip(act.scale).zip(act.sum) {
        let mut isum = [0i32; R];
        let (q, _) = q.as_chunks::<4>();
        if matches!(format, Format::Q8) {
            for (q, rows) in q.iter().zip(&mut steps) {
                for (isum, bytes) in isum.iter_mut().zip(rows) {
                    for (q, byte) in q.iter().zip(bytes) {
                        *isum += *q as i32 * byte.cast_signed() as i32;
                    }
                }
            }
        } else {
            for ((low, high), rows) in q.iter().zip(q.iter().skip(4)).zip(&mut steps) {
                for (isum, bytes) in isum.iter_mut().zip(rows) {
                    for ((low, high), byte) in low.iter().zip(high).zip(bytes) {
                        *isum += *low as i32 * (byte & 0x0f) as i32 + *high as i32 * (byte >> 4) as i32;
                    }
                }
            }
        }
        let Some(d) = scales.next() else { break };
        if matches!(format, Format::Q4M) {
            let Some(m) = scales.next() else { break };
            let offset = ad * *asum as f32;
            for (((acc, isum), d), m) in acc.iter_mut().zip(isum).zip(d).zip(m) {
                let product = (f16_to_f32(*d) * ad) * isum as f32;
                *acc += product + f16_to_f32(*m) * offset;
            }
        } else {
            // A nibble is stored plus 8: the offset leaves through the activations' sum.
            let offset = if matches!(format, Format::Q4) { 8 * asum } else { 0 };
            for ((acc, isum), d) in acc.iter_mut().zip(isum).zip(d) {
                *acc += (f16_to_f32(*d) * ad) * (isum - offset) as f32;
            }
        }
    }
    acc
}

fn float(w: &Matrix<'_>, panels: Range<usize>, x: &Input<'_>, out: &mut Tile<'_>, store: Store) {
    let first = panels.start.saturating_mul(FLOAT_UNIT);
    for t in 0..out.tokens().min(x.tokens) {
        let x = x.row(t, w.cols());
        for (index, out) in out.row(t).iter_mut().enumerate() {
            let row = first.saturating_add(index);
            let dot = match w.format() {
                Format::F32 => sum(w.row_f32(row).iter().zip(x).map(|(w, x)| w * x)),
                Format::F16 => sum(w.row_16(row).iter().zip(x).map(|(w, x)| f16_to_f32(*w) * x)),
                _ => sum(w.row_16(row).iter().zip(x).map(|(w, x)| bf16_to_f32(*w) * x)),
            };
            store.put(out, dot);
        }
    }
}
