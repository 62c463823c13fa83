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

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Narrow(t) => t.len(),
            Self::Wide(t) => t.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<u32> {
        match self {
            Self::Narrow(t) => t.get(index).map(|b| u32::from(u16::from_le_bytes(*b))),
            Self::Wide(t) => t.get(index).map(|b| u32::from_le_bytes(*b)),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u32> + 'a {
        (0..self.len()).map_while(move |i| self.get(i))
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

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Narrow(t) => t.len(),
            Self::Wide(t) => t.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Merge> {
        Some(match self {
            Self::Narrow(t) => {
                let [r0, r1, k0, k1, m0, m1] = *t.get(index)?;
                Merge {
                    right: u16::from_le_bytes([r0, r1]).into(),
                    rank: u16::from_le_bytes([k0, k1]).into(),
                    merged: u16::from_le_bytes([m0, m1]).into(),
                }
            }
            Self::Wide(t) => {
                let [r0, r1, r2, r3, k0, k1, k2, k3, m0, m1, m2, m3] = *t.get(index)?;
                Merge {
                    right: u32::from_le_bytes([r0, r1, r2, r3]),
                    rank: u32::from_le_bytes([k0, k1, k2, k3]),
                    merged: u32::from_le_bytes([m0, m1, m2, m3]),
                }
            }
        })
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
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` entries of `N` bytes, and the zeros that fill them up to a multiple of four.
    pub(super) fn table<const N: usize>(&mut self, table: Table, count: u64) -> Result<&'a [[u8; N]], VocabError> {
        let need = count.saturating_mul(N as u64);
        let short = VocabError::Truncated { table, need, got: self.rest.len() };
        let len = usize::try_from(need).map_err(|_| short)?;
        let (entries, rest) = self.rest.split_at_checked(len).ok_or(short)?;
        let (padding, rest) = rest.split_at_checked(len.wrapping_neg() % 4).ok_or(short)?;
        if let Some(&byte) = padding.iter().find(|&&b| b != 0) {
            return Err(VocabError::UnknownFlags { got: byte.into() });
        }
        self.rest = rest;
        Ok(entries.as_chunks().0)
    }

    /// The next `count` ids.
    pub(super) fn ids(&mut self, table: Table, wide: bool, count: u64) -> Result<Ids<'a>, VocabError> {
        Ok(if wide { Ids::Wide(self.table(table, count)?) } else { Ids::Narrow(self.table(table, count)?) })
    }

    /// The next `count` merges.
    pub(super) fn merges(&mut self, wide: bool, count: u64) -> Result<Merges<'a>, VocabError> {
        let table = Table::Merges;
        Ok(if wide { Merges::Wide(self.table(table, count)?) } else { Merges::Narrow(self.table(table, count)?) })
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }
}
