//! The shared suite, and the shapes that only these kernels' tiles make interesting.

use super::{super::tiles::tests, I8mm, matmul};

crate::testing::kernel_tests!(I8mm::new());

#[test]
fn tiles_and_what_is_left_over() {
    tests::tiles_and_what_is_left_over(I8mm::new(), module_path!());
}

#[test]
fn takes_what_fits() {
    if I8mm::new().is_some() {
        // SAFETY: this CPU has the instructions.
        tests::takes_what_fits(|w, panels, x, out, store| unsafe { matmul::matmul(w, panels, x, out, store) });
    }
}
