//! The shared suite, and the shapes that only these kernels' tiles make interesting.

use super::I8mm;

crate::testing::kernel_tests!(I8mm::new());

#[test]
fn tiles_and_what_is_left_over() {
    super::super::tiles::tests::tiles_and_what_is_left_over(I8mm::new(), module_path!());
}
