//! The shared suite, and the shapes that only these kernels' tiles make interesting.

use super::Avx512Vnni;
use crate::testing::{kernel_tests, tiles};

kernel_tests!(Avx512Vnni::new());

#[test]
fn tiles_and_what_is_left_over() {
    let Some(kernels) = Avx512Vnni::new() else { return };
    tiles::what_is_left_over(&kernels, 13, &tiles::SHAPES, &tiles::TOKENS);
    // Deeper than what is packed at once, so deep that fewer panels are taken together, and more panels than are.
    tiles::what_is_left_over(&kernels, 19, &[(300, 800), (139, 1600), (400, 576), (410, 64)], &tiles::TOKENS);
}
