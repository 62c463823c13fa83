//! The shared kernel test suite: plain functions that compare a kernel set with the scalar specification, bit for bit.
//!
//! `no_std` and without a heap, so the same code runs under `#[test]`, under an emulator, on a board and in a host's
//! self-test. The caller passes an arena; shapes that do not fit into it are left out. [`ARENA_LINES`] holds all of them.
//!
//! Inputs come from fixed seeds: a [`Mismatch`] names the case, and the same case always fails again.

mod attention;
mod cache;
mod matmul;
mod rng;
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) mod tiles;
mod vector;

use core::fmt;

pub use rng::Rng;

use crate::{Kernels, Panel, arena::Line};

/// Lines of an arena that holds every shape of the suite (128 KiB).
pub const ARENA_LINES: usize = 2048;

/// Lines of an arena in which every operation has some shapes that fit (12 KiB).
pub const SMALL_ARENA_LINES: usize = 192;

/// What was being compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The method of [`Kernels`].
    pub operation: &'static str,
    /// Name of the weights' or the cache's format, or of the variant of the operation; may be empty.
    pub format: &'static str,
    /// The weights' panel, where there is one.
    pub panel: Option<Panel>,
    /// `[rows, cols, tokens]` of a product, `[positions, head_dim, 1]` of attention, `[1, length, 1]` of a vector.
    pub shape: [usize; 3],
    /// How the values were chosen.
    pub values: &'static str,
    /// The seed they were drawn with.
    pub seed: u32,
}

impl Case {
    const fn vector(
        operation: &'static str,
        format: &'static str,
        len: usize,
        values: &'static str,
        seed: u32,
    ) -> Self {
        Self { operation, format, panel: None, shape: [1, len, 1], values, seed }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        for word in [self.format, self.panel.map_or("", Panel::name)] {
            if !word.is_empty() {
                write!(f, " {word}")?;
            }
        }
        let [rows, cols, tokens] = self.shape;
        write!(f, " {rows}x{cols}x{tokens}, {} values, seed {}", self.values, self.seed)
    }
}

/// The first difference between a kernel set and the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was being compared.
    pub case: Case,
    /// Which result differs: an output, a return value, or memory outside the output.
    pub what: &'static str,
    /// The element; below 0 or beyond the length where memory around an output was written.
    pub index: isize,
    /// The specification's bits (of an `f32`, or an integer).
    pub expected: u32,
    /// The kernel set's bits.
    pub got: u32,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, what, index, expected, got } = *self;
        let (e, g) = (f32::from_bits(expected), f32::from_bits(got));
        write!(f, "{case}: {what}[{index}] is {got:#010x} ({g:e}), expected {expected:#010x} ({e:e})")
    }
}

impl core::error::Error for Mismatch {}

/// One test: how many comparisons were made, or the first that failed. Zero means that no shape fitted the arena.
pub type Outcome = Result<usize, Mismatch>;

/// A test of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// Its name, which begins with the method it tests.
    pub name: &'static str,
    /// Runs it in the given arena.
    pub run: fn(&dyn Kernels, &mut [Line]) -> Outcome,
}

/// Runs the whole suite, reports each test's name and outcome, and says whether all passed.
pub fn run(kernels: &dyn Kernels, arena: &mut [Line], report: &mut dyn FnMut(&'static str, Outcome)) -> bool {
    let mut passed = true;
    for test in TESTS {
        let outcome = (test.run)(kernels, arena);
        passed &= outcome.is_ok();
        report(test.name, outcome);
    }
    passed
}

/// From one list: the table, and the macro that makes a `#[test]` of each entry.
macro_rules! suite {
    (($d:tt) $($name:ident: $module:ident,)*) => {
        /// Every test.
        pub const TESTS: &[Test] = &[$(Test { name: stringify!($name), run: $module::$name }),*];

        /// One `#[test]` for each test of the suite, for the kernel set in an `Option` that is `None` where the CPU
        /// lacks the instructions.
        #[cfg(test)]
        macro_rules! kernel_tests {
            ($d kernels:expr) => {
                $(
                    #[test]
                    fn $name() {
                        $crate::testing::check(stringify!($name), module_path!(), $d kernels);
                    }
                )*
            };
        }
        #[cfg(test)]
        pub(crate) use kernel_tests;
    };
}

suite! { ($)
    matmul_q8: matmul,
    matmul_q4: matmul,
    matmul_q4m: matmul,
    matmul_corners: matmul,
    matmul_from_blocks: matmul,
    matmul_f32: matmul,
    matmul_f16: matmul,
    matmul_bf16: matmul,
    quantise: vector,
    quantise_errors: vector,
    all_finite: vector,
    rmsnorm: vector,
    layernorm: vector,
    softmax: vector,
    rotate: vector,
    gate: vector,
    store_f16: cache,
    store_i8: cache,
    att_scores_f32: attention,
    att_scores_f16: attention,
    att_scores_i8: attention,
    att_values_f32: attention,
    att_values_f16: attention,
    att_values_i8: attention,
    att_values_exp: attention,
    attend_f32: attention,
    attend_f16: attention,
    attend_i8: attention,
}

/// The canary and starting value at `index` of an output: from 1 to 2, all different from their neighbours.
pub(crate) fn initial(index: usize) -> f32 {
    f32::from_bits(0x3f80_0000 | (index as u32).wrapping_mul(0x0019_660d) & 0x007f_ffff)
}

/// Sets every element to its [`initial`] value.
pub(crate) fn fill_initial(out: &mut [f32]) {
    for (index, out) in out.iter_mut().enumerate() {
        *out = initial(index);
    }
}

/// Compares bits; the output itself begins after `pad` elements.
pub(crate) fn same(case: &Case, what: &'static str, pad: usize, expected: &[f32], got: &[f32]) -> Result<(), Mismatch> {
    for (index, (expected, got)) in expected.iter().zip(got).enumerate() {
        if expected.to_bits() != got.to_bits() {
            return Err(differ(case, what, index as isize - pad as isize, expected.to_bits(), got.to_bits()));
        }
    }
    Ok(())
}

/// A mismatch at `index`.
pub(crate) fn differ(case: &Case, what: &'static str, index: isize, expected: u32, got: u32) -> Mismatch {
    Mismatch { case: *case, what, index, expected, got }
}

/// Runs one test under `#[test]`.
#[cfg(test)]
pub(crate) fn check<K: Kernels>(name: &str, module: &str, kernels: Option<K>) {
    extern crate std;
    let Some(kernels) = kernels else {
        std::println!("skipped: {module}");
        return;
    };
    let mut arena = std::vec![Line::ZERO; ARENA_LINES];
    let test = TESTS.iter().find(|test| test.name == name).unwrap();
    match (test.run)(&kernels, &mut arena) {
        Ok(count) => assert!(count > 0, "{name}: nothing was compared"),
        Err(mismatch) => panic!("{}: {mismatch}", kernels.name()),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{format, vec};

    use super::*;
    use crate::{Format, Scalar};

    #[test]
    fn every_trait_method_has_a_test() {
        let source = include_str!("../kernels.rs");
        let (_, body) = source.split_once("pub trait Kernels").unwrap();
        let (body, _) = body.split_once("\n}\n").unwrap();
        let methods = body.lines().filter_map(|line| line.trim().strip_prefix("fn ")?.split('(').next());
        let mut count = 0;
        for method in
            methods.filter(|method| !matches!(*method, "name" | "panel" | "peak" | "read" | "att_lanes" | "att_few"))
        {
            assert!(TESTS.iter().any(|test| test.name.starts_with(method)), "no test of Kernels::{method}");
            count += 1;
        }
        assert!(count >= 9, "{count} methods found");
    }

    #[test]
    fn a_small_arena_still_tests_every_operation() {
        let mut arena = vec![Line::ZERO; SMALL_ARENA_LINES];
        let passed = run(&Scalar, &mut arena, &mut |name, outcome| assert!(outcome.unwrap() > 0, "{name}"));
        assert!(passed);
        run(&Scalar, &mut [], &mut |name, outcome| assert_eq!(outcome, Ok(0), "{name}"));
    }

    #[test]
    fn a_wrong_kernel_is_named() {
        struct Wrong;
        impl Kernels for Wrong {
            fn name(&self) -> &'static str {
                "wrong"
            }
            fn panel(&self, _: Format) -> Panel {
                Panel::R4
            }
            fn softmax(&self, x: &mut [f32]) {
                crate::scalar::softmax(x);
                if let Some(last) = x.last_mut() {
                    *last = last.next_up();
                }
            }
        }
        let mut arena = vec![Line::ZERO; SMALL_ARENA_LINES];
        let passed = run(&Wrong, &mut arena, &mut |name, outcome| {
            assert_eq!(outcome.is_err(), name == "softmax", "{name}");
            if let Err(mismatch) = outcome {
                assert!(format!("{mismatch}").starts_with("softmax 1x1x1, "), "{mismatch}");
            }
        });
        assert!(!passed);
    }
}
