//! The kernels' shared test suite as a WebAssembly module: every set that the module was compiled with, against the scalar
//! specification. `kernels.mjs` runs it under Node, `./check.sh wasm` both.
#![no_std]

mod halves;

use core::fmt::{self, Write};

use pipsqueak_kernels::{Format, Kernels, arena::Line, select, testing};

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    /// Shows `len` bytes of UTF-8 from `text` on.
    safe fn print(text: *const u8, len: usize);
}

/// Text for the host.
struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        print(text.as_ptr(), text.len());
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "{info}");
    core::arch::wasm32::unreachable()
}

/// Prints the names of the kernel sets, best first.
#[unsafe(no_mangle)]
pub extern "C" fn print_sets() {
    for kernels in select::all() {
        let _ = writeln!(Console, "{}", kernels.name());
    }
}

/// Runs the suite and the tests of [`halves`] for every kernel set, prints the outcomes, and returns how many failed. A test
/// that compares nothing has failed.
#[unsafe(no_mangle)]
pub extern "C" fn run_tests() -> u32 {
    let mut arena = [Line::ZERO; testing::ARENA_LINES];
    let mut failed = 0;
    for kernels in select::all() {
        let mut passed = 0u32;
        let mut report = |name: &str, outcome| match outcome {
            Ok(0) => {
                failed += 1;
                let _ = writeln!(Console, "{} {name}: nothing was compared", kernels.name());
            }
            Ok(_) => passed += 1,
            Err(mismatch) => {
                failed += 1;
                let _ = writeln!(Console, "{} {mismatch}", kernels.name());
            }
        };
        testing::run(kernels, &mut arena, &mut |name, outcome: testing::Outcome| report(name, outcome));
        for (name, test) in halves::TESTS {
            report(name, test(kernels));
        }
        report("panels", panels(kernels));
        let _ = writeln!(Console, "{}: {passed} tests passed", kernels.name());
    }
    failed
}

/// The table for other machines says what the set says.
fn panels(kernels: &dyn Kernels) -> testing::Outcome {
    let mut count = 0;
    for format in Format::ALL.into_iter().filter(|format| format.is_quantised()) {
        let (expected, got) = (select::panel_of(kernels.name()), kernels.panel(format));
        if expected != Some(got) {
            let codes = [expected.map_or(u32::MAX, |panel| panel as u32), got as u32];
            return Err(halves::mismatch("panel", format.name(), 0, codes));
        }
        count += 1;
    }
    Ok(count)
}
