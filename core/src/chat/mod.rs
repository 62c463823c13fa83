//! A conversation's tokens without a template engine: what stands before, between and behind the texts of a chat.
//!
//! A model's chat template is a program that writes a conversation as text. `pipsqueak pack` runs it on texts that it
//! finds again in the result, and stores what is between them: the pieces. Their special tokens are ids already, so
//! that no text of a user can become one. Only words that touch a text remain words, as the tokenizer must see both
//! together.
//!
//! ```text
//! open                                 user  answer  (answer)  next  user  answer  (answer)  next ...
//! system  SYSTEM TEXT  after_system    user  answer  ...
//! ```
//!
//! # The section of an image
//!
//! All numbers are little-endian. The section is 64 bytes of head, the ids of all pieces, the words of all pieces.
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | u32 | flags: 1 takes a system text; 2, 4 white space before and behind it is dropped; 8, 16 of a user's |
//! | 4 | 5 x (u32, u32, u32) | a piece each: bytes of words before the ids, ids, bytes of words behind |
//! | 64 | u32 ... | the ids |
//! | | u8 ... | the words, UTF-8, those before and those behind of each piece |
//!
//! ```
//! use pipsqueak::{Image, Session, chat::{Room, Turn}, kernels::Kernels};
//!
//! /// One turn of a conversation: what the model is to read. `None` when something does not fit.
//! fn listen<K: Kernels + ?Sized>(session: &mut Session<'_, K>, line: &str) -> Option<()> {
//!     let image = session.image();
//!     let (vocab, chat) = (image.vocab()?, image.chat().ok()??);
//!     let first = session.position() == 0;
//!     let turn = if first { Turn::First { system: None, user: line } } else { Turn::Next { user: line } };
//!     let (mut tokens, mut text, mut scratch) = ([0; 128], [0; 256], [0; 800]);
//!     let room = Room { tokens: &mut tokens, text: &mut text, scratch: &mut scratch };
//!     let count = chat.encode(&vocab, turn, room).ok()?;
//!     session.prefill(tokens.get(..count)?).ok()
//! }
//! ```

mod error;

pub use error::ChatError;
use pipsqueak_kernels::slice::copy;

use crate::{
    crc::crc32,
    image::{Extras, Image, Reader, range, words},
    tokenizer::{EncodeError, EncodeOptions, TokenKind, Vocab},
};

/// Bytes of the section's head.
const HEAD: usize = 64;
const FLAGS: u32 = 31;

/// What stands between two texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Words that touch the text before.
    pub head: &'a str,
    /// Tokens, from the first special one to the last. Where the model is to answer, and where it has answered, also
    /// the words beside that, as no text is put there.
    pub ids: &'a [u32],
    /// Words that touch the text behind. Empty when there are no ids.
    pub tail: &'a str,
}

/// The pieces of a model's chat template: a checked view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chat<'a> {
    /// Whether a system text is taken.
    pub takes_system: bool,
    /// Whether white space before and behind a system text is dropped.
    pub trims_system: (bool, bool),
    /// Whether white space before and behind a user's text is dropped.
    pub trims_user: (bool, bool),
    /// What a conversation without a system text begins with, up to the user's text.
    pub open: Piece<'a>,
    /// What a conversation with a system text begins with.
    pub system: Piece<'a>,
    /// What is between the system text and the user's.
    pub after_system: Piece<'a>,
    /// What is between a user's text and the answer.
    pub answer: Piece<'a>,
    /// What is between an answer and the user's next text.
    pub next: Piece<'a>,
}

/// What the user says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn<'t> {
    /// At the beginning of a conversation.
    First {
        /// What the model is to be; where left out, the template's own words, if it has any.
        system: Option<&'t str>,
        /// What the user says.
        user: &'t str,
    },
    /// After an answer, without the token that ended it.
    Next {
        /// What the user says.
        user: &'t str,
    },
}

/// A part of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atom<'t> {
    /// A text in which no names of control tokens are looked for. Texts that follow each other are one text, cut
    /// anywhere.
    Text(&'t str),
    /// Tokens. Never empty.
    Ids(&'t [u32]),
}

/// Memory to turn a turn into tokens.
#[derive(Debug)]
pub struct Room<'r> {
    /// Takes the tokens.
    pub tokens: &'r mut [u32],
    /// Room for a text and the words around it.
    pub text: &'r mut [u8],
    /// The tokenizer's scratch; see [`crate::tokenizer::scratch_len`].
    pub scratch: &'r mut [u32],
}

impl<'a> Image<'a> {
    /// The pieces of the model's chat template; `None` when the image has none. Their section is checked here.
    pub fn chat(&self) -> Result<Option<Chat<'a>>, ChatError> {
        let section = Extras::read(self.bytes()).chat;
        if section.len == 0 {
            return Ok(None);
        }
        let bytes = self.chat_bytes();
        if bytes.is_empty() {
            let file = self.len() as u64;
            return Err(ChatError::Range { offset: section.offset, len: section.len, file });
        }
        let got = crc32(bytes);
        if got != section.crc {
            return Err(ChatError::Checksum { expected: section.crc, got });
        }
        Chat::new(bytes, self.config().vocab_size).map(Some)
    }

    /// The section of the chat pieces as stored; empty when there is none, or when it is not inside the image.
    pub fn chat_bytes(&self) -> &'a [u8] {
        let section = Extras::read(self.bytes()).chat;
        if section.offset & 63 != 0 {
            return &[];
        }
        range(self.bytes(), section.offset, section.len).unwrap_or(&[])
    }
}

impl<'a> Chat<'a> {
    /// Checks a section, which starts on a multiple of four.
    pub fn new(section: &'a [u8], vocab_size: u32) -> Result<Self, ChatError> {
        let got = section.len() as u64;
        let (head, rest) = section.split_at_checked(HEAD).ok_or(ChatError::Length { need: HEAD as u64, got })?;
        let mut get = Reader::new(head);
        let flags = get.u32();
        if flags & !FLAGS != 0 {
            return Err(ChatError::Flags { got: flags });
        }
        let lengths: [[u32; 3]; 5] = core::array::from_fn(|_| [get.u32(), get.u32(), get.u32()]);
        let sum =
            |index: usize| lengths.iter().filter_map(|all| all.get(index)).map(|len| u64::from(*len)).sum::<u64>();
        let ids = sum(1).saturating_mul(4);
        let need = (HEAD as u64).saturating_add(ids).saturating_add(sum(0)).saturating_add(sum(2));
        let length = ChatError::Length { need, got };
        if need != got {
            return Err(length);
        }
        let (ids, text) = rest.split_at_checked(ids as usize).ok_or(length)?;
        let mut ids = words(ids.as_chunks::<4>().0);
        if let Some(id) = ids.iter().copied().find(|id| *id >= vocab_size) {
            return Err(ChatError::Token { id, vocab_size });
        }
        let start = got.saturating_sub(text.len() as u64);
        let not_text = |at: usize| ChatError::NotText { at: (start, at as u64) };
        let all = core::str::from_utf8(text).map_err(|error| not_text(error.valid_up_to()))?;
        let mut rest = all;
        let mut words = |len: u32| {
            // Of an end inside a character the text's own place is as good as any.
            let at = all.len().saturating_sub(rest.len());
            let (words, after) = rest.split_at_checked(len as usize).ok_or(not_text(at))?;
            rest = after;
            Ok(words)
        };
        let mut pieces = [Piece::default(); 5];
        for (piece, [head, count, tail]) in pieces.iter_mut().zip(lengths) {
            let (first, after) = ids.split_at_checked(count as usize).ok_or(length)?;
            ids = after;
            *piece = Piece { head: words(head)?, ids: first, tail: words(tail)? };
        }
        let [open, system, after_system, answer, next] = pieces;
        let flag = |bit: u32| flags & bit != 0;
        Ok(Self {
            takes_system: flag(1),
            trims_system: (flag(2), flag(4)),
            trims_user: (flag(8), flag(16)),
            open,
            system,
            after_system,
            answer,
            next,
        })
    }

    /// The token that ends an answer, beside the vocabulary's own: the first special one of what follows an answer.
    pub fn end(&self, vocab: &Vocab<'_>) -> Option<u32> {
        self.next.ids.iter().copied().find(|id| vocab.kind(*id) == Some(TokenKind::Control))
    }

    /// What a turn is made of, in order: for a caller that turns texts into tokens in slices of its own.
    ///
    /// # Errors
    /// [`ChatError::NoSystem`]
    pub fn atoms<'t>(&self, turn: Turn<'t>) -> Result<impl Iterator<Item = Atom<'t>> + use<'a, 't>, ChatError>
    where
        'a: 't,
    {
        let none = Piece::default();
        let (first, system, second, user) = match turn {
            Turn::First { system: None, user } => (none, "", self.open, user),
            Turn::First { system: Some(system), user } if self.takes_system => {
                (self.system, trimmed(system, self.trims_system), self.after_system, user)
            }
            Turn::First { system: Some(_), .. } => return Err(ChatError::NoSystem),
            Turn::Next { user } => (none, "", self.next, user),
        };
        let user = trimmed(user, self.trims_user);
        let of = |piece: Piece<'t>| [Atom::Text(piece.head), Atom::Ids(piece.ids), Atom::Text(piece.tail)];
        let all = [of(first), [Atom::Text(system); 3], of(second), [Atom::Text(user); 3], of(self.answer)];
        let once = |(index, atoms): (usize, [Atom<'t>; 3])| atoms.into_iter().take(if index & 1 == 1 { 1 } else { 3 });
        let full = |atom: &Atom<'_>| !matches!(atom, Atom::Text("") | Atom::Ids([]));
        Ok(all.into_iter().enumerate().flat_map(once).filter(full))
    }

    /// Turns a turn into the tokens to feed; returns how many `room.tokens` begins with. The answer is what the model
    /// then writes, up to a [stop](Vocab::is_stop) or [`Self::end`], which is not fed: the next turn begins with it.
    ///
    /// # Errors
    /// [`ChatError::NoSystem`], [`ChatError::TextRoom`], [`ChatError::Encode`]; the numbers say what would be enough.
    pub fn encode(&self, vocab: &Vocab<'_>, turn: Turn<'_>, room: Room<'_>) -> Result<usize, ChatError> {
        let Room { tokens, text, scratch } = room;
        let mut out = Out { vocab: *vocab, tokens, scratch, count: 0 };
        // What follows an answer directly goes on from it.
        out.continues(matches!(turn, Turn::Next { .. }));
        let mut len = 0;
        for atom in self.atoms(turn)? {
            match atom {
                Atom::Text(words) => {
                    let got = text.len();
                    let end = len + words.len();
                    let place = text.get_mut(len..end).ok_or(ChatError::TextRoom { need: end, got })?;
                    copy(place, words.as_bytes());
                    len = end;
                }
                Atom::Ids(ids) => {
                    out.text(text.get(..len).unwrap_or(&[]))?;
                    len = 0;
                    out.ids(ids)?;
                    out.vocab = *vocab;
                }
            }
        }
        out.text(text.get(..len).unwrap_or(&[]))?;
        Ok(out.count)
    }
}

fn trimmed(text: &str, (start, end): (bool, bool)) -> &str {
    let text = if start { text.trim_start() } else { text };
    if end { text.trim_end() } else { text }
}

/// Tokens under way.
struct Out<'v, 'r> {
    vocab: Vocab<'v>,
    tokens: &'r mut [u32],
    scratch: &'r mut [u32],
    count: usize,
}

impl Out<'_, '_> {
    fn continues(&mut self, yes: bool) {
        if yes {
            self.vocab = self.vocab.continuing();
        }
    }

    fn ids(&mut self, ids: &[u32]) -> Result<(), ChatError> {
        let (got, need) = (self.tokens.len(), self.count.saturating_add(ids.len()));
        let too_small = ChatError::Encode(EncodeError::OutputTooSmall { need, got });
        copy(self.tokens.get_mut(self.count..need).ok_or(too_small)?, ids);
        self.count = need;
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<(), ChatError> {
        // Whole texts were put together.
        let text = core::str::from_utf8(text).unwrap_or_default();
        let got = self.tokens.len();
        let room = self.tokens.get_mut(self.count..).unwrap_or_default();
        let count = self.vocab.encode(text, EncodeOptions::default(), room, self.scratch).map_err(|error| {
            ChatError::Encode(match error {
                EncodeError::OutputTooSmall { need, .. } => {
                    EncodeError::OutputTooSmall { need: need.saturating_add(self.count), got }
                }
                other => other,
            })
        })?;
        self.count += count;
        Ok(())
    }
}
