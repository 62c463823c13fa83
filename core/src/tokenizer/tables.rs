//! Typed tables over borrowed bytes: no alignment asked for, nothing copied, no access that can fail loudly.

use super::error::{Table, VocabError};

/// Token ids (or ranks), two or four bytes each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ids<'a> {
    Narrow(&'a [[u8; 2]]),
    Wide(&'a [[u8; 4]]),
}

impl<'a> Ids<'a> {
    /// None at all.
    pub(super) const NONE: Self = Self::Narrow(&[]);

    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Narrow(t) => t.len(),
            Self::Wide(t) => t.len(),
        }
    }

    pub(super) const fn get(&self, index: usize) -> Option<u32> {
        match self {
            Self::Narrow(t) => match entry(t, index) {
                Some(bytes) => Some(u16::from_le_bytes(*bytes) as u32),
                None => None,
            },
            Self::Wide(t) => word(t, index),
        }
    }
}

/// Entry `index` of a table, if there is one.
pub(super) const fn entry<T>(table: &[T], index: usize) -> Option<&T> {
    match table.split_at_checked(index) {
        Some((_, [entry, ..])) => Some(entry),
        _ => None,
    }
}

/// Entry `index` of a table of words.
pub(super) const fn word(table: &[[u8; 4]], index: usize) -> Option<u32> {
    match entry(table, index) {
        Some(bytes) => Some(u32::from_le_bytes(*bytes)),
        None => None,
    }
}

/// One BPE merge, without its left token (that is the table's index).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) right: u32,
    pub(super) rank: u32,
    pub(super) merged: u32,
}

/// BPE merges, six or twelve bytes each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Merges<'a> {
    Narrow(&'a [[u8; 6]]),
    Wide(&'a [[u8; 12]]),
}

impl Merges<'_> {
    /// None at all.
    pub(super) const NONE: Self = Self::Narrow(&[]);

    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Narrow(t) => t.len(),
            Self::Wide(t) => t.len(),
        }
    }

    pub(super) const fn get(&self, index: usize) -> Option<Merge> {
        match self {
            Self::Narrow(t) => match entry(t, index) {
                Some([r0, r1, k0, k1, m0, m1]) => Some(Merge {
                    right: u16::from_le_bytes([*r0, *r1]) as u32,
                    rank: u16::from_le_bytes([*k0, *k1]) as u32,
                    merged: u16::from_le_bytes([*m0, *m1]) as u32,
                }),
                None => None,
            },
            Self::Wide(t) => match entry(t, index) {
                Some([r0, r1, r2, r3, k0, k1, k2, k3, m0, m1, m2, m3]) => Some(Merge {
                    right: u32::from_le_bytes([*r0, *r1, *r2, *r3]),
                    rank: u32::from_le_bytes([*k0, *k1, *k2, *k3]),
                    merged: u32::from_le_bytes([*m0, *m1, *m2, *m3]),
                }),
                None => None,
            },
        }
    }
}

/// The first index in `from..to` at which `before` is false; `before` is true for a prefix of the range only.
pub(super) fn partition(from: usize, to: usize, mut before: impl FnMut(usize) -> bool) -> usize {
    let (mut low, mut high) = (from, to);
    while low < high {
        let mid = low + (high - low) / 2;
        if before(mid) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    low
}

/// Cuts a section into tables, front to back.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` entries of `N` bytes, and the zeros that fill them up to a multiple of four.
    pub(super) const fn table<const N: usize>(
        &mut self,
        table: Table,
        count: u64,
    ) -> Result<&'a [[u8; N]], VocabError> {
        Ok(tri!(self.bytes(table, count.saturating_mul(N as u64))).as_chunks().0)
    }

    const fn bytes(&mut self, table: Table, need: u64) -> Result<&'a [u8], VocabError> {
        let short = VocabError::Truncated { table, need, got: self.rest.len() };
        if need > self.rest.len() as u64 {
            return Err(short);
        }
        let Some((entries, rest)) = self.rest.split_at_checked(need as usize) else { return Err(short) };
        let Some((mut padding, rest)) = rest.split_at_checked((need as usize).wrapping_neg() % 4) else {
            return Err(short);
        };
        while let [byte, others @ ..] = padding {
            if *byte != 0 {
                return Err(VocabError::UnknownFlags { got: *byte as u32 });
            }
            padding = others;
        }
        self.rest = rest;
        Ok(entries)
    }

    /// The next `count` ids.
    pub(super) const fn ids(&mut self, table: Table, wide: bool, count: u64) -> Result<Ids<'a>, VocabError> {
        Ok(if wide { Ids::Wide(tri!(self.table(table, count))) } else { Ids::Narrow(tri!(self.table(table, count))) })
    }

    /// The next `count` merges.
    pub(super) const fn merges(&mut self, wide: bool, count: u64) -> Result<Merges<'a>, VocabError> {
        let table = Table::Merges;
        Ok(if wide {
            Merges::Wide(tri!(self.table(table, count)))
        } else {
            Merges::Narrow(tri!(self.table(table, count)))
        })
    }

    /// Bytes that are left.
    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }
}
