//! A firmware image that calls all of `pipsqueak` and `pipsqueak-kernels`, to prove that no panic is linked.
//!
//! It is linked and looked at, never run. Everything it works on comes through [`start`]'s pointers, of which the
//! optimiser knows nothing, so a check that is left out of the image is one that the code itself makes needless. The
//! panic handler calls a function that does not exist: whatever could panic makes the link fail, and the linker names
//! who needed it.
#![no_std]
#![no_main]

mod arithmetic;
mod classifier;
mod errors;
mod model;
mod words;

use core::panic::PanicInfo;

use pipsqueak_kernels::arena::Line;

unsafe extern "C" {
    /// Nowhere defined.
    fn pipsqueak_panic_reached() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: an image in which this call is left does not link, so it is never run.
    unsafe { pipsqueak_panic_reached() }
}

/// A piece of memory that the caller of [`start`] owns.
#[repr(C)]
pub struct Piece<T> {
    data: *mut T,
    len: usize,
}

impl<T> Piece<T> {
    /// # Safety
    /// `data` must point to `len` initialised elements which nobody else uses.
    unsafe fn take(&self) -> &'static mut [T] {
        // SAFETY: the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.data, self.len) }
    }
}

/// Everything the image works on. Only the compiler sees it, and must take any values for possible.
#[repr(C)]
pub struct Inputs {
    image: Piece<u8>,
    text: Piece<u8>,
    scratch: Piece<Line>,
    kv: Piece<Line>,
    floats: Piece<f32>,
    words: Piece<u32>,
    halves: Piece<u16>,
    codes: Piece<i8>,
    choices: Piece<usize>,
}

/// Numbers nobody knows, one after the other; 0 when there are no more.
pub struct Choices(&'static [usize]);

impl Choices {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}

/// The entry point, kept by the linker.
///
/// # Safety
/// Not to be called: the image is only linked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _start(inputs: &Inputs) {
    // SAFETY: the pieces are the caller's, and each is taken once.
    let (image, text, scratch, kv) =
        unsafe { (inputs.image.take(), inputs.text.take(), inputs.scratch.take(), inputs.kv.take()) };
    // SAFETY: as above.
    let (floats, words, halves, codes) =
        unsafe { (inputs.floats.take(), inputs.words.take(), inputs.halves.take(), inputs.codes.take()) };
    // SAFETY: as above.
    let mut choices = Choices(unsafe { inputs.choices.take() });
    // One after the other, so that each has the lengths it gets from elsewhere.
    match choices.next() {
        0 => model::run(image, text, scratch, kv, words, &mut choices),
        1 => words::run(image, text, words, &mut choices),
        2 => arithmetic::vectors(floats, words, halves, codes, &mut choices),
        3 => arithmetic::matrices(image, floats, codes, &mut choices),
        4 => arithmetic::numbers(floats, halves, &mut choices),
        5 => errors::run(text, words, &mut choices),
        6 => classifier::run(image, floats, scratch, &mut choices),
        _ => planted(floats, &mut choices),
    }
}

#[cfg(feature = "plant-panic")]
fn planted(floats: &mut [f32], choices: &mut Choices) {
    core::hint::black_box(floats[choices.next()]);
}

#[cfg(not(feature = "plant-panic"))]
fn planted(_: &mut [f32], _: &mut Choices) {}
