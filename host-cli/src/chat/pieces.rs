//! From a template to the pieces that an image carries; see [`pipsqueak::chat`].

use std::fmt;

use pipsqueak::{
    Vocab,
    chat::{Atom, Chat, Turn},
    tokenizer::EncodeOptions,
};

use super::{
    conversation::{Builder, add_bos, aligned, specials},
    template::{Role, Template, TemplateError},
};
use crate::vocab;

/// Why a template cannot be stored as pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PiecesError {
    /// It fails.
    Template(TemplateError),
    /// It has no place that is the same in every turn for this piece.
    Uneven {
        /// Which piece.
        what: &'static str,
    },
    /// The pieces do not give the tokens of the whole text.
    Tokens,
}

impl fmt::Display for PiecesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(error) => write!(f, "{error}"),
            Self::Uneven { what } => write!(f, "{what} is not the same in every turn"),
            Self::Tokens => f.write_str("its pieces do not give the tokens of the whole text"),
        }
    }
}

impl std::error::Error for PiecesError {}

impl From<TemplateError> for PiecesError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}

use Role::{Assistant, System, User};

/// The texts between those of a conversation.
#[derive(Debug, Default, PartialEq)]
struct Texts {
    open: String,
    system: Option<(String, String)>,
    answer: String,
    next: String,
}

/// Whether white space is dropped before and behind texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trims {
    pub(super) system: (bool, bool),
    pub(super) user: (bool, bool),
}

/// The white space that a template has before an answer and not where the model is to answer (it writes that itself);
/// `None` where they differ in more.
pub(super) fn added_space<'a>(written: &'a str, asked: &str) -> Option<&'a str> {
    written.strip_prefix(asked).filter(|more| more.chars().all(char::is_whitespace))
}

/// Splits a template's texts, and looks whether they are the same in every turn.
fn split(template: &Template) -> Result<Texts, PiecesError> {
    let uneven = |what| PiecesError::Uneven { what };
    let one = template.around(&[User])?;
    let three = template.around(&[User, Assistant, User, Assistant, User])?;
    let ([open, answer], [open_again, first, next, second, next_again, last]) = (one.as_slice(), three.as_slice())
    else {
        return Err(uneven("the beginning"));
    };
    if open != open_again {
        return Err(uneven("the beginning"));
    }
    if first != second || added_space(first, answer).is_none() || last != answer {
        return Err(uneven("what comes before an answer"));
    }
    if next != next_again {
        return Err(uneven("what follows an answer"));
    }
    let system = match takes_system(template)? {
        None => None,
        Some(around) => {
            let [system, after, first_too, next_too, last_too] = around.as_slice() else {
                return Err(uneven("the beginning"));
            };
            if first_too != first || last_too != answer {
                return Err(uneven("what comes before an answer"));
            }
            if next_too != next {
                return Err(uneven("what follows an answer"));
            }
            Some((system.clone(), after.clone()))
        }
    };
    Ok(Texts { open: open.clone(), system, answer: answer.clone(), next: next.clone() })
}

/// What is around the texts of a conversation that begins with a system text, where the template takes one.
pub(super) fn takes_system(template: &Template) -> Result<Option<Vec<String>>, TemplateError> {
    match template.around(&[System, User, Assistant, User]) {
        Ok(around) => Ok(Some(around)),
        Err(TemplateError::Refused { .. } | TemplateError::Lost { role: System, times: 0, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks which white space the template drops, by giving it some.
pub(super) fn trims(template: &Template, system: bool) -> Result<Trims, PiecesError> {
    const PAD: &str = " ";
    let roles: &[Role] = if system { &[System, User, Assistant, User] } else { &[User, Assistant, User] };
    let (plain, padded) = (template.around(roles)?, template.around_padded(roles, PAD)?);
    // Whether the space behind the text before, and that before the text behind, is there.
    let kept = |(index, (plain, padded)): (usize, (&String, &String))| {
        let pad = |kept: bool| if kept { PAD } else { "" };
        let all = [(false, false), (false, true), (true, false), (true, true)];
        let possible = all.into_iter().filter(|(left, right)| !(index == 0 && *left || index == roles.len() && *right));
        let mut fitting = possible.filter(|(left, right)| *padded == format!("{}{plain}{}", pad(*left), pad(*right)));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    let kept: Option<Vec<_>> = plain.iter().zip(&padded).enumerate().map(kept).collect();
    let kept = kept.ok_or(PiecesError::Uneven { what: "white space around texts" })?;
    let mut trims = Trims::default();
    let mut first_user = true;
    for ((role, before), behind) in roles.iter().zip(&kept).zip(kept.iter().skip(1)) {
        let dropped = (!before.1, !behind.0);
        match role {
            System => trims.system = dropped,
            User if first_user => (trims.user, first_user) = (dropped, false),
            User if trims.user != dropped => return Err(PiecesError::Uneven { what: "white space around texts" }),
            _ => {}
        }
    }
    Ok(trims)
}

/// Words and tokens of a piece.
#[derive(Debug, Default)]
struct Parts {
    head: String,
    ids: Vec<u32>,
    tail: String,
}

/// The section of the pieces of a template, for a vocabulary.
pub fn section(source: &str, vocab: &Vocab<'_>) -> Result<Vec<u8>, PiecesError> {
    let template = Template::new(source, vocab)?;
    let texts = split(&template)?;
    let trims = trims(&template, texts.system.is_some())?;
    let (system, after_system) = texts.system.clone().unwrap_or_default();
    let pieces = [
        beginning(&texts.open, vocab)?,
        if texts.system.is_some() { beginning(&system, vocab)? } else { Parts::default() },
        between(&after_system, vocab)?,
        answer(&texts.answer, vocab)?,
        next(&texts.next, vocab)?,
    ];
    let flags = [texts.system.is_some(), trims.system.0, trims.system.1, trims.user.0, trims.user.1];
    let section = bytes(flags, &pieces);
    check(&template, &section, vocab)?;
    Ok(section)
}

fn bytes(flags: [bool; 5], pieces: &[Parts; 5]) -> Vec<u8> {
    let flags = flags.into_iter().enumerate().fold(0u32, |all, (bit, set)| all | u32::from(set) << bit);
    let mut out = flags.to_le_bytes().to_vec();
    for Parts { head, ids, tail } in pieces {
        for len in [head.len(), ids.len(), tail.len()] {
            out.extend((len as u32).to_le_bytes());
        }
    }
    pieces.iter().flat_map(|piece| &piece.ids).for_each(|id| out.extend(id.to_le_bytes()));
    for piece in pieces {
        out.extend(piece.head.bytes());
        out.extend(piece.tail.bytes());
    }
    out
}

fn encode(text: &str, vocab: &Vocab<'_>) -> Result<Vec<u32>, PiecesError> {
    let options = EncodeOptions { add_bos: false, parse_special: true };
    vocab::encode(vocab, text, options).map_err(|_| PiecesError::Tokens)
}

/// Where the first special token of a text begins and the last one ends.
fn span(text: &str, vocab: &Vocab<'_>) -> Option<(usize, usize)> {
    let all = specials(text, vocab);
    Some((all.first()?.0, all.last()?.1))
}

/// At the beginning of a conversation.
fn beginning(text: &str, vocab: &Vocab<'_>) -> Result<Parts, PiecesError> {
    let end = span(text, vocab).map_or(0, |(_, end)| end);
    let (before, tail) = text.split_at(end);
    let mut ids = encode(before, vocab)?;
    if let Some(bos) = add_bos(vocab, &ids) {
        ids.insert(0, bos);
    }
    Ok(Parts { head: String::new(), ids, tail: tail.into() })
}

/// Between two texts.
fn between(text: &str, vocab: &Vocab<'_>) -> Result<Parts, PiecesError> {
    let Some((start, end)) = span(text, vocab) else { return Ok(Parts { head: text.into(), ..Parts::default() }) };
    Ok(Parts { head: text[..start].into(), ids: encode(&text[start..end], vocab)?, tail: text[end..].into() })
}

/// Between a user's text and the answer, which is not joined with any words.
fn answer(text: &str, vocab: &Vocab<'_>) -> Result<Parts, PiecesError> {
    let Some((start, _)) = span(text, vocab) else { return Ok(Parts { head: text.into(), ..Parts::default() }) };
    Ok(Parts { head: text[..start].into(), ids: encode(&text[start..], vocab)?, tail: String::new() })
}

/// Between the answer and the user's next text.
fn next(text: &str, vocab: &Vocab<'_>) -> Result<Parts, PiecesError> {
    let Parts { head, ids, tail } = between(text, vocab)?;
    if ids.is_empty() {
        return Ok(Parts { head, ids, tail });
    }
    let (mut all, _) = vocab::encode_continuing(vocab, &head, true).map_err(|_| PiecesError::Tokens)?;
    all.extend(ids);
    Ok(Parts { head: String::new(), ids: all, tail })
}

/// Compares what the pieces give with the tokens of what the template writes.
fn check(template: &Template, section: &[u8], vocab: &Vocab<'_>) -> Result<(), PiecesError> {
    let aligned = aligned(section);
    let chat = Chat::new(aligned.bytes(), vocab.vocab_size()).map_err(|_| PiecesError::Tokens)?;
    let [system, user, said, more] = ["Be brief.", "Hello, who are you?", "I am a model.", "What is 12 + 3?"];
    for system in [None, chat.takes_system.then_some(system)] {
        let turn = |turn, continues| {
            let mut builder = Builder::new(*vocab);
            if continues {
                builder.ids(&[], true);
            }
            let atoms = chat.atoms(turn).map_err(|_| PiecesError::Tokens)?;
            for atom in atoms {
                match atom {
                    Atom::Text(text) => builder.text(text),
                    Atom::Ids(ids) => builder.ids(ids, false),
                }
            }
            builder.result().map(|(ids, _)| ids).map_err(|_| PiecesError::Tokens)
        };
        let first = turn(Turn::First { system, user }, false)?;
        let second = turn(Turn::Next { user: more }, true)?;
        let messages = [(User, user), (Assistant, said), (User, more)];
        let messages: Vec<_> = system.map(|system| (System, system)).into_iter().chain(messages).collect();
        let mut whole = encode(&template.render(&messages)?, vocab)?;
        if let Some(bos) = add_bos(vocab, &whole) {
            whole.insert(0, bos);
        }
        let answer = whole.strip_prefix(first.as_slice()).and_then(|rest| rest.strip_suffix(second.as_slice()));
        let answer = answer.and_then(|ids| vocab::decode(vocab, ids, true).ok()).ok_or(PiecesError::Tokens)?;
        if String::from_utf8_lossy(&answer).trim() != said {
            return Err(PiecesError::Tokens);
        }
    }
    Ok(())
}
