//! The text that both sides of the module read and write.

use crate::Error;

/// Text of a bounded length.
pub struct Text {
    bytes: [u8; Self::MAX],
    len: usize,
    /// Bytes that were to be in it.
    wanted: usize,
}

impl Text {
    /// Bytes of the longest.
    pub const MAX: usize = 2048;
    /// No text.
    pub const EMPTY: Self = Self { bytes: [0; Self::MAX], len: 0, wanted: 0 };

    /// Begins anew.
    pub fn clear(&mut self) {
        (self.len, self.wanted) = (0, 0);
    }

    /// Appends `piece` if there is room for it.
    pub fn push(&mut self, piece: &str) {
        self.wanted = self.wanted.saturating_add(piece.len());
        if let Some(room) = self.bytes.get_mut(self.len..).and_then(|rest| rest.get_mut(..piece.len())) {
            room.copy_from_slice(piece.as_bytes());
            self.len += piece.len();
        }
    }

    /// An error when something had no room.
    pub fn whole(&self) -> Result<(), Error> {
        let (got, max) = (self.wanted, Self::MAX);
        if self.len == got { Ok(()) } else { Err(Error::Token { got, max }) }
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where it begins.
    pub fn start(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// The first `len` bytes, which the other side has written.
    pub fn written(&self, len: usize) -> Result<&str, Error> {
        let bytes = self.bytes.get(..len).ok_or(Error::Prompt { got: len, max: Self::MAX })?;
        core::str::from_utf8(bytes).map_err(|_| Error::NotUtf8)
    }
}
