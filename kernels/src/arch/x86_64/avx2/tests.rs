//! The shared suite, and the shapes that only these kernels' tiles make interesting.

extern crate std;

use std::{vec, vec::Vec};

use super::Avx2;
use crate::{
    Acts, BLOCK, Format, Input, Kernels, Matrix, Panel, Store, Tile,
    arena::{Line, bytes_of, bytes_of_mut},
    matrix_bytes, scalar,
    testing::{Rng, kernel_tests},
};

kernel_tests!(Avx2::new());

/// Several groups of panels, stretches of depth and tiles of tokens, all with something left over; all panels and a part
/// of them.
#[test]
fn tiles_and_what_is_left_over() {
    let Some(kernels) = Avx2::new() else { return };
    let mut rng = Rng::new(11);
    for format in [Format::Q8, Format::Q4, Format::Q4M, Format::F16] {
        for (rows, cols) in [(67, 32), (128, 256), (131, 288), (75, 270), (150, 544)] {
            let panel = kernels.panel(format);
            let bytes = matrix_bytes(format, panel, rows, cols).unwrap();
            let mut lines = vec![Line::ZERO; Line::count(bytes)];
            // Any bytes are weights; half the exponent bits are cleared so that 16-bit numbers stay finite.
            for pair in bytes_of_mut(&mut lines).chunks_exact_mut(2) {
                let bits = rng.bits();
                let mask = if format == Format::F16 { 0xbf } else { 0xff };
                pair.copy_from_slice(&[bits as u8, (bits >> 8) as u8 & mask]);
            }
            let blocks = cols.div_ceil(BLOCK);
            if format.is_quantised() {
                let scales = panel.count(rows) * panel.rows() * blocks * format.block_scales();
                for pair in bytes_of_mut(&mut lines).chunks_exact_mut(2).take(scales) {
                    pair[1] &= 0xbf;
                }
            }
            let w = Matrix::new(format, panel, rows, cols, &bytes_of(&lines)[..bytes]).unwrap();
            for tokens in [1, 2, 10, 11, 17, 33] {
                let q: Vec<i8> = (0..tokens * blocks * BLOCK).map(|_| (rng.below(255) as i32 - 127) as i8).collect();
                let scale: Vec<f32> = (0..tokens * blocks).map(|_| rng.below(1000) as f32 * 1e-4).collect();
                let sum: Vec<i32> = q.chunks(BLOCK).map(|q| q.iter().map(|q| *q as i32).sum()).collect();
                let x: Vec<f32> = (0..tokens * cols).map(|_| rng.below(1000) as f32 * 1e-3 - 0.5).collect();
                let input = Input { tokens, x: &x, acts: Acts::new(&q, &scale, &sum, blocks) };
                for (panels, first, last) in [(0..w.panels(), 0, rows), (1..w.panels() - 1, 8, (w.panels() - 1) * 8)] {
                    for store in [Store::Set, Store::Add] {
                        let len = last - first;
                        let (mut expected, mut got) = (vec![0.25f32; len * tokens], vec![0.25f32; len * tokens]);
                        scalar::matmul(&w, panels.clone(), &input, &mut Tile::whole(&mut expected, len, tokens), store);
                        kernels.matmul(&w, panels.clone(), &input, &mut Tile::whole(&mut got, len, tokens), store);
                        for (at, (expected, got)) in expected.iter().zip(&got).enumerate() {
                            assert_eq!(
                                expected.to_bits(),
                                got.to_bits(),
                                "{format:?} {rows}x{cols} tokens {tokens} panels {panels:?} {store:?} at {at}"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// What does not fit together is left to the scalar code: nothing is read or written out of bounds.
#[test]
fn lengths_that_do_not_fit() {
    let Some(kernels) = Avx2::new() else { return };
    let (mut x, mut y) = ([1.5f32; 21], [1.5f32; 21]);
    for (a, b) in [(21, 21), (21, 16), (16, 21), (7, 8), (8, 7), (20, 3), (0, 5), (5, 0)] {
        for pairs in [crate::Pairs::Interleaved, crate::Pairs::HalfSplit] {
            let other = [0.75f32; 21];
            kernels.rotate(&mut x[..a], &other[..b], pairs);
            scalar::rotate(&mut y[..a], &other[..b], pairs);
            assert_eq!(x, y);
        }
        let other = [0.75f32; 21];
        kernels.gate(crate::Gate::Silu, &mut x[..a], &other[..b]);
        scalar::gate(crate::Gate::Silu, &mut y[..a], &other[..b]);
        assert_eq!(x, y);
        let _ = kernels.rmsnorm(&other[..a], &other[..b], 1e-5, &mut x);
        let _ = scalar::rmsnorm(&other[..a], &other[..b], 1e-5, &mut y);
        assert_eq!(x, y);
        let _ = kernels.layernorm(&other[..a], &other[..b], &other, 1e-5, &mut x);
        let _ = scalar::layernorm(&other[..a], &other[..b], &other, 1e-5, &mut y);
        assert_eq!(x, y);
    }
    assert_eq!(kernels.panel(Format::Q8), Panel::R8);
}

/// Of two zeros the first one is the largest score, wherever the lanes put it; NaN is passed over.
#[test]
fn the_first_zero_is_the_largest() {
    if Avx2::new().is_none() {
        return;
    }
    for len in 2..80 {
        for first in 0..len - 1 {
            for (a, b) in [(0.0f32, -0.0f32), (-0.0, 0.0)] {
                let mut x = vec![-1.0; len];
                x[first + 1..].fill(b);
                x[first] = a;
                if first > 0 {
                    x[first - 1] = f32::NAN;
                }
                // SAFETY: the CPU has the features, as `new` said.
                let max = unsafe { super::vector::max_of(&x) };
                assert_eq!(max.to_bits(), a.to_bits(), "{first} of {len}");
            }
        }
    }
}
