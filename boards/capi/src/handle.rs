//! Handles: what is open, in memory of the caller, with a mark that tells it from anything else.

use core::mem::MaybeUninit;

use pipsqueak::tokenizer::Encoder;

use crate::{
    error::{Code, Failure},
    memory::checked,
    model::Model,
    session::Conversation,
};

/// Words of 64 bits of a `pipsqueak_model`.
#[cfg(target_pointer_width = "32")]
pub const PIPSQUEAK_MODEL_WORDS: usize = 56;
/// Words of 64 bits of a `pipsqueak_model`.
#[cfg(target_pointer_width = "64")]
pub const PIPSQUEAK_MODEL_WORDS: usize = 76;

/// Words of 64 bits of a `pipsqueak_session`.
#[cfg(target_pointer_width = "32")]
pub const PIPSQUEAK_SESSION_WORDS: usize = 136;
/// Words of 64 bits of a `pipsqueak_session`.
#[cfg(target_pointer_width = "64")]
pub const PIPSQUEAK_SESSION_WORDS: usize = 216;

/// Words of 64 bits of a `pipsqueak_encoder`.
#[cfg(target_pointer_width = "32")]
pub const PIPSQUEAK_ENCODER_WORDS: usize = 36;
/// Words of 64 bits of a `pipsqueak_encoder`.
#[cfg(target_pointer_width = "64")]
pub const PIPSQUEAK_ENCODER_WORDS: usize = 60;

/// A model that is open: a view of an image, which stays where it is. All zeros: closed.
#[repr(C)]
#[derive(Debug)]
pub struct pipsqueak_model {
    opaque: [u64; PIPSQUEAK_MODEL_WORDS],
}

/// A conversation with a model: its cache, its sampler, its text. All zeros: closed.
#[repr(C)]
#[derive(Debug)]
pub struct pipsqueak_session {
    opaque: [u64; PIPSQUEAK_SESSION_WORDS],
}

/// The encoding of one text under way. All zeros: closed.
#[repr(C)]
#[derive(Debug)]
pub struct pipsqueak_encoder {
    opaque: [u64; PIPSQUEAK_ENCODER_WORDS],
}

/// Alignment of the three handles, for those who do not compile the header.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_handle_alignment() -> usize {
    align_of::<pipsqueak_model>().max(align_of::<pipsqueak_session>()).max(align_of::<pipsqueak_encoder>())
}

/// Bytes of a `pipsqueak_model`, for those who do not compile the header.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_model_bytes() -> usize {
    size_of::<pipsqueak_model>()
}

/// Bytes of a `pipsqueak_session`.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_session_bytes() -> usize {
    size_of::<pipsqueak_session>()
}

/// Bytes of a `pipsqueak_encoder`.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_encoder_bytes() -> usize {
    size_of::<pipsqueak_encoder>()
}

/// A type of handle: what it holds, and the mark of those that are open.
pub(crate) trait Handle: Sized {
    type Content;
    const MARK: usize;
}

impl Handle for pipsqueak_model {
    type Content = Model;
    const MARK: usize = 0x5049_7051;
}

impl Handle for pipsqueak_session {
    type Content = Conversation;
    const MARK: usize = 0x5049_7053;
}

impl Handle for pipsqueak_encoder {
    type Content = Encoder<'static>;
    const MARK: usize = 0x5049_7055;
}

/// What is in a handle's memory.
#[repr(C)]
struct Slot<T> {
    /// The handle's mark and its address together, when it is open: a copy elsewhere is not.
    mark: usize,
    content: MaybeUninit<T>,
}

const fn must_hold<H: Handle>() {
    assert!(size_of::<Slot<H::Content>>() <= size_of::<H>(), "a handle is too small for its content");
    assert!(align_of::<Slot<H::Content>>() <= align_of::<H>(), "a handle is not aligned for its content");
}

const _: () = must_hold::<pipsqueak_model>();
const _: () = must_hold::<pipsqueak_session>();
const _: () = must_hold::<pipsqueak_encoder>();

/// Puts `content` into a handle, whatever was in it, and marks it open.
///
/// # Safety
/// A pointer that is not NULL points to memory for a handle that only the caller uses.
pub(crate) unsafe fn open<H: Handle>(handle: *mut H, argument: u32, content: H::Content) -> Result<(), Failure> {
    checked(handle, 1, argument)?;
    let slot = handle.cast::<Slot<H::Content>>();
    let mark = H::MARK ^ handle.addr();
    // SAFETY: not NULL, aligned, large enough (`must_hold`), and the caller's alone.
    unsafe { slot.write(Slot { mark, content: MaybeUninit::new(content) }) };
    Ok(())
}

/// Where an open handle's content is.
///
/// # Safety
/// A pointer that is not NULL points to a handle's initialised memory.
pub(crate) unsafe fn content<H: Handle>(handle: *const H, argument: u32) -> Result<*const H::Content, Failure> {
    checked(handle, 1, argument)?;
    // SAFETY: not NULL and aligned; the first word of a handle is its mark.
    let mark = unsafe { handle.cast::<usize>().read() };
    if mark != H::MARK ^ handle.addr() {
        return Err(Failure::new(Code::PIPSQUEAK_ERROR_NOT_OPEN).argument(argument));
    }
    let slot = handle.cast::<Slot<H::Content>>();
    // SAFETY: the slot is inside the handle's memory.
    Ok(unsafe { &raw const (*slot).content }.cast())
}

/// An open handle's content.
///
/// # Safety
/// A pointer that is not NULL points to a handle's initialised memory, which nobody writes to for 'a.
pub(crate) unsafe fn get<'a, H: Handle>(handle: *const H, argument: u32) -> Result<&'a H::Content, Failure> {
    // SAFETY: the caller's promise; marked open, so `open` has put the content there.
    unsafe { Ok(&*content(handle, argument)?) }
}

/// An open handle's content, to be changed.
///
/// # Safety
/// A pointer that is not NULL points to a handle's initialised memory, which only the caller uses for 'a.
pub(crate) unsafe fn get_mut<'a, H: Handle>(handle: *mut H, argument: u32) -> Result<&'a mut H::Content, Failure> {
    // SAFETY: the caller's promise; marked open, so `open` has put the content there. The pointer came from a `*mut`.
    unsafe { Ok(&mut *content(handle, argument)?.cast_mut()) }
}

/// Marks a handle closed. What it holds is memory only, so nothing is dropped.
///
/// # Safety
/// A pointer that is not NULL points to a handle's memory, which only the caller uses.
pub(crate) unsafe fn close<H: Handle>(handle: *mut H, argument: u32) -> Result<(), Failure> {
    checked(handle, 1, argument)?;
    // SAFETY: not NULL and aligned; the first word of a handle is its mark.
    unsafe { handle.cast::<usize>().write(0) };
    Ok(())
}
