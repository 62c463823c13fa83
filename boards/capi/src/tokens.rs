//! Text to tokens, at once or in slices.

use core::ffi::c_char;

use pipsqueak::tokenizer::{EncodeOptions, Encoder, Progress, max_tokens, scratch_len};

use crate::{
    error::{Code, Failure, pipsqueak_error, pipsqueak_failure, report},
    handle::{close, get, get_mut, open, pipsqueak_encoder, pipsqueak_model},
    memory::{checked, disjoint, inputs, output, outputs},
    model::{Model, vocab},
};

/// For encoding: no token to begin with, although the model expects one: the text goes on with an earlier one.
pub const PIPSQUEAK_ENCODE_CONTINUE: u32 = 1;
/// For encoding: names of control tokens in the text become those tokens. Not for text from outside.
pub const PIPSQUEAK_ENCODE_SPECIAL: u32 = 2;

/// The most tokens that a text of `text_bytes` bytes can have; `PIPSQUEAK_MAX_TOKENS` is the same as a macro.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_max_tokens(text_bytes: usize) -> usize {
    max_tokens(text_bytes)
}

/// Words of work that are enough for a text of `text_bytes` bytes; `PIPSQUEAK_WORK_WORDS` is the same as a macro.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_work_words(text_bytes: usize) -> usize {
    scratch_len(text_bytes)
}

/// The caller's side of an encoding. Arguments are numbered as those of the function, from `first`, the model's.
struct Buffers {
    text: *const c_char,
    text_bytes: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    work: *mut u32,
    work_words: usize,
}

impl Buffers {
    /// # Safety
    /// The rules, for 'static: nobody else uses the buffers while the encoder is in use.
    unsafe fn encoder(self, model: &Model, first: u32) -> Result<Encoder<'static>, Failure> {
        let Self { text, text_bytes, flags, tokens, capacity, work, work_words } = self;
        let vocab = vocab(model)?;
        if flags & !(PIPSQUEAK_ENCODE_CONTINUE | PIPSQUEAK_ENCODE_SPECIAL) != 0 {
            let failure = Failure::new(Code::PIPSQUEAK_ERROR_SETTING).argument(first + 3).what("flags");
            return Err(failure.numbers(3, flags as usize));
        }
        if text_bytes != 0 {
            checked(text, text_bytes, first + 1)?;
        }
        let mut pieces = [(text.addr(), text_bytes), (0, 0), (0, 0)];
        for (piece, (pointer, count, argument)) in
            pieces.iter_mut().skip(1).zip([(tokens, capacity, first + 4), (work, work_words, first + 6)])
        {
            if count != 0 {
                checked(pointer, count, argument)?;
                *piece = (pointer.addr(), count.saturating_mul(size_of::<u32>()));
            }
        }
        disjoint(&pieces)?;
        // SAFETY: the rules.
        let bytes: &'static [u8] = unsafe { inputs(text.cast::<u8>(), text_bytes, first + 1)? };
        // SAFETY: the rules; the buffers do not overlap.
        let (tokens, work) = unsafe { (outputs(tokens, capacity, first + 4)?, outputs(work, work_words, first + 6)?) };
        let text = core::str::from_utf8(bytes).map_err(|error| {
            Failure::new(Code::PIPSQUEAK_ERROR_NOT_UTF8).argument(first + 1).numbers(0, error.valid_up_to())
        })?;
        let options = EncodeOptions {
            add_bos: vocab.add_bos() && flags & PIPSQUEAK_ENCODE_CONTINUE == 0,
            parse_special: flags & PIPSQUEAK_ENCODE_SPECIAL != 0,
        };
        Ok(Encoder::new(vocab, text, options, tokens, work)?)
    }
}

/// Turns the UTF-8 text `text`, `text_bytes` bytes without a NUL, into tokens. Writes them to `tokens`, room for `capacity`,
/// and their number to `count`. `work` is scratch of `work_words` words; `PIPSQUEAK_WORK_WORDS(text_bytes)` are enough.
/// `flags` is 0, or `PIPSQUEAK_ENCODE_CONTINUE`, `PIPSQUEAK_ENCODE_SPECIAL`.
///
/// Takes time in proportion to the text; `pipsqueak_encoder_open` does the same in slices.
///
/// Errors: `NULL`, `MISALIGNED`, `LENGTH`, `OVERLAP`, `NOT_OPEN`, `SETTING`, `NO_VOCABULARY`, `NOT_UTF8`, `TEXT_TOO_LONG`, `NO_BOS`;
/// `OUTPUT_TOO_SMALL` and `WORK_TOO_SMALL` with what would be enough.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_encode(
    model: *const pipsqueak_model,
    text: *const c_char,
    text_bytes: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    work: *mut u32,
    work_words: usize,
    count: *mut usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (model, count) = unsafe { (get(model, 1)?, output(count, 9)?) };
        let buffers = Buffers { text, text_bytes, flags, tokens, capacity, work, work_words };
        // SAFETY: the rules; the encoder does not outlive this call.
        let mut encoder = unsafe { buffers.encoder(model, 1)? };
        while encoder.step(u32::MAX).map_err(|error| numbered(error.into(), 1))? == Progress::More {}
        count.write(encoder.len());
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// With the argument that is too small.
fn numbered(failure: Failure, first: u32) -> Failure {
    match failure.code {
        Code::PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL => failure.argument(first + 4),
        Code::PIPSQUEAK_ERROR_WORK_TOO_SMALL => failure.argument(first + 6),
        _ => failure,
    }
}

/// Begins to encode a text, as `pipsqueak_encode` does; `pipsqueak_encoder_step` does the work. Text, `tokens` and `work` are
/// in use until the last step. `encoder` is memory for a handle, initialised or not.
///
/// Errors: as `pipsqueak_encode`, but for those of buffers that are too small.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_encoder_open(
    encoder: *mut pipsqueak_encoder,
    model: *const pipsqueak_model,
    text: *const c_char,
    text_bytes: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    work: *mut u32,
    work_words: usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        unsafe { close(encoder, 1)? };
        // SAFETY: the rules.
        let model = unsafe { get(model, 2)? };
        let handle = (encoder.addr(), size_of::<pipsqueak_encoder>());
        for (start, count, each) in
            [(text.addr(), text_bytes, 1), (tokens.addr(), capacity, 4), (work.addr(), work_words, 4)]
        {
            disjoint(&[handle, (start, count.saturating_mul(each))])?;
        }
        let buffers = Buffers { text, text_bytes, flags, tokens, capacity, work, work_words };
        // SAFETY: the rules: the buffers stay as they are until the last step.
        let content = unsafe { buffers.encoder(model, 2)? };
        // SAFETY: the rules.
        unsafe { open(encoder, 1, content) }
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Does about `budget` table look-ups of an encoding, and writes to `more` whether there is more to do, and to `count` how many
/// tokens there are so far.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `OUTPUT_TOO_SMALL` and `WORK_TOO_SMALL` with what would be enough.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_encoder_step(
    encoder: *mut pipsqueak_encoder,
    budget: u32,
    more: *mut bool,
    count: *mut usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (encoder, more, count) = unsafe { (get_mut(encoder, 1)?, output(more, 3)?, output(count, 4)?) };
        // The buffers are arguments of the function that opened the encoder.
        let progress = encoder.step(budget).map_err(Failure::from)?;
        more.write(progress == Progress::More);
        count.write(encoder.len());
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}
