//! The engine as a WebAssembly module, for a browser or Node: a model goes in, text comes out, in slices of work.
//!
//! Only numbers pass between a module and its host, so each function is a few numbers, and `pipsqueak.mjs` makes a class of
//! them. Text is at [`text`], both ways. A function that returns a status has put there what there is to say:
//!
//! | status | text |
//! |---|---|
//! | 0 | what came, maybe nothing; there is more to come |
//! | 1 | what came; it is done |
//! | 2 | what is wrong |
//!
//! The module imports nothing: not even what a panic would be told with, as there is none.
#![no_std]

mod error;
mod memory;
mod teller;
mod text;

use core::cell::RefCell;

#[cfg(not(target_feature = "simd128"))]
use pipsqueak::kernels::Scalar as Set;
#[cfg(target_feature = "simd128")]
use pipsqueak::kernels::arch::wasm32::Simd128 as Set;
use pipsqueak::{
    Sampling,
    kernels::{
        Kernels,
        arena::{Line, bytes_of, bytes_of_mut},
    },
};

use crate::{error::Error, teller::Teller, text::Text};

/// The kernel set: what the module was compiled for.
static KERNELS: Set = Set;

#[link(wasm_import_module = "pipsqueak")]
unsafe extern "C" {
    /// An import that no host has: an instance of a module in which a panic is left cannot be made.
    safe fn panicked() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    panicked()
}

/// What the functions share.
struct State {
    text: Text,
    /// Room for the model, until it is opened, and the model's bytes.
    room: Option<(&'static mut [Line], usize)>,
    teller: Option<Teller>,
}

/// A value of the only thread.
struct Single<T>(RefCell<T>);

// SAFETY: without the feature `atomics` a module has one thread.
#[cfg(not(target_feature = "atomics"))]
unsafe impl<T> Sync for Single<T> {}

static STATE: Single<State> = Single(RefCell::new(State { text: Text::EMPTY, room: None, teller: None }));

/// There is more to come.
const MORE: u32 = 0;
/// It is done.
const DONE: u32 = 1;
/// The text says what is wrong.
const FAILED: u32 = 2;

/// Runs `call` on the state with an empty text; its status, or its error in words.
fn status(call: impl FnOnce(&mut State) -> Result<u32, Error>) -> u32 {
    // Nothing that is called here calls the module again.
    let Ok(mut state) = STATE.0.try_borrow_mut() else { return FAILED };
    call(&mut state).unwrap_or_else(|error| {
        state.text.clear();
        let _ = error.say(&mut |piece| {
            state.text.push(piece);
            Ok(())
        });
        FAILED
    })
}

/// The address of the text.
#[unsafe(no_mangle)]
pub extern "C" fn text() -> *mut u8 {
    STATE.0.try_borrow_mut().map_or(core::ptr::null_mut(), |mut state| state.text.start())
}

/// The bytes of the text that the last call has left.
#[unsafe(no_mangle)]
pub extern "C" fn text_len() -> usize {
    STATE.0.try_borrow().map_or(0, |state| state.text.len())
}

/// Bytes of the longest prompt.
#[unsafe(no_mangle)]
pub extern "C" fn text_max() -> usize {
    Text::MAX
}

/// Makes room for a model of `bytes` bytes and returns its address; 0 when there is no memory, or the room was given before.
#[unsafe(no_mangle)]
pub extern "C" fn room(bytes: usize) -> *mut u8 {
    let mut address = core::ptr::null_mut();
    status(|state| {
        if state.room.is_some() || state.teller.is_some() {
            return Err(Error::Order);
        }
        let lines = memory::lines(Line::count(bytes))?;
        address = bytes_of_mut(lines).as_mut_ptr();
        state.room = Some((lines, bytes));
        Ok(DONE)
    });
    address
}

/// Opens the model that was written to its room, with at most `context` positions. The text is the kernel set's name.
#[unsafe(no_mangle)]
pub extern "C" fn open(context: usize) -> u32 {
    status(|state| {
        let (lines, bytes) = state.room.take().ok_or(Error::Order)?;
        let model = bytes_of(lines).get(..bytes).unwrap_or(&[]);
        state.teller = Some(Teller::open(model, context)?);
        state.text.clear();
        state.text.push(KERNELS.name());
        Ok(DONE)
    })
}

/// Begins a text with the prompt of `prompt` bytes that was written to [`text`]; at most `n` tokens are to follow. The
/// settings are those of `pipsqueak run`; `temperature` 0 takes the likeliest token.
#[unsafe(no_mangle)]
pub extern "C" fn begin(
    prompt: usize,
    n: usize,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    seed: u32,
) -> u32 {
    let sampling = Sampling { temperature, top_k, top_p, min_p, repeat_penalty, seed: seed.into() };
    status(|state| {
        let teller = state.teller.as_mut().ok_or(Error::NoModel)?;
        teller.begin(state.text.written(prompt)?, n, sampling)?;
        state.text.clear();
        Ok(MORE)
    })
}

/// Works on for about `budget` multiply-adds. The text is what has come meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn step(budget: usize) -> u32 {
    status(|state| {
        state.text.clear();
        let teller = state.teller.as_mut().ok_or(Error::NoModel)?;
        Ok(if teller.step(budget, &mut state.text)? { MORE } else { DONE })
    })
}
