//! The shared suite, and the shapes that only these kernels' tiles make interesting.

use super::AvxVnni;
use crate::testing::{kernel_tests, tiles};

kernel_tests!(AvxVnni::new());

#[test]
fn tiles_and_what_is_left_over() {
    let Some(kernels) = AvxVnni::new() else { return };
    tiles::what_is_left_over(&kernels, 17, &tiles::SHAPES, &tiles::TOKENS);
}
