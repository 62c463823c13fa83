//! Attention over one chunk of each kind of cache.

use super::{Case, Outcome, Rng, differ, fill_initial, same};
use crate::{
    BLOCK, CacheRows, Kernels, Queries, Query, Tile,
    acts::ActRowMut,
    arena::{Carver, Line},
    float16::f32_to_f16,
    scalar,
};

const HEAD_DIMS: [usize; 12] = [2, 4, 8, 16, 24, 32, 40, 48, 64, 80, 96, 128];
/// Positions in a chunk.
const CHUNK: usize = 64;
/// Elements before and after an output.
const PAD: usize = 3;

#[derive(Clone, Copy, PartialEq)]
enum Cache {
    F32,
    F16,
    I8,
}

impl Cache {
    const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        }
    }

    /// `positions` rows of random values.
    fn draw<'a>(self, carver: &mut Carver<'a>, rng: &mut Rng, positions: usize, dim: usize) -> Option<CacheRows<'a>> {
        let len = positions * dim;
        Some(match self {
            Self::F32 => {
                let rows = carver.take::<f32>(len).ok()?;
                rows.fill_with(|| rng.wide(-6, 3));
                CacheRows::F32(rows)
            }
            Self::F16 => {
                let rows = carver.take::<u16>(len).ok()?;
                rows.fill_with(|| match rng.below(8) {
                    0 => rng.bits() as u16 & 0x83ff,
                    _ => f32_to_f16(rng.wide(-10, 3)),
                });
                CacheRows::F16(rows)
            }
            Self::I8 => {
                let q = carver.take::<i8>(len).ok()?;
                q.fill_with(|| (rng.below(255) as i32 - 127) as i8);
                let scale = carver.take::<u16>(positions).ok()?;
                // Every third position holds the largest products, some hold zeros and subnormal scales.
                scale.fill_with(|| match rng.below(8) {
                    0 => 0,
                    1 => rng.bits() as u16 & 0x03ff,
                    _ => rng.half() & 0x7fff,
                });
                for row in q.chunks_mut(dim).step_by(3) {
                    row.fill(-127);
                }
                CacheRows::I8 { q, scale }
            }
        })
    }
}

/// Scores over a float32 cache.
pub(super) fn att_scores_f32(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    scores(kernels, arena, Cache::F32)
}

/// Scores over a float16 cache.
pub(super) fn att_scores_f16(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    scores(kernels, arena, Cache::F16)
}

/// Scores over an int8 cache.
pub(super) fn att_scores_i8(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    scores(kernels, arena, Cache::I8)
}

fn scores(kernels: &dyn Kernels, arena: &mut [Line], cache: Cache) -> Outcome {
    let mut count = 0;
    let mut seed = 6000;
    for dim in HEAD_DIMS {
        for positions in 1..=CHUNK {
            seed += 1;
            count += score_case(kernels, arena, cache, dim, positions, seed)?.unwrap_or(0);
        }
    }
    Ok(count)
}

/// `None` when the arena is too small.
fn score_case(
    kernels: &dyn Kernels,
    arena: &mut [Line],
    cache: Cache,
    dim: usize,
    positions: usize,
    seed: u32,
) -> Result<Option<usize>, super::Mismatch> {
    let values = if seed.is_multiple_of(4) { "extreme" } else { "random" };
    let case =
        Case { operation: "att_scores", format: cache.name(), panel: None, shape: [positions, dim, 1], values, seed };
    let rng = &mut Rng::new(seed);
    let mut carver = Carver::new(arena);
    let (Ok(x), Ok(q), Ok(scale), Ok(sum)) = (
        carver.take::<f32>(dim),
        carver.take::<i8>(dim.next_multiple_of(BLOCK)),
        carver.take::<f32>(dim.div_ceil(BLOCK)),
        carver.take::<i32>(dim.div_ceil(BLOCK)),
    ) else {
        return Ok(None);
    };
    x.fill_with(|| if values == "extreme" { 4.0 } else { rng.wide(-6, 3) });
    let (Ok(expected), Ok(got)) = (carver.take::<f32>(positions + 2 * PAD), carver.take::<f32>(positions + 2 * PAD))
    else {
        return Ok(None);
    };
    let Some(rows) = cache.draw(&mut carver, rng, positions, dim) else { return Ok(None) };
    if scalar::quantise(x, ActRowMut { q, scale, sum }).is_err() {
        return Ok(None);
    }
    let query = match cache {
        Cache::I8 => Query { x, q: q.get(..dim).unwrap_or(&[]), scale },
        _ => Query { x, q: &[], scale: &[] },
    };
    let att_scale = rng.pick(&[0.125, 0.353_553_4, 1.0, 0.1]);
    let call = |kernels: &dyn Kernels, out: &mut [f32]| {
        fill_initial(out);
        kernels.att_scores(&query, &rows, att_scale, out.get_mut(PAD..PAD + positions).unwrap_or(&mut []))
    };
    let (e, g) = (call(&scalar::Scalar, expected), call(kernels, got));
    same(&case, "scores", PAD, expected, got)?;
    if e.to_bits() != g.to_bits() {
        return Err(differ(&case, "largest", 0, e.to_bits(), g.to_bits()));
    }
    Ok(Some(1))
}

/// Values of a float32 cache.
pub(super) fn att_values_f32(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    values(kernels, arena, Cache::F32)
}

/// Values of a float16 cache.
pub(super) fn att_values_f16(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    values(kernels, arena, Cache::F16)
}

/// Values of an int8 cache.
pub(super) fn att_values_i8(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    values(kernels, arena, Cache::I8)
}

fn values(kernels: &dyn Kernels, arena: &mut [Line], cache: Cache) -> Outcome {
    let mut count = 0;
    let mut seed = 7000;
    for dim in HEAD_DIMS {
        for positions in 1..=CHUNK {
            seed += 1;
            count += value_case(kernels, arena, cache, dim, positions, seed)?.unwrap_or(0);
        }
    }
    Ok(count)
}

/// `None` when the arena is too small.
fn value_case(
    kernels: &dyn Kernels,
    arena: &mut [Line],
    cache: Cache,
    dim: usize,
    positions: usize,
    seed: u32,
) -> Result<Option<usize>, super::Mismatch> {
    let spread = if seed.is_multiple_of(4) { 60.0 } else { 6.0 };
    let values = if spread > 50.0 { "far apart" } else { "random" };
    let case =
        Case { operation: "att_values", format: cache.name(), panel: None, shape: [positions, dim, 1], values, seed };
    let rng = &mut Rng::new(seed);
    let mut carver = Carver::new(arena);
    let (Ok(e_scores), Ok(g_scores), Ok(e_acc), Ok(g_acc)) = (
        carver.take::<f32>(positions + 2 * PAD),
        carver.take::<f32>(positions + 2 * PAD),
        carver.take::<f32>(dim + 2 * PAD),
        carver.take::<f32>(dim + 2 * PAD),
    ) else {
        return Ok(None);
    };
    let Some(rows) = cache.draw(&mut carver, rng, positions, dim) else { return Ok(None) };
    // The largest score may lie in another chunk.
    let max = rng.pick(&[0.0, 0.0, 3.5]);
    let mut sums = [0.0f32; 2];
    let sides: [(&dyn Kernels, &mut [f32], &mut [f32]); 2] =
        [(&scalar::Scalar, &mut *e_scores, &mut *e_acc), (kernels, &mut *g_scores, &mut *g_acc)];
    for ((kernels, scores, acc), sum) in sides.into_iter().zip(&mut sums) {
        let mut rng = *rng;
        fill_initial(scores);
        fill_initial(acc);
        let scores = scores.get_mut(PAD..PAD + positions).unwrap_or(&mut []);
        for score in scores.iter_mut() {
            *score = -(rng.unit() + 1.0) * 0.5 * spread;
        }
        let acc = acc.get_mut(PAD..PAD + dim).unwrap_or(&mut []);
        *sum = kernels.att_values(scores, max, &rows, acc);
    }
    same(&case, "weights", PAD, e_scores, g_scores)?;
    same(&case, "acc", PAD, e_acc, g_acc)?;
    let [e, g] = sums;
    if e.to_bits() != g.to_bits() {
        return Err(differ(&case, "sum", 0, e.to_bits(), g.to_bits()));
    }
    Ok(Some(1))
}

/// The exponential alone, over many arguments: wrong rounding in its inner terms shows in few results, fused
/// multiply-adds in one of a hundred down to one of a million. As many as 512 times the arena's lines are tried.
pub(super) fn att_values_exp(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    let chunks = arena.len() * 512 / CHUNK;
    let mut carver = Carver::new(arena);
    let (Ok(expected), Ok(got), Ok(values)) =
        (carver.take::<f32>(CHUNK), carver.take::<f32>(CHUNK), carver.take::<f32>(CHUNK))
    else {
        return Ok(0);
    };
    let rows = CacheRows::F32(values);
    for seed in 0..chunks as u32 {
        let case = Case {
            operation: "att_values",
            format: "f32",
            panel: None,
            shape: [CHUNK, 1, 1],
            values: "arguments of exp",
            seed,
        };
        for (kernels, scores) in [(&scalar::Scalar as &dyn Kernels, &mut *expected), (kernels, &mut *got)] {
            let rng = &mut Rng::new(seed);
            scores.fill_with(|| (rng.unit() - 1.0) * 25.5);
            kernels.att_values(scores, 0.0, &rows, &mut [0.0]);
        }
        same(&case, "weights", 0, expected, got)?;
    }
    Ok(chunks)
}

/// Several queries over a float32 cache.
pub(super) fn attend_f32(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    attend(kernels, arena, Cache::F32)
}

/// Several queries over a float16 cache.
pub(super) fn attend_f16(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    attend(kernels, arena, Cache::F16)
}

/// Several queries over an int8 cache.
pub(super) fn attend_i8(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    attend(kernels, arena, Cache::I8)
}

fn attend(kernels: &dyn Kernels, arena: &mut [Line], cache: Cache) -> Outcome {
    let mut count = 0;
    let mut seed = 8000;
    for dim in HEAD_DIMS {
        for (tokens, heads) in [(1, 1), (1, 2), (1, 3), (1, 4), (1, 9), (2, 3), (5, 3), (16, 1), (4, 4), (7, 2), (2, 8)]
        {
            for first_len in [1, 2, 7, 56, 63, 64, 65, 129] {
                seed += 1;
                count += attend_case(kernels, arena, cache, dim, (tokens, heads), first_len, seed)?.unwrap_or(0);
            }
        }
    }
    Ok(count)
}

/// `None` when the arena is too small.
fn attend_case(
    kernels: &dyn Kernels,
    arena: &mut [Line],
    cache: Cache,
    head_dim: usize,
    (tokens, heads): (usize, usize),
    first_len: usize,
    seed: u32,
) -> Result<Option<usize>, super::Mismatch> {
    let values = if seed.is_multiple_of(4) { "far apart" } else { "random" };
    let rng = &mut Rng::new(seed);
    let mut carver = Carver::new(arena);
    // Heads of others lie between two tokens'.
    let stride = heads + rng.below(3);
    let units = (tokens - 1) * stride + heads;
    let blocks = head_dim.div_ceil(BLOCK);
    let positions = first_len + tokens - 1;
    let lanes = kernels.att_lanes(head_dim).max(kernels.att_few(head_dim));
    let (width, padded) = (heads * head_dim, tokens * heads * head_dim + 2 * PAD);
    let case = Case {
        operation: "attend",
        format: cache.name(),
        panel: None,
        shape: [positions, head_dim, tokens * heads],
        values,
        seed,
    };
    let (Ok(x), Ok(q), Ok(scale), Ok(sum)) = (
        carver.take::<f32>(units * head_dim),
        carver.take::<i8>(units * blocks * BLOCK),
        carver.take::<f32>(units * blocks),
        carver.take::<i32>(units * blocks),
    ) else {
        return Ok(None);
    };
    let spread = if values == "random" { 1 } else { 5 };
    x.fill_with(|| rng.wide(-6, spread));
    let (Ok(scores), Ok(expected), Ok(got)) =
        (carver.take::<f32>(positions * lanes), carver.take::<f32>(padded), carver.take::<f32>(padded))
    else {
        return Ok(None);
    };
    let (Some(keys), Some(values)) =
        (cache.draw(&mut carver, rng, positions, head_dim), cache.draw(&mut carver, rng, positions, head_dim))
    else {
        return Ok(None);
    };
    for (((x, q), scale), sum) in x
        .chunks_exact(head_dim)
        .zip(q.chunks_exact_mut(blocks * BLOCK))
        .zip(scale.chunks_exact_mut(blocks))
        .zip(sum.chunks_exact_mut(blocks))
    {
        if scalar::quantise(x, ActRowMut { q, scale, sum }).is_err() {
            return Ok(None);
        }
    }
    let quantised = cache == Cache::I8;
    let att_scale = rng.pick(&[0.125, 0.353_553_4, 1.0, 0.1]);
    let queries = Queries {
        x,
        q: if quantised { q } else { &[] },
        scale: if quantised { scale } else { &[] },
        head_dim,
        heads,
        stride,
        tokens,
        first_len,
        window: rng.pick(&[usize::MAX, usize::MAX, 1, 5, 40, 63, 64, 65, 100]),
        att_scale,
    };
    for (kernels, out) in [(&scalar::Scalar as &dyn Kernels, &mut *expected), (kernels, &mut *got)] {
        fill_initial(out);
        let Some(out) = out.get_mut(PAD..PAD + tokens * width) else { return Ok(None) };
        kernels.attend(&queries, &keys, &values, scores, &mut Tile::whole(out, width, tokens));
    }
    same(&case, "out", PAD, expected, got)?;
    Ok(Some(1))
}
