//! Operations on one vector: every short length, a model's lengths, unaligned starts, and the values where kernels go wrong.

use super::{Case, Mismatch, Outcome, Rng, differ, fill_initial, same};
use crate::{
    BLOCK, Gate, Kernels, NotFinite, Pairs,
    acts::ActRowMut,
    arena::{Carver, Line},
    math::cos_sin,
    scalar,
};

/// Lengths beyond 1 to 100.
const LONG: [usize; 6] = [128, 172, 255, 288, 576, 961];

pub(super) fn lengths() -> impl Iterator<Item = usize> {
    (1..=100).chain(LONG)
}

/// An operation in place: the kernel set, the values, room for as many others, and the generator.
type InPlace<'a> = &'a mut dyn FnMut(&dyn Kernels, &mut [f32], &mut [f32], &mut Rng);

/// A name and how to draw the element of an index.
pub(super) type Draw = (&'static str, fn(&mut Rng, usize) -> f32);

/// Rows that quantise must get right: the second argument is the index.
const ROWS: [Draw; 10] = [
    ("random", |rng, _| rng.unit()),
    ("wide", |rng, _| rng.wide(-60, 60)),
    // The largest is 127, so that `id` is 1 and every half is a tie.
    ("ties", |rng, i| if i & 31 == 0 { 127.0 } else { rng.below(253) as f32 - 126.0 + 0.5 }),
    ("even ties", |rng, i| if i & 31 == 0 { -254.0 } else { (rng.below(253) as f32 - 126.0) * 2.0 + 1.0 }),
    ("zero", |_, _| 0.0),
    ("-0.0", |_, _| -0.0),
    ("tiny", |rng, _| rng.wide(-126, -51)),
    // 2^-50 is the first magnitude that is not taken for zero.
    ("threshold", |rng, _| f32::from_bits(((77 << 23) - 1 + rng.below(2) as u32) | rng.bits() & 0x8000_0000)),
    ("subnormal", |rng, _| f32::from_bits(rng.bits() & 0x807f_ffff)),
    ("largest", |rng, _| rng.pick(&[f32::MAX, f32::MIN, 1.0, -1e38, 3e38])),
];

/// The quantised row at some distance from the start of the memory, so that writes outside it are seen.
struct Row<'a> {
    q: &'a mut [i8],
    scale: &'a mut [f32],
    sum: &'a mut [i32],
}

/// Elements before and after a row.
const PAD: usize = 5;

impl<'a> Row<'a> {
    fn new(carver: &mut Carver<'a>, blocks: usize) -> Option<Self> {
        Some(Self {
            q: carver.take(blocks * BLOCK + 2 * PAD).ok()?,
            scale: carver.take(blocks + 2 * PAD).ok()?,
            sum: carver.take(blocks + 2 * PAD).ok()?,
        })
    }

    fn clear(&mut self) {
        self.q.fill(0x5a);
        self.scale.fill(-3.0);
        self.sum.fill(0x5a5a);
    }

    fn view(&mut self, blocks: usize) -> Option<ActRowMut<'_>> {
        Some(ActRowMut {
            q: self.q.get_mut(PAD..PAD + blocks * BLOCK)?,
            scale: self.scale.get_mut(PAD..PAD + blocks)?,
            sum: self.sum.get_mut(PAD..PAD + blocks)?,
        })
    }
}

/// Quantising: random rows, ties, zeros, tiny and huge values.
pub(super) fn quantise(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    let mut count = 0;
    let mut seed = 3000;
    for len in lengths() {
        let blocks = len.div_ceil(BLOCK);
        for (values, draw) in ROWS {
            seed += 1;
            let case = Case::vector("quantise", "", len, values, seed);
            let mut carver = Carver::new(arena);
            let Ok(x) = carver.take::<f32>(len + 1) else { continue };
            let (Some(mut expected), Some(mut got)) = (Row::new(&mut carver, blocks), Row::new(&mut carver, blocks))
            else {
                continue;
            };
            let rng = &mut Rng::new(seed);
            for (i, x) in x.iter_mut().skip(1).enumerate() {
                *x = draw(rng, i);
            }
            let Some((_, x)) = x.split_first() else { continue };
            expected.clear();
            got.clear();
            let (Some(a), Some(b)) = (expected.view(blocks), got.view(blocks)) else { continue };
            results(&case, scalar::quantise(x, a), kernels.quantise(x, b))?;
            for (i, (e, g)) in expected.q.iter().zip(&*got.q).enumerate() {
                if e != g {
                    return Err(differ(&case, "q", i as isize - PAD as isize, *e as u32, *g as u32));
                }
            }
            for (i, (e, g)) in expected.sum.iter().zip(&*got.sum).enumerate() {
                if e != g {
                    return Err(differ(&case, "sum", i as isize - PAD as isize, *e as u32, *g as u32));
                }
            }
            same(&case, "scale", PAD, expected.scale, got.scale)?;
            count += 1;
        }
    }
    Ok(count)
}

pub(super) const NOT_FINITE: [f32; 4] = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// NaN and infinities are refused wherever they stand.
pub(super) fn quantise_errors(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    let mut count = 0;
    for len in [1usize, 7, 31, 32, 33, 64, 100] {
        let blocks = len.div_ceil(BLOCK);
        for at in 0..len {
            for bad in NOT_FINITE {
                let case = Case::vector("quantise", "", len, "not finite", at as u32);
                let mut carver = Carver::new(arena);
                let (Ok(x), Some(mut row)) = (carver.take::<f32>(len), Row::new(&mut carver, blocks)) else { continue };
                let rng = &mut Rng::new(at as u32);
                x.fill_with(|| rng.unit());
                if let Some(x) = x.get_mut(at) {
                    *x = bad;
                }
                let Some(view) = row.view(blocks) else { continue };
                results(&case, Err(NotFinite), kernels.quantise(x, view))?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Whether all is finite: an element that is not, at every place and of either sign, and the largest that are.
pub(super) fn all_finite(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    let mut count = 0;
    for len in lengths() {
        let mut carver = Carver::new(arena);
        let Ok(x) = carver.take::<f32>(len + 1) else { continue };
        let rng = &mut Rng::new(len as u32);
        x.fill_with(|| rng.pick(&[f32::MAX, f32::MIN, -0.0, 1.0]));
        for (at, bad) in (0..=len).zip(NOT_FINITE.into_iter().cycle()) {
            // The one at 0 is not looked at.
            let whole = x.get(at).copied().unwrap_or_default();
            if let Some(x) = x.get_mut(at) {
                *x = bad;
            }
            let case = Case::vector("all_finite", "", len, if at == 0 { "largest" } else { "not finite" }, at as u32);
            let looked_at = x.get(1..).unwrap_or(&[]);
            let (expected, got) = (scalar::all_finite(looked_at), kernels.all_finite(looked_at));
            if expected != got || expected != (at == 0) {
                return Err(differ(&case, "answer", 0, expected as u32, got as u32));
            }
            if let Some(x) = x.get_mut(at) {
                *x = whole;
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Compares success; 1 stands for an error.
pub(super) fn results(
    case: &Case,
    expected: Result<(), NotFinite>,
    got: Result<(), NotFinite>,
) -> Result<(), Mismatch> {
    if expected == got {
        return Ok(());
    }
    Err(differ(case, "error", 0, expected.is_err() as u32, got.is_err() as u32))
}

/// RMSNorm, its errors included.
pub(super) fn rmsnorm(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    norm(kernels, arena, "rmsnorm")
}

/// LayerNorm, its errors included.
pub(super) fn layernorm(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    norm(kernels, arena, "layernorm")
}

const NORM_VALUES: [Draw; 6] = [
    ("random", |rng, _| rng.unit()),
    ("wide", |rng, _| rng.wide(-20, 20)),
    ("zero", |_, _| 0.0),
    ("constant", |_, _| 1.5),
    ("overflowing", |rng, i| if i == 0 { 3e38 } else { rng.unit() }),
    // One in eight is a NaN or an infinity, the first one always.
    ("not finite", |rng, i| if i & 7 == 0 { rng.pick(&NOT_FINITE) } else { rng.unit() }),
];

fn norm(kernels: &dyn Kernels, arena: &mut [Line], operation: &'static str) -> Outcome {
    let mut count = 0;
    let mut seed = 4000;
    for len in lengths() {
        for (values, draw) in NORM_VALUES {
            seed += 1;
            let case = Case::vector(operation, "", len, values, seed);
            let mut carver = Carver::new(arena);
            let (Ok(x), Ok(weight), Ok(bias)) =
                (carver.take::<f32>(len + 1), carver.take::<f32>(len + 2), carver.take::<f32>(len + 3))
            else {
                continue;
            };
            let (Ok(expected), Ok(got)) = (carver.take::<f32>(len + 3), carver.take::<f32>(len + 3)) else { continue };
            let rng = &mut Rng::new(seed);
            for (i, x) in x.iter_mut().skip(1).enumerate() {
                *x = draw(rng, i);
            }
            for x in weight.iter_mut().chain(&mut *bias) {
                *x = rng.wide(-3, 2);
            }
            let (Some(x), Some(weight), Some(bias)) = (x.get(1..), weight.get(2..), bias.get(3..)) else { continue };
            let eps = rng.pick(&[1e-5, 1e-6, 0.1]);
            let call = |kernels: &dyn Kernels, out: &mut [f32]| {
                fill_initial(out);
                let out = out.get_mut(1..=len).unwrap_or(&mut []);
                match operation {
                    "rmsnorm" => kernels.rmsnorm(x, weight, eps, out),
                    _ => kernels.layernorm(x, weight, bias, eps, out),
                }
            };
            let (e, g) = (call(&scalar::Scalar, expected), call(kernels, got));
            results(&case, e, g)?;
            if e.is_ok() {
                same(&case, "out", 1, expected, got)?;
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Softmax, with gaps around the cut and far beyond it.
pub(super) fn softmax(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    const VALUES: [Draw; 8] = [
        ("random", |rng, _| rng.unit() * 8.0),
        ("equal", |_, _| -3.25),
        ("gaps", |rng, _| rng.unit() * 100.0),
        ("cut", |rng, i| if i == 0 { 0.0 } else { -50.0 + rng.unit() * 1e-4 }),
        ("at the cut", |rng, i| if i == 0 { 1.0 } else { rng.pick(&[-49.0, -49.000_004, -48.999_996, 1.0]) }),
        ("far gaps", |rng, i| if i == 0 { 2.0 } else { rng.pick(&[2.0, -1e30, f32::NEG_INFINITY, 1.0, -100.0]) }),
        ("last largest", |_, i| i as f32 * 0.37),
        // A NaN is never the largest, and counts as far below it.
        ("NaN", |rng, i| if i == 0 { 2.0 } else { rng.pick(&[2.0, f32::NAN, -f32::NAN, 1.0]) }),
    ];
    in_place(kernels, arena, "softmax", "", &VALUES, lengths(), &mut |kernels, x, _, _| kernels.softmax(x))
}

/// RoPE over both pairings.
pub(super) fn rotate(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    const VALUES: [Draw; 2] = [("random", |rng, _| rng.unit()), ("wide", |rng, _| rng.wide(-30, 30))];
    const SIZES: [usize; 14] = [2, 4, 6, 8, 10, 12, 14, 16, 18, 30, 64, 80, 96, 128];
    let mut count = 0;
    for (name, pairs) in [("interleaved", Pairs::Interleaved), ("half-split", Pairs::HalfSplit)] {
        count += in_place(kernels, arena, "rotate", name, &VALUES, SIZES, &mut |kernels, x, other, rng| {
            let other = other.get_mut(..x.len()).unwrap_or(&mut []);
            for pair in other.as_chunks_mut::<2>().0 {
                let (c, s) = cos_sin(rng.bits());
                *pair = [c, s];
            }
            kernels.rotate(x, other, pairs);
        })?;
    }
    Ok(count)
}

/// The three gated units.
pub(super) fn gate(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    const VALUES: [Draw; 4] = [
        ("random", |rng, _| rng.unit() * 4.0),
        ("-100 to 100", |rng, _| rng.unit() * 100.0),
        ("wide", |rng, _| rng.wide(-40, 40)),
        ("special", |rng, _| rng.pick(&[0.0, -0.0, 87.0, -87.0, 88.0, -88.0, -88.5, 1e-30, -1e30, 1e30])),
    ];
    let mut count = 0;
    for (name, function) in [("silu", Gate::Silu), ("gelu", Gate::Gelu), ("relu", Gate::Relu)] {
        count += in_place(kernels, arena, "gate", name, &VALUES, lengths(), &mut |kernels, x, other, rng| {
            for up in other.iter_mut() {
                *up = rng.wide(-4, 4);
            }
            kernels.gate(function, x, other.get(..x.len()).unwrap_or(&[]));
        })?;
    }
    Ok(count)
}

/// An operation that changes `x` in place.
fn in_place(
    kernels: &dyn Kernels,
    arena: &mut [Line],
    operation: &'static str,
    format: &'static str,
    values: &[Draw],
    lengths: impl IntoIterator<Item = usize>,
    call: InPlace<'_>,
) -> Outcome {
    let mut count = 0;
    let mut seed = 5000;
    for len in lengths {
        for &(name, draw) in values {
            seed += 1;
            let case = Case::vector(operation, format, len, name, seed);
            let mut carver = Carver::new(arena);
            let (Ok(expected), Ok(got)) = (carver.take::<f32>(len + 6), carver.take::<f32>(len + 6)) else { continue };
            let Ok(other) = carver.take::<f32>(len + 1) else { continue };
            for (kernels, out) in [(&scalar::Scalar as &dyn Kernels, &mut *expected), (kernels, &mut *got)] {
                let rng = &mut Rng::new(seed);
                fill_initial(out);
                let (Some(x), Some(other)) = (out.get_mut(1..=len), other.get_mut(1..)) else { continue };
                for (i, x) in x.iter_mut().enumerate() {
                    *x = draw(rng, i);
                }
                call(kernels, x, other, rng);
            }
            same(&case, "x", 1, expected, got)?;
            count += 1;
        }
    }
    Ok(count)
}
