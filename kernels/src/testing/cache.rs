//! Writing to the cache: rounding, ties, subnormal halves, and what the formats cannot hold.

use super::{
    Case, Outcome, Rng, differ,
    vector::{Draw, NOT_FINITE, lengths, results},
};
use crate::{
    Kernels,
    arena::{Carver, Line},
    float16::f16_to_f32,
    scalar,
};

/// Elements before and after a row.
const PAD: usize = 5;

/// Rows for both formats: the second argument is the index.
const ROWS: [Draw; 11] = [
    ("random", |rng, _| rng.unit()),
    ("wide", |rng, _| rng.wide(-30, 14)),
    ("zero", |_, _| 0.0),
    ("-0.0", |_, _| -0.0),
    // Half a unit between two halves, one step above it, one below.
    ("f16 ties", |rng, _| {
        let half = rng.below(0x7bff) as u16;
        let tie = (f16_to_f32(half) + f16_to_f32(half + 1)) * 0.5;
        f32::from_bits(tie.to_bits().wrapping_add(rng.pick(&[0, 1, u32::MAX])) | rng.bits() & 0x8000_0000)
    }),
    ("subnormal halves", |rng, _| rng.wide(-27, -14)),
    // 127 makes the scale 1, so that every half is a tie.
    ("i8 ties", |rng, i| if i == 0 { 127.0 } else { rng.below(253) as f32 - 126.0 + 0.5 }),
    // The scale rounds down, so that the largest would round to 128.
    ("clamped", |rng, i| if i == 0 { 8.3e-6 } else { rng.unit() * 8.3e-6 }),
    ("overflow", |rng, i| if i == 0 { rng.pick(&[65519.9, 65520.0, -65504.0, -1e30, 9e6]) } else { rng.unit() }),
    ("last overflows", |rng, i| if i & 15 == 3 { 7e4 } else { rng.unit() }),
    ("not finite", |rng, i| if i & 7 == 0 { rng.pick(&NOT_FINITE) } else { rng.unit() }),
];

/// float16 rows.
pub(super) fn store_f16(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    let mut count = 0;
    let mut seed = 8000;
    for len in lengths() {
        for (values, draw) in ROWS {
            seed += 1;
            let case = Case::vector("store_f16", "", len, values, seed);
            let mut carver = Carver::new(arena);
            let (Ok(x), Ok(expected), Ok(got)) =
                (carver.take::<f32>(len + 1), carver.take::<u16>(len + 2 * PAD), carver.take::<u16>(len + 2 * PAD))
            else {
                continue;
            };
            let rng = &mut Rng::new(seed);
            for (i, x) in x.iter_mut().skip(1).enumerate() {
                *x = draw(rng, i);
            }
            let x = x.get(1..).unwrap_or(&[]);
            let call = |kernels: &dyn Kernels, out: &mut [u16]| {
                out.fill(0x5a5a);
                kernels.store_f16(x, out.get_mut(PAD..PAD + len).unwrap_or(&mut []))
            };
            let (e, g) = (call(&scalar::Scalar, expected), call(kernels, got));
            results(&case, e, g)?;
            // What an error leaves behind is unspecified, as long as it is inside the row.
            let ok = e.is_ok();
            for (i, (e, g)) in expected.iter().zip(got).enumerate() {
                if e != g && (ok || outside(i, len)) {
                    return Err(differ(&case, "out", i as isize - PAD as isize, *e as u32, *g as u32));
                }
            }
            count += 1;
        }
    }
    Ok(count)
}

/// int8 rows and their scale.
pub(super) fn store_i8(kernels: &dyn Kernels, arena: &mut [Line]) -> Outcome {
    let mut count = 0;
    let mut seed = 9000;
    for len in lengths() {
        for (values, draw) in ROWS {
            seed += 1;
            let case = Case::vector("store_i8", "", len, values, seed);
            let mut carver = Carver::new(arena);
            let (Ok(x), Ok(expected), Ok(got)) =
                (carver.take::<f32>(len + 1), carver.take::<i8>(len + 2 * PAD), carver.take::<i8>(len + 2 * PAD))
            else {
                continue;
            };
            let rng = &mut Rng::new(seed);
            for (i, x) in x.iter_mut().skip(1).enumerate() {
                *x = draw(rng, i);
            }
            let x = x.get(1..).unwrap_or(&[]);
            let call = |kernels: &dyn Kernels, out: &mut [i8]| {
                out.fill(0x5a);
                kernels.store_i8(x, out.get_mut(PAD..PAD + len).unwrap_or(&mut []))
            };
            let (e, g) = (call(&scalar::Scalar, expected), call(kernels, got));
            results(&case, e.map(|_| ()), g.map(|_| ()))?;
            let ok = e.is_ok();
            if e != g {
                return Err(differ(&case, "scale", 0, e.unwrap_or(0) as u32, g.unwrap_or(0) as u32));
            }
            for (i, (e, g)) in expected.iter().zip(got).enumerate() {
                if e != g && (ok || outside(i, len)) {
                    return Err(differ(&case, "out", i as isize - PAD as isize, *e as u32, *g as u32));
                }
            }
            count += 1;
        }
    }
    Ok(count)
}

fn outside(index: usize, len: usize) -> bool {
    index < PAD || index >= PAD + len
}
