//! The kernels, with arguments of any length.

use core::hint::black_box;

use pipsqueak::{
    Sampler, Sampling,
    crc::{Crc32, crc32},
    kernels::{
        Acts, BLOCK, Block, CacheRows, Format, Gate, Input, Kernels, Linear, Matrix, MatrixMut, Pairs, Panel, Query,
        Scalar, Store, Tile,
        acts::ActRowMut,
        arena::{Carver, bytes_of, lines_for},
        float16, linear, math, matrix_bytes, quantise, run_linears, scalar, select, slice,
        team::Team,
    },
    sampler::{greedy, uniform},
};

use crate::Choices;

/// The kernel set an unknown name stands for: links every set of this target.
fn set(choices: &mut Choices) -> &'static dyn Kernels {
    let index = choices.next();
    let named = select::NAMES.get(index).and_then(|name| select::by_name(name));
    black_box((select::panel_of(select::NAMES.get(index).copied().unwrap_or("scalar")), select::all().count()));
    named.unwrap_or(&Scalar)
}

fn format(choices: &mut Choices) -> Format {
    Format::from_code(choices.next() as u8).unwrap_or(Format::Q8)
}

fn panel(choices: &mut Choices) -> Panel {
    Panel::from_code(choices.next() as u8).unwrap_or(Panel::R1)
}

/// Splits in two at an unknown place.
fn cut<'a, T>(data: &mut &'a mut [T], choices: &mut Choices) -> &'a mut [T] {
    let whole = core::mem::take(data);
    let at = choices.next().min(whole.len());
    let Some((first, rest)) = whole.split_at_mut_checked(at) else { return &mut [] };
    *data = rest;
    first
}

/// Every operation on vectors of a set chosen while running, and the scalar ones.
pub fn vectors(
    mut floats: &mut [f32],
    words: &mut [u32],
    mut halves: &mut [u16],
    mut codes: &mut [i8],
    choices: &mut Choices,
) {
    let k = set(choices);
    let eps = f32::from_bits(choices.next() as u32);
    let (x, y, z) = (cut(&mut floats, choices), cut(&mut floats, choices), cut(&mut floats, choices));
    let (half, scales) = (cut(&mut halves, choices), cut(&mut halves, choices));
    let q = cut(&mut codes, choices);
    let mut sums = [0i32; 8];
    let function = [Gate::Silu, Gate::Gelu, Gate::Relu].get(choices.next()).copied().unwrap_or(Gate::Relu);
    let pairs = if choices.next() == 0 { Pairs::Interleaved } else { Pairs::HalfSplit };
    let rows = match choices.next() {
        0 => CacheRows::F32(y),
        1 => CacheRows::F16(half),
        _ => CacheRows::I8 { q, scale: scales },
    };
    let (query_q, query_scale) = (codes, z);
    for k in [k, &Scalar] {
        let query = Query { x: floats, q: query_q, scale: query_scale };
        black_box(k.att_scores(&query, &rows, eps, x));
        black_box(k.att_values(x, eps, &rows, &mut [0.0; 64]));
    }
    let (y, q) = (query_scale, query_q);
    black_box(k.rmsnorm(x, y, eps, floats)).ok();
    black_box(k.layernorm(x, y, x, eps, floats)).ok();
    k.softmax(x);
    k.rotate(x, y, pairs);
    k.gate(function, x, y);
    black_box((k.store_f16(x, halves), k.store_i8(x, q), k.peak(choices.next()))).0.ok();
    black_box(k.quantise(x, ActRowMut { q, scale: y, sum: &mut sums })).ok();
    black_box((sums, k.name(), k.panel(format(choices)), scalar::all_finite(x)));
    let mut sampler = Sampler::new(Sampling::default());
    sampler.accept(choices.next() as u32);
    black_box((sampler.sample(x, words, choices.next() as u64), greedy(y), uniform(7, choices.next() as u64)));
}

/// Matrices of any shape over any bytes: products, rows, packing.
pub fn matrices(bytes: &mut [u8], mut floats: &mut [f32], q: &[i8], choices: &mut Choices) {
    let (format, panel) = (format(choices), panel(choices));
    let (rows, cols) = (choices.next(), choices.next());
    black_box(matrix_bytes(format, panel, rows, cols));
    if choices.next() == 0 {
        pack(format, panel, bytes, floats, choices);
        return;
    }
    let w = match Matrix::new(format, panel, rows, cols, bytes) {
        Ok(w) => w,
        Err(error) => {
            black_box(error);
            return;
        }
    };
    let (row, block) = (choices.next(), choices.next());
    black_box((
        w.row(row, floats),
        w.block(row, block).map(|block| block.dequantise(format)),
        w.bytes(),
        w.unit_macs(),
    ));
    black_box((w.panel_scales(row), w.panel_payload(row), w.row_f32(row), w.row_16(row)));
    let k = set(choices);
    let (x, scale, out) = (cut(&mut floats, choices), cut(&mut floats, choices), cut(&mut floats, choices));
    let tokens = choices.next();
    let input = Input { tokens, x, acts: Acts::new(q, scale, &[0; 8], choices.next()) };
    let store = if choices.next() == 0 { Store::Set } else { Store::Add };
    let mut tile = Tile::whole(out, rows, tokens);
    let panels = choices.next()..choices.next();
    for k in [k, &Scalar] {
        k.matmul(&w, panels.clone(), &input, &mut tile, store);
    }
    black_box(tile.part(choices.next(), choices.next(), choices.next()));
    let mut linears = [Linear { w, out: tile, store }, Linear { w, out: Tile::whole(floats, rows, tokens), store }];
    black_box(linear::count_units([&w, &w]));
    run_linears(k, &Team::alone(), &mut linears, &input, panels.clone());
    run_linears(&Scalar, &Team::new(None), &mut linears, &input, panels);
}

fn pack(format: Format, panel: Panel, bytes: &mut [u8], floats: &[f32], choices: &mut Choices) {
    let (rows, cols) = (choices.next(), choices.next());
    let mut packed = match MatrixMut::new(format, panel, rows, cols, bytes) {
        Ok(packed) => packed,
        Err(error) => {
            black_box(error);
            return;
        }
    };
    for x in floats.as_chunks::<BLOCK>().0 {
        let importance = (choices.next() == 0).then_some(x);
        let near = quantise::nearest(format, x);
        let best = quantise::search(format, x, importance);
        black_box(quantise::block_error(format, &near, x, importance));
        let (row, column) = (choices.next(), choices.next());
        black_box((packed.set_block(row, column, &best), packed.set_block(row, column, &Block::zero(format))));
    }
}

/// Everything that works on single numbers or on memory.
pub fn numbers(floats: &mut [f32], halves: &mut [u16], choices: &mut Choices) {
    for x in floats.iter_mut() {
        *x = math::exp(*x) + math::exp_cut(*x) + math::sqrt(*x);
        black_box(math::cos_sin(x.to_bits()));
    }
    for (x, half) in floats.iter_mut().zip(&mut *halves) {
        *x += float16::f16_to_f32(*half) + float16::bf16_to_f32(*half);
        *half = float16::f32_to_f16(*x) ^ float16::f32_to_bf16(*x);
    }
    black_box(math::sum(floats.iter().copied()));
    black_box(slice::part(floats, choices.next(), choices.next()));
    slice::copy(slice::part_mut(floats, choices.next(), choices.next()), &[1.0; 5]);
    let mut arena = [pipsqueak::kernels::arena::Line::ZERO; 4];
    black_box((crc32(bytes_of(&arena)), Crc32::new().update_f32(floats).finish()));
    let mut carver = Carver::new(&mut arena);
    black_box((carver.take::<f32>(choices.next()).is_ok(), carver.take::<i8>(choices.next()).is_ok()));
    black_box((lines_for::<u16>(choices.next()), pipsqueak::kernels::arena::cast::<u32>(&[0; 7])));
}
