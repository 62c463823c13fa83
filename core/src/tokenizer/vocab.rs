//! The vocabulary as a checked view over bytes that stay where they are.

use core::cmp::Ordering;
use core::fmt;

use super::error::VocabError;
use super::pretokenize::PreTokenizer;
use super::tables::{Ids, Merges, entry, partition};

/// What a token is. The numbers are those of the stored table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum TokenKind {
    /// A piece of text.
    Normal = 0,
    /// Stands for text the vocabulary cannot spell.
    Unknown = 1,
    /// A control token (BOS, EOS, chat marks): never produced from plain text, decodes to nothing.
    Control = 2,
    /// Matched in every text before anything else.
    UserDefined = 3,
    /// One raw byte of SentencePiece's byte fallback.
    Byte = 4,
    /// Not in use.
    Unused = 5,
}

impl TokenKind {
    /// The kind with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Normal,
            1 => Self::Unknown,
            2 => Self::Control,
            3 => Self::UserDefined,
            4 => Self::Byte,
            5 => Self::Unused,
            _ => return None,
        })
    }

    /// Plain text may become this token by merging.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Normal)
    }

    /// The token's name may be looked for in a text; it cuts the text in two.
    pub const fn is_special(self) -> bool {
        matches!(self, Self::Control | Self::UserDefined | Self::Unknown)
    }
}

/// The algorithm that cuts text into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum VocabModel {
    /// Byte-level BPE with a merge list, behind this pre-tokenizer.
    Bpe(PreTokenizer),
    /// SentencePiece BPE: the adjacent pair whose token has the highest score is merged first; bytes as fallback.
    SentencePiece {
        /// A space is put before a text, and before what follows a special token.
        add_space_prefix: bool,
    },
}

/// [`Vocab::is_bpe`] of a model.
#[inline(always)]
pub(super) const fn is_bpe(model: &VocabModel) -> bool {
    let sentencepiece = cfg!(feature = "vocab-sentencepiece");
    cfg!(feature = "vocab-bpe") && (!sentencepiece || matches!(model, VocabModel::Bpe(_)))
}

/// A checked vocabulary over borrowed bytes (see [`layout`](super::layout)).
///
/// A small value (a dozen slices), free to copy; nothing is built in RAM. [`Vocab::new`] reads all of the section once
/// and checks every offset, length, id and order, so that nothing later can fail.
#[derive(Clone, Copy)]
pub struct Vocab<'a> {
    pub(super) model: VocabModel,
    pub(super) vocab_size: u32,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unknown: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) ignore_merges: bool,
    pub(super) offsets: &'a [[u8; 4]],
    pub(super) kinds: &'a [[u8; 1]],
    pub(super) scores: &'a [[u8; 4]],
    pub(super) sorted: Ids<'a>,
    pub(super) byte_ids: &'a [[u8; 4]],
    pub(super) merge_starts: Ids<'a>,
    pub(super) merges: Merges<'a>,
    pub(super) specials: &'a [[u8; 4]],
    pub(super) stops: &'a [[u8; 4]],
    pub(super) blob: &'a [u8],
    /// Which two bytes a special token may begin with: a bit for each [`start_bits`].
    pub(super) special_starts: [u32; 8],
    pub(super) has_user_defined: bool,
    pub(super) max_token_bytes: usize,
}

impl fmt::Debug for Vocab<'_> {
    /// The head figures; the tables would fill screens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Vocab");
        out.field("model", &self.model).field("vocab_size", &self.vocab_size).field("merges", &self.merges.len());
        out.field("bos", &self.bos).field("eos", &self.eos).field("unknown", &self.unknown).finish_non_exhaustive()
    }
}

impl<'a> Vocab<'a> {
    /// Opens a section and checks all of it: `O(n)` in its length, no memory.
    ///
    /// # Errors
    /// [`VocabError`] says which table is wrong, where, and what was found.
    pub const fn new(section: &'a [u8]) -> Result<Self, VocabError> {
        super::check::open(section)
    }

    /// The algorithm.
    pub const fn model(&self) -> VocabModel {
        self.model
    }

    /// Whether it is byte-level BPE; where only one algorithm is linked, the compiler knows.
    #[inline(always)]
    pub(super) const fn is_bpe(&self) -> bool {
        is_bpe(&self.model)
    }

    /// Whether SentencePiece's space is put before a text.
    #[inline(always)]
    pub(super) const fn adds_space(&self) -> bool {
        cfg!(feature = "vocab-sentencepiece")
            && matches!(self.model, VocabModel::SentencePiece { add_space_prefix: true })
    }

    /// Number of tokens; ids are `0..vocab_size`.
    pub const fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// The token put before a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token for what cannot be spelled.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// Whether the model expects BOS before every text.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Byte-level BPE: whether a word that is a text token as a whole is that token, whatever the merges would make of it.
    pub fn ignores_merges(&self) -> bool {
        self.is_bpe() && self.ignore_merges
    }

    /// All tokens that end generation, in the packer's order.
    pub fn stops(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.stops.iter().map(|b| u32::from_le_bytes(*b))
    }

    /// Whether this token ends generation.
    pub fn is_stop(&self, id: u32) -> bool {
        self.stops().any(|stop| stop == id)
    }

    /// The bytes a token stands for (its name, for a control token); they need not be whole UTF-8 characters.
    pub const fn token_bytes(&self, id: u32) -> Option<&'a [u8]> {
        let Some((_, [start, end, ..])) = self.offsets.split_at_checked(id as usize) else { return None };
        let (start, end) = (u32::from_le_bytes(*start) as usize, u32::from_le_bytes(*end) as usize);
        let Some((before, _)) = self.blob.split_at_checked(end) else { return None };
        match before.split_at_checked(start) {
            Some((_, bytes)) => Some(bytes),
            None => None,
        }
    }

    /// Number of bytes of a token, 0 when there is no such token.
    pub(super) const fn token_len(&self, id: u32) -> usize {
        match self.token_bytes(id) {
            Some(bytes) => bytes.len(),
            None => 0,
        }
    }

    /// What a token is.
    pub const fn kind(&self, id: u32) -> Option<TokenKind> {
        match entry(self.kinds, id as usize) {
            Some([code]) => TokenKind::from_code(*code),
            None => None,
        }
    }

    /// SentencePiece's score of a token; `None` for BPE.
    pub fn score(&self, id: u32) -> Option<f32> {
        self.scores.get(id as usize).map(|b| f32::from_le_bytes(*b))
    }

    /// Number of BPE merges.
    pub fn merge_count(&self) -> usize {
        self.merges.len()
    }

    /// Bytes of the longest token.
    pub fn max_token_bytes(&self) -> usize {
        self.max_token_bytes
    }

    /// The `Normal` token with exactly these bytes; the lowest id if there are several.
    pub fn token_id(&self, bytes: &[u8]) -> Option<u32> {
        self.find(Piece { space: false, bytes })
    }

    /// The special token (`Control`, `UserDefined` or `Unknown`) with exactly this name; the lowest id of several.
    pub fn special_id(&self, name: &str) -> Option<u32> {
        self.specials().find(|&id| self.token_bytes(id) == Some(name.as_bytes()))
    }

    /// The token that stands for one raw byte.
    pub fn byte_id(&self, byte: u8) -> Option<u32> {
        let id = u32::from_le_bytes(*self.byte_ids.get(usize::from(byte))?);
        (id < self.vocab_size).then_some(id)
    }

    /// All special tokens, longest name first.
    pub fn specials(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.specials.iter().map(|b| u32::from_le_bytes(*b))
    }

    /// Whether the name of some special token may begin here: mostly false where none does. Vocabularies with thousands of them
    /// have some that begin with a space.
    pub(super) fn may_begin_special(&self, text: &[u8]) -> bool {
        let (word, bits) = start_bits(text);
        self.special_starts.get(word).is_some_and(|starts| starts & bits != 0)
    }

    /// The special token at the beginning of `text`, the longest if there are several, and its length in bytes.
    pub(super) fn special_at(&self, text: &[u8], control_too: bool) -> Option<(u32, usize)> {
        if !self.may_begin_special(text) {
            return None;
        }
        self.specials().find_map(|id| {
            let name = self.token_bytes(id)?;
            let wanted = control_too || self.kind(id) == Some(TokenKind::UserDefined);
            (wanted && text.starts_with(name)).then_some((id, name.len()))
        })
    }

    /// The text token that spells this piece.
    pub(super) fn find(&self, piece: Piece<'_>) -> Option<u32> {
        if piece.len() > self.max_token_bytes {
            return None;
        }
        let order =
            |index| self.sorted.get(index).and_then(|id| self.token_bytes(id)).map(|token| piece.order_of(token));
        let index = partition(0, self.sorted.len(), |i| order(i) == Some(Ordering::Less));
        if order(index) == Some(Ordering::Equal) { self.sorted.get(index) } else { None }
    }

    /// BPE: rank and result of the merge of two tokens.
    pub(super) fn merge(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let from = self.merge_starts.get(left as usize)? as usize;
        let to = self.merge_starts.get((left as usize).checked_add(1)?)? as usize;
        let index = partition(from, to, |i| self.merges.get(i).is_some_and(|m| m.right < right));
        let merge = self.merges.get(index)?;
        (index < to && merge.right == right).then_some((merge.rank, merge.merged))
    }
}

/// Five bits of the first byte choose eight bits of a word; three of the second one of these, and a name of one byte has all.
pub(super) const fn start_bits(name: &[u8]) -> (usize, u32) {
    let (first, bits) = match name {
        [] => return (usize::MAX, 0),
        [first] => (*first, 0xff),
        [first, second, ..] => (*first, 1 << ((*second ^ (*second >> 3)) & 7)),
    };
    ((first >> 2 & 7) as usize, bits << ((first & 3) << 3))
}

/// Bytes to look up, perhaps with the space that SentencePiece puts before a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'t> {
    pub(super) space: bool,
    pub(super) bytes: &'t [u8],
}

impl Piece<'_> {
    fn len(&self) -> usize {
        self.bytes.len() + usize::from(self.space)
    }

    /// How `token` sorts relative to this piece.
    fn order_of(&self, token: &[u8]) -> Ordering {
        if !self.space {
            return token.cmp(self.bytes);
        }
        match token.split_first() {
            None => Ordering::Less,
            Some((first, rest)) => first.cmp(&b' ').then_with(|| rest.cmp(self.bytes)),
        }
    }
}
