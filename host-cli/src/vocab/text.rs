//! Whole texts to tokens and back, with memory from the heap.

use pipsqueak::tokenizer::{
    DecodeError, Decoder, EncodeError, EncodeOptions, Encoder, Progress, TokenKind, Vocab, max_tokens, scratch_len,
};

/// All tokens of a text.
///
/// # Errors
/// [`EncodeError::NoBos`] and [`EncodeError::TextTooLong`]; memory is always enough.
pub fn encode(vocab: &Vocab<'_>, text: &str, options: EncodeOptions) -> Result<Vec<u32>, EncodeError> {
    encode_counting(vocab, text, options).map(|(tokens, _)| tokens)
}

/// As [`encode`], with the number of bytes that the vocabulary has no token for and that were left out.
///
/// # Errors
/// As [`encode`].
pub fn encode_counting(
    vocab: &Vocab<'_>,
    text: &str,
    options: EncodeOptions,
) -> Result<(Vec<u32>, usize), EncodeError> {
    let mut tokens = vec![0; max_tokens(text.len())];
    let mut scratch = vec![0; scratch_len(text.len())];
    let mut encoder = Encoder::new(*vocab, text, options, &mut tokens, &mut scratch)?;
    while encoder.step(u32::MAX)? == Progress::More {}
    let (len, lost) = (encoder.len(), encoder.unspelled_bytes());
    tokens.truncate(len);
    tokens.shrink_to_fit();
    Ok((tokens, lost))
}

/// The tokens of a text that goes on from other tokens, and the number of bytes left out: as [`encode_counting`], but
/// SentencePiece puts no space before it.
///
/// # Errors
/// As [`encode`].
pub fn encode_continuing(vocab: &Vocab<'_>, text: &str, parse_special: bool) -> Result<(Vec<u32>, usize), EncodeError> {
    let options = EncodeOptions { add_bos: false, parse_special };
    // Only its first fragment goes on from something.
    let ids = encode(&vocab.continuing(), text, options)?;
    let name = |id: &u32| {
        let special = matches!(vocab.kind(*id), Some(TokenKind::Control | TokenKind::UserDefined));
        std::str::from_utf8(vocab.token_bytes(*id)?).ok().filter(|name| special && !name.is_empty())
    };
    let first = ids.iter().find_map(name).and_then(|name| text.find(name)).unwrap_or(text.len());
    let (before, rest) = text.split_at(first);
    let (mut ids, lost) = encode_counting(&vocab.continuing(), before, options)?;
    let (more, more_lost) = encode_counting(vocab, rest, options)?;
    ids.extend(more);
    Ok((ids, lost + more_lost))
}

/// The text of some tokens, byte for byte; with `special`, control tokens give their names.
///
/// # Errors
/// [`DecodeError::UnknownToken`]
pub fn decode(vocab: &Vocab<'_>, ids: &[u32], special: bool) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(*vocab, special);
    let mut text = vec![];
    for &id in ids {
        text.extend(decoder.push_raw(id)?);
    }
    Ok(text)
}
