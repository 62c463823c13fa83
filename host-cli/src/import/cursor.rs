//! Reading numbers and byte strings from the front of an untrusted file.

use super::ImportError;

/// A position in a file; every read is checked against its end.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    /// Bytes from the start of the file.
    pub(super) fn offset(&self) -> u64 {
        self.pos as u64
    }

    /// Bytes left.
    pub(super) fn remaining(&self) -> u64 {
        self.rest().len() as u64
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.pos..).unwrap_or(&[])
    }

    /// The next `n` bytes; `what` names them should they not be there.
    pub(super) fn take(&mut self, n: u64, what: &'static str) -> Result<&'a [u8], ImportError> {
        let taken = usize::try_from(n).ok().and_then(|n| self.rest().get(..n));
        let taken =
            taken.ok_or(ImportError::Truncated { what, offset: self.offset(), need: n, have: self.remaining() })?;
        self.pos += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ImportError> {
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(self.take(N as u64, what)?) {
            *to = *from;
        }
        Ok(out)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, ImportError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, ImportError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, ImportError> {
        self.array(what).map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, ImportError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(super) fn f32(&mut self, what: &'static str) -> Result<f32, ImportError> {
        self.array(what).map(f32::from_le_bytes)
    }
}
