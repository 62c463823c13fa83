//! A conversation: who said what, and the tokens of it.

use std::fmt;

use pipsqueak::{
    Vocab,
    chat::{self, Atom, Chat, ChatError},
    kernels::arena::{Line, bytes_of, bytes_of_mut},
    tokenizer::{EncodeError, EncodeOptions, TokenKind},
};
use serde::{Deserialize, Serialize};

use super::{
    pieces::{Trims, added_space, takes_system, trims},
    template::{Role, Template, TemplateError},
};
use crate::{failure::Failure, vocab};

/// What was said in one turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// By the user.
    pub user: String,
    /// By the model, as it drew the tokens.
    pub answer: Vec<u32>,
}

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// What the model is to be; where left out, the template's own words, if it has any.
    pub system: Option<String>,
    /// What was said.
    pub turns: Vec<Turn>,
}

/// Why a note is no conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// There is none: the session was not saved by `chat`.
    None,
    /// It is none of ours.
    Broken {
        /// What is wrong, one line.
        what: String,
    },
    /// It has a token that the vocabulary does not have.
    Token {
        /// Its id.
        id: u32,
        /// Tokens of the vocabulary.
        vocab_size: u32,
    },
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no conversation is in it: it was not saved by chat"),
            Self::Broken { what } => write!(f, "the conversation in it makes no sense: {what}"),
            Self::Token { id, vocab_size } => {
                write!(f, "the conversation in it has token {id}; the vocabulary has {vocab_size}")
            }
        }
    }
}

impl std::error::Error for NoteError {}

/// The conversation as a saved session carries it: JSON.
#[derive(Serialize, Deserialize)]
struct Note<C> {
    chat: C,
}

impl Conversation {
    /// The note of a saved session.
    pub fn to_note(&self) -> Vec<u8> {
        // Strings and numbers, which always can be written.
        serde_json::to_vec(&Note { chat: self }).unwrap_or_default()
    }

    /// Reads the note of a saved session.
    pub fn from_note(note: &[u8], vocab_size: u32) -> Result<Self, NoteError> {
        if note.is_empty() {
            return Err(NoteError::None);
        }
        let Note { chat } = serde_json::from_slice::<Note<Self>>(note)
            .map_err(|error| NoteError::Broken { what: error.to_string().replace('\n', " ") })?;
        match chat.turns.iter().flat_map(|turn| &turn.answer).find(|id| **id >= vocab_size) {
            Some(id) => Err(NoteError::Token { id: *id, vocab_size }),
            None => Ok(chat),
        }
    }
}

/// How a model's conversations are written.
#[derive(Debug)]
pub enum Shape<'a> {
    /// By the pieces of its template.
    Pieces(Box<Chat<'a>>),
    /// By the template itself, all of it for every turn.
    Whole(Whole<'a>),
}

/// A template that cannot be split: turns before look different when there are more.
#[derive(Debug)]
pub struct Whole<'a> {
    template: &'a Template,
    takes_system: bool,
    trims: Trims,
    /// White space that it puts before an answer, but not where the model is to answer: the model writes it itself.
    lead: String,
    /// What it puts behind an answer begins with this token.
    end: Option<u32>,
}

impl<'a> Shape<'a> {
    /// A template as a whole.
    pub fn whole(template: &'a Template, vocab: &Vocab<'_>) -> Result<Self, TemplateError> {
        let takes_system = takes_system(template)?.is_some();
        // Where it drops space in one turn and not in the next, the texts are left as they are.
        let trims = trims(template, takes_system).unwrap_or_default();
        let around = template.around(&[Role::User, Role::Assistant, Role::User])?;
        let [written, behind, asked] = [1, 2, 3].map(|index| around.get(index).map_or("", String::as_str));
        let lead = added_space(written, asked).unwrap_or_default().to_string();
        let control = |(_, _, id): &(usize, usize, u32)| vocab.kind(*id) == Some(TokenKind::Control);
        let end = specials(behind, vocab).into_iter().find(control).map(|(_, _, id)| id);
        Ok(Self::Whole(Whole { template, takes_system, trims, lead, end }))
    }

    /// Whether a system text is taken.
    pub fn takes_system(&self) -> bool {
        match self {
            Self::Pieces(chat) => chat.takes_system,
            Self::Whole(whole) => whole.takes_system,
        }
    }

    /// The token that ends an answer beside the vocabulary's own.
    pub fn end(&self, vocab: &Vocab<'_>) -> Option<u32> {
        match self {
            Self::Pieces(chat) => chat.end(vocab),
            Self::Whole(whole) => whole.end,
        }
    }

    /// The tokens of a conversation and of what the user says next, up to where the model is to answer; and the bytes
    /// that the vocabulary has no token for.
    pub fn tokens(
        &self,
        vocab: &Vocab<'_>,
        conversation: &Conversation,
        user: &str,
    ) -> Result<(Vec<u32>, usize), Failure> {
        let mut builder = Builder::new(*vocab);
        match self {
            Self::Pieces(chat) => {
                let users = conversation.turns.iter().map(|turn| turn.user.as_str()).chain([user]);
                let answers = conversation.turns.iter().map(|turn| turn.answer.as_slice());
                let mut answers = answers.chain([&[][..]]);
                let mut system = Some(conversation.system.as_deref());
                for user in users {
                    let turn = match system.take() {
                        Some(system) => chat::Turn::First { system, user },
                        None => chat::Turn::Next { user },
                    };
                    for atom in chat.atoms(turn).map_err(|error: ChatError| Failure::new(error))? {
                        match atom {
                            Atom::Text(text) => builder.text(text),
                            Atom::Ids(ids) => builder.ids(ids, false),
                        }
                    }
                    builder.ids(answers.next().unwrap_or_default(), true);
                }
            }
            Self::Whole(Whole { template, trims, lead, .. }) => {
                let mut said: Vec<(Role, Said<'_>)> = Vec::new();
                if let Some(system) = &conversation.system {
                    said.push((Role::System, Said::Text(trimmed(system, trims.system))));
                }
                for turn in &conversation.turns {
                    said.push((Role::User, Said::Text(trimmed(&turn.user, trims.user))));
                    said.push((Role::Assistant, Said::Ids(&turn.answer)));
                }
                said.push((Role::User, Said::Text(trimmed(user, trims.user))));
                let roles: Vec<_> = said.iter().map(|(role, _)| *role).collect();
                let around = template.around(&roles).map_err(Failure::new)?;
                let mut said = said.into_iter();
                for words in &around {
                    match said.next() {
                        Some((_, Said::Text(text))) => {
                            builder.template(words);
                            builder.text(text);
                        }
                        Some((_, Said::Ids(ids))) => {
                            builder.template(words.strip_suffix(lead.as_str()).unwrap_or(words));
                            builder.ids(ids, true);
                        }
                        None => builder.template(words),
                    }
                }
                let (mut ids, lost) = builder.result().map_err(Failure::new)?;
                if let Some(bos) = add_bos(vocab, &ids) {
                    ids.insert(0, bos);
                }
                return Ok((ids, lost));
            }
        }
        builder.result().map_err(Failure::new)
    }
}

enum Said<'a> {
    Text(&'a str),
    Ids(&'a [u32]),
}

fn trimmed(text: &str, (start, end): (bool, bool)) -> &str {
    let text = if start { text.trim_start() } else { text };
    if end { text.trim_end() } else { text }
}

/// BOS, where the model wants it before every text and the template has not put it there.
pub(super) fn add_bos(vocab: &Vocab<'_>, ids: &[u32]) -> Option<u32> {
    vocab.bos().filter(|bos| vocab.add_bos() && ids.first() != Some(bos))
}

/// The special tokens of a text that names them: where each begins and ends, and its id; of several the longest.
pub(super) fn specials(text: &str, vocab: &Vocab<'_>) -> Vec<(usize, usize, u32)> {
    let names: Vec<(&[u8], u32)> = vocab
        .specials()
        .filter_map(|id| Some((vocab.token_bytes(id)?, id)))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let here = names.iter().find(|(name, _)| rest.starts_with(name) && text.is_char_boundary(at + name.len()));
        match here.filter(|_| text.is_char_boundary(at)) {
            Some((name, id)) => {
                found.push((at, at + name.len(), *id));
                at += name.len();
            }
            None => at += 1,
        }
    }
    found
}

/// Tokens of texts and of tokens, in order. Texts that follow each other are one text, as the tokenizer must see it.
pub(super) struct Builder<'v> {
    vocab: Vocab<'v>,
    ids: Vec<u32>,
    text: String,
    /// The text goes on from tokens that are themselves text.
    continues: bool,
    lost: usize,
    failed: Option<EncodeError>,
}

impl<'v> Builder<'v> {
    pub(super) fn new(vocab: Vocab<'v>) -> Self {
        Self { vocab, ids: Vec::new(), text: String::new(), continues: false, lost: 0, failed: None }
    }

    /// A text in which no names of control tokens are looked for.
    pub(super) fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Words of a template, in which they are.
    pub(super) fn template(&mut self, text: &str) {
        let mut at = 0;
        for (start, end, id) in specials(text, &self.vocab) {
            self.text.push_str(&text[at..start]);
            self.ids(&[id], false);
            at = end;
        }
        self.text.push_str(&text[at..]);
    }

    /// Tokens; those of an answer are text that what follows goes on from.
    pub(super) fn ids(&mut self, ids: &[u32], answer: bool) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            let encoded = if self.continues {
                vocab::encode_continuing(&self.vocab, &text, false)
            } else {
                vocab::encode_counting(&self.vocab, &text, EncodeOptions::default())
            };
            match encoded {
                Ok((ids, lost)) => {
                    self.ids.extend(ids);
                    self.lost += lost;
                }
                Err(error) => self.failed = self.failed.or(Some(error)),
            }
        }
        self.continues = answer;
        self.ids.extend(ids);
    }

    pub(super) fn result(mut self) -> Result<(Vec<u32>, usize), EncodeError> {
        self.ids(&[], false);
        match self.failed {
            Some(error) => Err(error),
            None => Ok((self.ids, self.lost)),
        }
    }
}

/// Bytes that start on a line, as ids are read in place.
pub struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        bytes_of(&self.lines).get(..self.len).unwrap_or_default()
    }
}

/// A copy of `bytes` that starts on a line.
pub fn aligned(bytes: &[u8]) -> Aligned {
    let mut lines = vec![Line::ZERO; Line::count(bytes.len())];
    bytes_of_mut(&mut lines)[..bytes.len()].copy_from_slice(bytes);
    Aligned { lines, len: bytes.len() }
}
