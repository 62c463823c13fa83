//! Opening an image, and what is in it.

use core::{
    cell::Cell,
    ffi::{c_char, c_void},
};

use pipsqueak::{Image, TensorKind, image::Text, kernels::Kernels};

use crate::{
    PIPSQUEAK_NONE,
    error::{Code, Failure, pipsqueak_error, pipsqueak_failure, report},
    handle::{close, get, open, pipsqueak_model},
    kernels::SET,
    memory::{checked, disjoint, inputs, output},
};

/// What an open model holds.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) image: Image<'static>,
    /// Where the image is, and how long it is.
    pub(crate) place: (usize, usize),
    /// Sessions that use it.
    pub(crate) sessions: Cell<u32>,
}

/// What a model is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pipsqueak_info {
    /// Width of the residual stream.
    pub dim: u32,
    /// Width of the feed-forward block.
    pub hidden_dim: u32,
    /// Layers.
    pub n_layers: u32,
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Elements of a head that RoPE turns.
    pub rope_dim: u32,
    /// Tokens of the vocabulary; ids are below it.
    pub vocab_size: u32,
    /// The longest context the model was trained for.
    pub seq_len: u32,
    /// The token that begins a text; `PIPSQUEAK_NONE` when there is none.
    pub bos: u32,
    /// The token that ends a text; `PIPSQUEAK_NONE` when there is none.
    pub eos: u32,
    /// Whether the model expects `bos` before every text.
    pub adds_bos: bool,
    /// Whether the model has a vocabulary: text can be encoded, tokens have text.
    pub has_vocabulary: bool,
    /// Bytes of a buffer that holds any token's text and its NUL; 0 without a vocabulary.
    pub text_bytes: usize,
    /// Bytes of the image.
    pub image_bytes: usize,
}

/// Opens the image at `image`, a line of 64 bytes, of at most `image_bytes` bytes; what follows the image is not looked at,
/// so that a whole flash region can be given.
///
/// Header, directory, vocabulary and all tables are checked, with their checksums; the weights are not read, see
/// `pipsqueak_model_verify`. The image stays where it is and is used in place. `model` is memory for a handle, initialised
/// or not; when the opening fails it is closed.
///
/// Errors: `NULL`, `MISALIGNED`, `LENGTH`, `OVERLAP`, and all about images, `TRUNCATED` to `SECTION`; `LEFT_OUT` names what this library was
/// built without.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_model_open(
    model: *mut pipsqueak_model,
    image: *const c_void,
    image_bytes: usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        unsafe { close(model, 1)? };
        checked(image.cast::<u8>(), image_bytes, 2)?;
        disjoint(&[(model.addr(), size_of::<pipsqueak_model>()), (image.addr(), image_bytes)])?;
        // SAFETY: the rules: the image is there and stays as it is while the model is open.
        let bytes: &'static [u8] = unsafe { inputs(image.cast::<u8>(), image_bytes, 2)? };
        let image = Image::open(bytes).map_err(|error| match error {
            pipsqueak::ImageError::Misaligned => {
                Failure::new(Code::PIPSQUEAK_ERROR_MISALIGNED).argument(2).numbers(64, image.addr() & 63)
            }
            other => other.into(),
        })?;
        let place = (bytes.as_ptr().addr(), image.len());
        // SAFETY: the rules.
        unsafe { open(model, 1, Model { image, place, sessions: Cell::new(0) }) }
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Closes a model. Its memory and the image are the caller's again.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `IN_USE` while sessions over it are open.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_model_close(
    model: *mut pipsqueak_model,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let sessions = unsafe { get(model, 1)? }.sessions.get();
        if sessions != 0 {
            return Err(Failure::new(Code::PIPSQUEAK_ERROR_IN_USE).argument(1).numbers(0, sessions as usize));
        }
        // SAFETY: the rules.
        unsafe { close(model, 1) }
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Compares all weights with their checksums. Reads the whole image once.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `CHECKSUM` names the first damaged tensor.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_model_verify(
    model: *const pipsqueak_model,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    // SAFETY: the rules.
    let result = unsafe { get(model, 1) }.and_then(|model| Ok(model.image.verify()?));
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Whether the image is packed for this library's kernels. Any other works too, to the same bits, but slowly.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `FOREIGN_KERNELS` names the first tensor that is packed otherwise.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_model_suits(
    model: *const pipsqueak_model,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        for entry in unsafe { get(model, 1)? }.image.entries() {
            let (kind, got, need) = (entry.kind, entry.panel, SET.panel(entry.format));
            // Vectors have one row, and the embedding is read row by row.
            if !kind.is_vector() && kind != TensorKind::TokenEmbedding && got != need {
                return Err(Failure::foreign(kind, entry.layer, need, got));
            }
        }
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Writes what the model is to `info`.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_model_info(
    model: *const pipsqueak_model,
    info: *mut pipsqueak_info,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (model, info) = unsafe { (get(model, 1)?, output(info, 2)?) };
        let (image, vocab) = (&model.image, model.image.vocab());
        let c = image.config();
        info.write(pipsqueak_info {
            dim: c.dim,
            hidden_dim: c.hidden_dim,
            n_layers: c.n_layers,
            n_heads: c.n_heads,
            n_kv_heads: c.n_kv_heads,
            head_dim: c.head_dim,
            rope_dim: c.rope_dim,
            vocab_size: c.vocab_size,
            seq_len: c.seq_len,
            bos: vocab.and_then(|vocab| vocab.bos()).unwrap_or(PIPSQUEAK_NONE),
            eos: vocab.and_then(|vocab| vocab.eos()).unwrap_or(PIPSQUEAK_NONE),
            adds_bos: vocab.is_some_and(|vocab| vocab.add_bos()),
            has_vocabulary: vocab.is_some(),
            // Each byte may become U+FFFD, three bytes, and so may what is held back of the token before.
            text_bytes: vocab.map_or(0, |vocab| vocab.max_token_bytes().saturating_mul(3).saturating_add(4)),
            image_bytes: image.len(),
        });
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// The model's name, for `pipsqueak_model_text`.
pub const PIPSQUEAK_MODEL_NAME: u32 = 1;
/// The licence's identifier.
pub const PIPSQUEAK_MODEL_LICENCE: u32 = 2;
/// Where the model came from.
pub const PIPSQUEAK_MODEL_ORIGIN: u32 = 3;
/// The chat template.
pub const PIPSQUEAK_MODEL_CHAT_TEMPLATE: u32 = 4;

/// Finds a text that the image carries: `which` is `PIPSQUEAK_MODEL_NAME` or another of its kind. The text stays in the
/// image, `bytes` long and without a NUL; `bytes` is 0 when the image does not have it.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `SETTING` when `which` is none of these.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_model_text(
    model: *const pipsqueak_model,
    which: u32,
    text: *mut *const c_char,
    bytes: *mut usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (model, text, bytes) = unsafe { (get(model, 1)?, output(text, 3)?, output(bytes, 4)?) };
        let tag = Text::ALL.into_iter().find(|tag| *tag as u32 == which);
        let unknown = Failure::new(Code::PIPSQUEAK_ERROR_SETTING).argument(2).what("which");
        let found = model.image.text(tag.ok_or(unknown.numbers(Text::ALL.len(), which as usize))?).unwrap_or("");
        text.write(found.as_ptr().cast());
        bytes.write(found.len());
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Writes to `stops` whether `token` ends generation.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`, `NO_VOCABULARY`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_model_stops(
    model: *const pipsqueak_model,
    token: u32,
    stops: *mut bool,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (model, stops) = unsafe { (get(model, 1)?, output(stops, 3)?) };
        stops.write(vocab(model)?.is_stop(token));
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

pub(crate) fn vocab(model: &Model) -> Result<pipsqueak::Vocab<'static>, Failure> {
    model.image.vocab().ok_or(Failure::new(Code::PIPSQUEAK_ERROR_NO_VOCABULARY))
}
