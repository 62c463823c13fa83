//! The shared suite, and the shapes that only these kernels' tiles make interesting.

use super::Dotprod;

crate::testing::kernel_tests!(Dotprod::new());

#[test]
fn tiles_and_what_is_left_over() {
    super::super::tiles::tests::tiles_and_what_is_left_over(Dotprod::new(), module_path!());
}
