//! Packs a vocabulary into the section that the engine reads in place.

use std::collections::HashSet;
use std::fmt;

use pipsqueak::tokenizer::{Vocab, VocabError, layout};

use super::{Token, TokenKind, VocabModel, VocabSource};

/// Why a vocabulary cannot become an image's section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabBuildError {
    /// No tokens, or too many.
    TokenCount {
        /// The number.
        got: usize,
        /// The most there may be.
        max: usize,
    },
    /// Something names a token that does not exist.
    IdOutOfRange {
        /// What names it: "bos", "merge 17".
        what: &'static str,
        /// Which of several.
        index: usize,
        /// The id.
        id: u32,
        /// The number of tokens.
        vocab_size: usize,
    },
    /// A byte token that is not one byte.
    ByteTokenLen {
        /// The token.
        id: u32,
        /// Its bytes.
        got: usize,
    },
    /// A score that is not a number.
    ScoreNotANumber {
        /// The token.
        id: u32,
    },
    /// A merge whose token is not its left part and its right part, or one with an empty part.
    MergeMismatch {
        /// The merge's rank.
        rank: usize,
        /// Left, right, merged.
        ids: [u32; 3],
    },
    /// Merges in a SentencePiece vocabulary, or the rule to ignore them: it has scores instead.
    MergesUnexpected {
        /// How many.
        got: usize,
    },
    /// The model expects BOS before every text, but there is no BOS.
    NoBos,
    /// A table has more entries, or more bytes, than 32 bits count.
    TooLarge {
        /// The table.
        what: &'static str,
        /// Entries or bytes.
        got: usize,
    },
    /// The finished section is not accepted by the reader: a fault in this program.
    Check(VocabError),
}

impl fmt::Display for VocabBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TokenCount { got, max } => write!(f, "vocabulary of {got} tokens: from 1 to {max} are possible"),
            Self::IdOutOfRange { what, index, id, vocab_size } => {
                write!(f, "vocabulary: {what} {index} names token {id}, there are {vocab_size}")
            }
            Self::ByteTokenLen { id, got } => write!(f, "vocabulary: byte token {id} has {got} bytes, not 1"),
            Self::ScoreNotANumber { id } => write!(f, "vocabulary: the score of token {id} is not a number"),
            Self::MergeMismatch { rank, ids: [left, right, merged] } => {
                write!(f, "vocabulary: merge {rank}, {left} + {right}, does not spell token {merged}")
            }
            Self::MergesUnexpected { got } => {
                write!(f, "SentencePiece vocabulary with {got} merges: it has scores instead")
            }
            Self::NoBos => f.write_str("vocabulary: BOS is expected before every text, but there is no BOS"),
            Self::TooLarge { what, got } => write!(f, "vocabulary: {what}: {got} do not fit 32 bits"),
            Self::Check(error) => write!(f, "the packed vocabulary is not accepted: {error}"),
        }
    }
}

impl std::error::Error for VocabBuildError {}

/// Packs a vocabulary into the section that [`pipsqueak::tokenizer::Vocab`] reads.
///
/// Of tokens with the same bytes the lowest id is found in text; of merges with the same parts the first counts.
///
/// # Errors
/// [`VocabBuildError`] names the token or merge that is wrong.
pub fn build(source: &VocabSource) -> Result<Vec<u8>, VocabBuildError> {
    check(source)?;
    let tokens = &source.tokens;
    let merges = sorted_merges(source);
    let bpe = matches!(source.model, VocabModel::Bpe(_));
    let wide = tokens.len() > 1 << 16 || merges.len() > usize::from(u16::MAX);

    let ids = |wanted: fn(TokenKind) -> bool| {
        let has_bytes = |&(_, token): &(u32, &Token)| wanted(token.kind) && !token.bytes.is_empty();
        (0_u32..).zip(tokens).filter(has_bytes).collect::<Vec<_>>()
    };
    let mut sorted = ids(|kind| kind == TokenKind::Normal);
    sorted.sort_by(|(a_id, a), (b_id, b)| a.bytes.cmp(&b.bytes).then(a_id.cmp(b_id)));
    let mut specials = ids(|kind| matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown));
    specials.sort_by_key(|(id, token)| (std::cmp::Reverse(token.bytes.len()), *id));
    let byte_id = |byte: u8| {
        let fits = |token: &Token| match token.kind {
            TokenKind::Byte => token.bytes == [byte],
            TokenKind::Normal => bpe && token.bytes == [byte],
            _ => false,
        };
        tokens.iter().position(fits).map_or(layout::NONE, |id| id as u32)
    };
    let blob_len = count("token bytes", tokens.iter().map(|token| token.bytes.len()).sum())?;

    let mut out = Writer { bytes: vec![], wide };
    out.header(source, &merges, [sorted.len(), specials.len(), source.stops.len()], blob_len)?;
    let mut offset = 0;
    for token in tokens {
        out.u32(offset);
        offset += token.bytes.len() as u32;
    }
    out.u32(offset);
    out.bytes(&tokens.iter().map(|token| kind_code(token.kind)).collect::<Vec<_>>());
    if !bpe {
        tokens.iter().for_each(|token| out.u32(token.score.to_bits()));
    }
    out.ids(sorted.iter().map(|(id, _)| *id));
    (0..=255).for_each(|byte| out.u32(byte_id(byte)));
    if bpe {
        out.ids((0..=tokens.len() as u32).map(|left| merges.partition_point(|merge| merge.left < left) as u32));
    }
    out.ids(merges.iter().flat_map(|merge| [merge.right, merge.rank, merge.merged]));
    specials.iter().for_each(|(id, _)| out.u32(*id));
    source.stops.iter().for_each(|id| out.u32(*id));
    out.bytes(&tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect::<Vec<_>>());

    Vocab::new(&out.bytes).map_err(VocabBuildError::Check)?;
    Ok(out.bytes)
}

/// A merge with its rank, once the list is sorted by its parts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RankedMerge {
    left: u32,
    right: u32,
    rank: u32,
    merged: u32,
}

/// Sorted by left and right; of equals the first stays; ranks are counted anew without the others.
fn sorted_merges(source: &VocabSource) -> Vec<RankedMerge> {
    let mut seen = HashSet::new();
    let first = source.merges.iter().filter(|&&[left, right, _]| seen.insert((left, right)));
    let ranked = (0..).zip(first).map(|(rank, &[left, right, merged])| RankedMerge { left, right, rank, merged });
    let mut merges: Vec<_> = ranked.collect();
    merges.sort();
    merges
}

fn check(source: &VocabSource) -> Result<(), VocabBuildError> {
    let vocab_size = source.tokens.len();
    let max = layout::MAX_TOKENS as usize;
    if vocab_size == 0 || vocab_size > max {
        return Err(VocabBuildError::TokenCount { got: vocab_size, max });
    }
    let in_range = |what, index, id: u32| {
        let error = VocabBuildError::IdOutOfRange { what, index, id, vocab_size };
        if (id as usize) < vocab_size { Ok(()) } else { Err(error) }
    };
    for (what, id) in [("bos", source.bos), ("eos", source.eos), ("unknown", source.unknown)] {
        id.map_or(Ok(()), |id| in_range(what, 0, id))?;
    }
    for (index, &id) in source.stops.iter().enumerate() {
        in_range("stop", index, id)?;
    }
    if source.add_bos && source.bos.is_none() {
        return Err(VocabBuildError::NoBos);
    }
    for (id, token) in (0..).zip(&source.tokens) {
        if token.kind == TokenKind::Byte && token.bytes.len() != 1 {
            return Err(VocabBuildError::ByteTokenLen { id, got: token.bytes.len() });
        }
        if token.score.is_nan() {
            return Err(VocabBuildError::ScoreNotANumber { id });
        }
    }
    if (source.ignore_merges || !source.merges.is_empty()) && !matches!(source.model, VocabModel::Bpe(_)) {
        return Err(VocabBuildError::MergesUnexpected { got: source.merges.len() });
    }
    for (rank, &ids) in source.merges.iter().enumerate() {
        ids.iter().try_for_each(|&id| in_range("merge", rank, id))?;
        let [left, right, merged] = ids.map(|id| source.tokens[id as usize].bytes.as_slice());
        if left.is_empty() || right.is_empty() || [left, right].concat() != merged {
            return Err(VocabBuildError::MergeMismatch { rank, ids });
        }
    }
    Ok(())
}

fn kind_code(kind: TokenKind) -> u8 {
    use pipsqueak::tokenizer::TokenKind as Stored;
    let stored = match kind {
        TokenKind::Normal => Stored::Normal,
        TokenKind::Unknown => Stored::Unknown,
        TokenKind::Control => Stored::Control,
        TokenKind::UserDefined => Stored::UserDefined,
        TokenKind::Byte => Stored::Byte,
        TokenKind::Unused => Stored::Unused,
    };
    stored as u8
}

fn count(what: &'static str, got: usize) -> Result<u32, VocabBuildError> {
    u32::try_from(got).map_err(|_| VocabBuildError::TooLarge { what, got })
}

/// Writes tables, each filled up to a multiple of four bytes.
struct Writer {
    bytes: Vec<u8>,
    wide: bool,
}

impl Writer {
    fn header(
        &mut self,
        source: &VocabSource,
        merges: &[RankedMerge],
        [sorted, specials, stops]: [usize; 3],
        blob_len: u32,
    ) -> Result<(), VocabBuildError> {
        let (model, pre, prefix) = match source.model {
            VocabModel::Bpe(pre) => (layout::MODEL_BPE, pre.code(), false),
            VocabModel::SentencePiece { add_space_prefix } => (layout::MODEL_SENTENCEPIECE, 0, add_space_prefix),
        };
        let flag = |on, bit| if on { bit } else { 0 };
        self.u32(layout::MAGIC);
        self.bytes.extend(layout::VERSION.to_le_bytes());
        self.bytes.extend([model, pre]);
        self.u32(
            flag(source.add_bos, layout::FLAG_ADD_BOS)
                | flag(prefix, layout::FLAG_SPACE_PREFIX)
                | flag(self.wide, layout::FLAG_WIDE)
                | flag(source.ignore_merges, layout::FLAG_IGNORE_MERGES),
        );
        self.u32(count("tokens", source.tokens.len())?);
        self.u32(count("merges", merges.len())?);
        for id in [source.bos, source.eos, source.unknown] {
            self.u32(id.unwrap_or(layout::NONE));
        }
        self.u32(count("text tokens", sorted)?);
        self.u32(count("special tokens", specials)?);
        self.u32(count("stop tokens", stops)?);
        self.u32(blob_len);
        self.bytes.resize(layout::HEADER_BYTES, 0);
        Ok(())
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn ids(&mut self, ids: impl Iterator<Item = u32>) {
        let wide = self.wide;
        let narrow = |id: u32| id.to_le_bytes().into_iter().take(if wide { 4 } else { 2 });
        self.bytes(&ids.flat_map(narrow).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use pipsqueak::tokenizer::PreTokenizer;

    use super::*;

    fn token(bytes: &[u8], kind: TokenKind) -> Token {
        Token { bytes: bytes.to_vec(), score: 0.0, kind }
    }

    /// `a`, `b`, `ab`, a control token, and `a` once more.
    fn source() -> VocabSource {
        let normal = TokenKind::Normal;
        VocabSource {
            model: VocabModel::Bpe(PreTokenizer::Gpt2),
            tokens: vec![
                token(b"a", normal),
                token(b"b", normal),
                token(b"ab", normal),
                token(b"<s>", TokenKind::Control),
                token(b"a", normal),
            ],
            merges: vec![[0, 1, 2], [0, 1, 2]],
            bos: Some(3),
            eos: None,
            unknown: None,
            stops: vec![3],
            add_bos: true,
            ignore_merges: false,
        }
    }

    #[test]
    fn a_section_holds_what_the_source_says() {
        let section = build(&source()).unwrap();
        let vocab = Vocab::new(&section).unwrap();
        assert_eq!((vocab.vocab_size(), vocab.merge_count(), vocab.max_token_bytes()), (5, 1, 3));
        assert_eq!((vocab.bos(), vocab.eos(), vocab.unknown(), vocab.add_bos()), (Some(3), None, None, true));
        assert_eq!((vocab.token_id(b"a"), vocab.token_id(b"ab"), vocab.token_id(b"<s>")), (Some(0), Some(2), None));
        assert_eq!((vocab.byte_id(b'a'), vocab.byte_id(b'c'), vocab.special_id("<s>")), (Some(0), None, Some(3)));
        assert_eq!((vocab.token_bytes(3), vocab.token_bytes(5)), (Some(&b"<s>"[..]), None));
        assert_eq!(vocab.stops().collect::<Vec<_>>(), [3]);
        assert_eq!(vocab.model(), pipsqueak::tokenizer::VocabModel::Bpe(pipsqueak::tokenizer::PreTokenizer::Gpt2));
    }

    #[test]
    fn wrong_sources_are_named() {
        let with = |change: fn(&mut VocabSource)| {
            let mut source = source();
            change(&mut source);
            build(&source).unwrap_err()
        };
        let range = |what, index, id| VocabBuildError::IdOutOfRange { what, index, id, vocab_size: 5 };
        assert_eq!(with(|s| s.tokens.clear()), VocabBuildError::TokenCount { got: 0, max: 1 << 24 });
        assert_eq!(with(|s| s.eos = Some(5)), range("eos", 0, 5));
        assert_eq!(with(|s| s.stops.push(9)), range("stop", 1, 9));
        assert_eq!(with(|s| s.merges.push([1, 0, 7])), range("merge", 2, 7));
        assert_eq!(with(|s| s.bos = None), VocabBuildError::NoBos);
        assert_eq!(with(|s| s.tokens[1].score = f32::NAN), VocabBuildError::ScoreNotANumber { id: 1 });
        assert_eq!(with(|s| s.tokens[2].kind = TokenKind::Byte), VocabBuildError::ByteTokenLen { id: 2, got: 2 });
        assert_eq!(with(|s| s.merges[1] = [1, 0, 2]), VocabBuildError::MergeMismatch { rank: 1, ids: [1, 0, 2] });
        let scores = |s: &mut VocabSource| s.model = VocabModel::SentencePiece { add_space_prefix: true };
        assert_eq!(with(scores), VocabBuildError::MergesUnexpected { got: 2 });
    }
}
