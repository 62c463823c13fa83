//! The shared suite, and the shapes that only these kernels' tiles make interesting.

use super::Amx;
use crate::testing::{kernel_tests, tiles};

kernel_tests!(Amx::new());

#[test]
fn tiles_and_what_is_left_over() {
    let Some(kernels) = Amx::new() else { return };
    let tokens = [1, 15, 16, 17, 64, 81, 130];
    tiles::what_is_left_over(&kernels, 17, &tiles::SHAPES, &tokens);
    // Deeper than a stretch of tiles.
    tiles::what_is_left_over(&kernels, 19, &[(40, 1600)], &tokens);
}
