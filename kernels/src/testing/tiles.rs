//! Shapes that only kernels with tiles make interesting.

extern crate std;

use std::{vec, vec::Vec};

use super::Rng;
use crate::{
    Acts, BLOCK, Format, Input, Kernels, Matrix, Store, Tile,
    arena::{Line, bytes_of, bytes_of_mut},
    matrix_bytes, scalar,
};

/// Shapes for [`what_is_left_over`].
pub(crate) const SHAPES: [(usize, usize); 5] = [(67, 32), (128, 256), (300, 288), (139, 270), (150, 544)];

/// Numbers of tokens for it.
pub(crate) const TOKENS: [usize; 6] = [1, 2, 7, 16, 33, 70];

/// Several groups of panels, stretches of depth and tiles of tokens, all with something left over; all panels and a part
/// of them. `shapes`: rows and columns; `tokens`: how many at once.
pub(crate) fn what_is_left_over(kernels: &dyn Kernels, seed: u32, shapes: &[(usize, usize)], tokens: &[usize]) {
    let mut rng = Rng::new(seed);
    for format in [Format::Q8, Format::Q4, Format::Q4M] {
        for &(rows, cols) in shapes {
            let panel = kernels.panel(format);
            let bytes = matrix_bytes(format, panel, rows, cols).unwrap();
            let mut lines = vec![Line::ZERO; Line::count(bytes)];
            // Any bytes are weights; half the exponent bits of scales are cleared so that they stay finite.
            for byte in bytes_of_mut(&mut lines) {
                *byte = rng.bits() as u8;
            }
            let blocks = cols.div_ceil(BLOCK);
            let scales = panel.count(rows) * panel.rows() * blocks * format.block_scales();
            for pair in bytes_of_mut(&mut lines).chunks_exact_mut(2).take(scales) {
                pair[1] &= 0xbf;
            }
            let w = Matrix::new(format, panel, rows, cols, &bytes_of(&lines)[..bytes]).unwrap();
            for &tokens in tokens {
                let q: Vec<i8> = (0..tokens * blocks * BLOCK).map(|_| (rng.below(255) as i32 - 127) as i8).collect();
                let scale: Vec<f32> = (0..tokens * blocks).map(|_| rng.below(1000) as f32 * 1e-4).collect();
                let sum: Vec<i32> = q.chunks(BLOCK).map(|q| q.iter().map(|q| *q as i32).sum()).collect();
                let input = Input { tokens, x: &[], acts: Acts::new(&q, &scale, &sum, blocks) };
                let inner = (w.panels() - 1) * panel.rows();
                for (panels, first, last) in [(0..w.panels(), 0, rows), (1..w.panels() - 1, panel.rows(), inner)] {
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
