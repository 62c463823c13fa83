//! Where sentences end, in tokens.

use pipsqueak::{
    Vocab,
    tokenizer::{DecodeError, Decoder},
};

/// What may follow a sentence's last mark and still belongs to it.
const CLOSING: [char; 7] = ['"', '\'', '\u{201d}', '\u{2019}', ')', ']', '*'];

/// The numbers of tokens after which a sentence is at its end: a full stop, a question or exclamation mark, perhaps a closing
/// quotation mark or bracket, then white space or nothing. (So it ends after "Mr." too.)
///
/// # Errors
/// [`DecodeError::UnknownToken`]
pub(super) fn sentence_ends(vocab: &Vocab<'_>, ids: &[u32]) -> Result<Vec<usize>, DecodeError> {
    let (mut decoder, mut text) = (Decoder::new(*vocab, false), Vec::new());
    let mut ends = Vec::with_capacity(ids.len());
    for id in ids {
        text.extend(decoder.push_raw(*id)?);
        ends.push(text.len());
    }
    let at_end = |&(count, at): &(usize, usize)| {
        let (before, behind) = text.split_at(at);
        let start = if count < 2 { 0 } else { ends[count - 2] };
        // White space alone, or nothing, as BOS is, ends no sentence once more.
        let adds = !before[start..].trim_ascii().is_empty();
        let free = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_whitespace);
        adds && (free(behind.first()) || free(before.last())) && ends_sentence(before)
    };
    Ok((1..).zip(ends.iter().copied()).filter(at_end).map(|(count, _)| count).collect())
}

/// Whether a text that ends in these bytes ends with a sentence.
fn ends_sentence(text: &[u8]) -> bool {
    // As much as ends and closing marks may be; a character cut in two at its beginning is none of them.
    let tail = text.len().saturating_sub(16);
    let tail = String::from_utf8_lossy(&text[tail..]);
    tail.trim_end().trim_end_matches(CLOSING).ends_with(['.', '!', '?', '\u{2026}', '\u{3002}'])
}

#[cfg(test)]
mod tests {
    use pipsqueak::tokenizer::EncodeOptions;

    use super::*;
    use crate::{
        corpus::train_bpe,
        vocab::{build, decode, encode},
    };

    #[test]
    fn sentences_end_at_marks_before_white_space() {
        let section = build(&train_bpe(["text text"], 260).unwrap()).unwrap();
        let vocab = Vocab::new(&section).unwrap();
        // Where a bar stands.
        for marked in [
            "It is.| So?| \"Yes!\"| (No.)| On",
            "3.5 is.|",
            "none",
            "\u{201c}Oui\u{2026}\u{201d}|\n\nEt",
            "",
            "a.\u{fe0f}",
        ] {
            let (text, mut ids) = (marked.replace('|', ""), vec![0]);
            ids.extend(encode(&vocab, &text, EncodeOptions::default()).unwrap());
            let mut got = text.clone();
            for count in sentence_ends(&vocab, &ids).unwrap().into_iter().rev() {
                got.insert(decode(&vocab, &ids[..count], false).unwrap().len(), '|');
            }
            assert_eq!(got, marked);
        }
    }
}
