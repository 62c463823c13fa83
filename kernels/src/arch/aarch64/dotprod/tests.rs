//! The shared suite, and the shapes that only these kernels' tiles make interesting.

use super::{super::tiles::tests, Dotprod, matmul};

crate::testing::kernel_tests!(Dotprod::new());

#[test]
fn tiles_and_what_is_left_over() {
    tests::tiles_and_what_is_left_over(Dotprod::new(), module_path!());
}

#[test]
fn takes_what_fits() {
    if Dotprod::new().is_some() {
        // SAFETY: this CPU has the instructions.
        tests::takes_what_fits(|w, panels, x, out, store| unsafe { matmul::matmul(w, panels, x, out, store) });
    }
}
