//! Opens a vocabulary section: every length, offset, id and order is proven here, once.

use super::error::{Table, VocabError};
use super::layout::{self, NONE};
use super::pretokenize::PreTokenizer;
use super::tables::{Ids, Merges, Reader};
use super::vocab::{TokenKind, Vocab, VocabModel, is_bpe};

/// The header's fields that size the tables.
struct Header {
    model: VocabModel,
    flags: u32,
    tokens: u32,
    merges: u32,
    bos: u32,
    eos: u32,
    unknown: u32,
    sorted: u32,
    specials: u32,
    stops: u32,
    blob: u32,
}

pub(super) fn open(section: &[u8]) -> Result<Vocab<'_>, VocabError> {
    let mut reader = Reader::new(section);
    let header = header(&mut reader)?;
    let wide = header.flags & layout::FLAG_WIDE != 0;
    let tokens = u64::from(header.tokens);
    let bpe = is_bpe(&header.model);

    let offsets = reader.table(Table::Offsets, tokens + 1)?;
    let kinds = reader.table(Table::Kinds, tokens)?;
    let scores = reader.table(Table::Scores, if bpe { 0 } else { tokens })?;
    let sorted = reader.ids(Table::Sorted, wide, header.sorted.into())?;
    let byte_ids = reader.table(Table::ByteIds, 256)?;
    let (mut merge_starts, mut merges) = (Ids::NONE, Merges::NONE);
    if bpe {
        merge_starts = reader.ids(Table::MergeStarts, wide, tokens + 1)?;
        merges = reader.merges(wide, header.merges.into())?;
    }
    let specials = reader.table(Table::Specials, header.specials.into())?;
    let stops = reader.table(Table::Stops, header.stops.into())?;
    let blob = reader.table::<1>(Table::Blob, header.blob.into())?.as_flattened();
    match reader.left() {
        0 => {}
        got => return Err(VocabError::TrailingBytes { got }),
    }

    let mut vocab = Vocab {
        model: header.model,
        vocab_size: header.tokens,
        bos: special(header.bos, 0, header.tokens)?,
        eos: special(header.eos, 1, header.tokens)?,
        unknown: special(header.unknown, 2, header.tokens)?,
        add_bos: header.flags & layout::FLAG_ADD_BOS != 0,
        offsets,
        kinds,
        scores,
        sorted,
        byte_ids,
        merge_starts,
        merges,
        specials,
        stops,
        blob,
        special_starts: [0; 8],
        has_user_defined: false,
        max_token_bytes: 0,
    };
    check_tokens(&mut vocab)?;
    check_sorted(&vocab)?;
    check_byte_ids(&vocab)?;
    check_merges(&vocab)?;
    check_specials(&mut vocab)?;
    for (index, id) in (0..).zip(vocab.stops()) {
        in_range(Table::Stops, index, id, header.tokens)?;
    }
    Ok(vocab)
}

fn header(reader: &mut Reader<'_>) -> Result<Header, VocabError> {
    let words: &[[u8; 4]] = reader.table(Table::Header, layout::HEADER_BYTES as u64 / 4)?;
    let mut words = words.iter();
    let mut next = || words.next().copied().unwrap_or_default();
    let magic = u32::from_le_bytes(next());
    if magic != layout::MAGIC {
        return Err(VocabError::BadMagic { got: magic });
    }
    let [v0, v1, model, pre] = next();
    let version = u16::from_le_bytes([v0, v1]);
    if version != layout::VERSION {
        return Err(VocabError::UnknownVersion { got: version });
    }
    let mut next = || u32::from_le_bytes(next());
    let flags = next();
    let feature = match model {
        layout::MODEL_BPE if !cfg!(feature = "vocab-bpe") => "vocab-bpe",
        layout::MODEL_SENTENCEPIECE if !cfg!(feature = "vocab-sentencepiece") => "vocab-sentencepiece",
        _ => "",
    };
    if !feature.is_empty() {
        return Err(VocabError::LeftOut { feature });
    }
    let (model, allowed) = match model {
        layout::MODEL_BPE if cfg!(feature = "vocab-bpe") => {
            let pre = PreTokenizer::from_code(pre).ok_or(VocabError::UnknownPreTokenizer { got: pre })?;
            (VocabModel::Bpe(pre), layout::FLAG_ADD_BOS | layout::FLAG_WIDE)
        }
        layout::MODEL_SENTENCEPIECE if pre == 0 && cfg!(feature = "vocab-sentencepiece") => {
            let add_space_prefix = flags & layout::FLAG_SPACE_PREFIX != 0;
            let allowed = layout::FLAG_ADD_BOS | layout::FLAG_WIDE | layout::FLAG_SPACE_PREFIX;
            (VocabModel::SentencePiece { add_space_prefix }, allowed)
        }
        layout::MODEL_SENTENCEPIECE => return Err(VocabError::UnknownPreTokenizer { got: pre }),
        got => return Err(VocabError::UnknownModel { got }),
    };
    if flags & !allowed != 0 {
        return Err(VocabError::UnknownFlags { got: flags & !allowed });
    }
    let header = Header {
        model,
        flags,
        tokens: next(),
        merges: next(),
        bos: next(),
        eos: next(),
        unknown: next(),
        sorted: next(),
        specials: next(),
        stops: next(),
        blob: next(),
    };
    let reserved = next() | next() | next() | next();
    if reserved != 0 {
        return Err(VocabError::UnknownFlags { got: reserved });
    }
    if header.tokens == 0 || header.tokens > layout::MAX_TOKENS {
        return Err(VocabError::TokenCount { got: header.tokens });
    }
    if !is_bpe(&model) && header.merges != 0 {
        return Err(VocabError::EntryCount { table: Table::Merges, need: 0, got: header.merges });
    }
    if flags & layout::FLAG_ADD_BOS != 0 && header.bos == NONE {
        return Err(VocabError::BadEntry { table: Table::Header, index: 0, got: NONE });
    }
    Ok(header)
}

fn in_range(table: Table, index: u32, id: u32, vocab_size: u32) -> Result<(), VocabError> {
    if id < vocab_size { Ok(()) } else { Err(VocabError::IdOutOfRange { table, index, id, vocab_size }) }
}

/// An id of the header that may be absent; `index` counts them (BOS, EOS, unknown).
fn special(id: u32, index: u32, vocab_size: u32) -> Result<Option<u32>, VocabError> {
    if id == NONE {
        return Ok(None);
    }
    in_range(Table::Header, index, id, vocab_size).map(|()| Some(id))
}

/// Offsets, kinds and scores; finds the longest token.
fn check_tokens(vocab: &mut Vocab<'_>) -> Result<(), VocabError> {
    let mut end = 0;
    for (index, offset) in (0..).zip(vocab.offsets) {
        let offset = u32::from_le_bytes(*offset);
        if offset < end || (index == 0 && offset != 0) {
            return Err(VocabError::NotSorted { table: Table::Offsets, index });
        }
        vocab.max_token_bytes = vocab.max_token_bytes.max((offset - end) as usize);
        end = offset;
    }
    if end as usize != vocab.blob.len() {
        return Err(VocabError::BadEntry { table: Table::Offsets, index: vocab.vocab_size, got: end });
    }
    for (index, [code]) in (0..).zip(vocab.kinds) {
        let kind = TokenKind::from_code(*code);
        if kind.is_none() || (kind == Some(TokenKind::Byte) && vocab.token_len(index) != 1) {
            return Err(VocabError::BadEntry { table: Table::Kinds, index, got: (*code).into() });
        }
    }
    for (index, score) in (0..).zip(vocab.scores) {
        if f32::from_le_bytes(*score).is_nan() {
            return Err(VocabError::BadEntry { table: Table::Scores, index, got: u32::from_le_bytes(*score) });
        }
    }
    Ok(())
}

/// How many tokens with bytes have one of the kinds asked for.
fn count(vocab: &Vocab<'_>, wanted: impl Fn(TokenKind) -> bool) -> u32 {
    let mut n = 0;
    for id in 0..vocab.vocab_size {
        n += u32::from(vocab.kind(id).is_some_and(&wanted) && vocab.token_len(id) != 0);
    }
    n
}

/// All text tokens are there, in strict order of (bytes, id).
fn check_sorted(vocab: &Vocab<'_>) -> Result<(), VocabError> {
    let (need, got) = (count(vocab, TokenKind::is_text), vocab.sorted.len() as u32);
    if need != got {
        return Err(VocabError::EntryCount { table: Table::Sorted, need, got });
    }
    let mut before: Option<(&[u8], u32)> = None;
    for (index, id) in (0..).zip(vocab.sorted.iter()) {
        in_range(Table::Sorted, index, id, vocab.vocab_size)?;
        let bytes = vocab.token_bytes(id).unwrap_or_default();
        if bytes.is_empty() || !vocab.kind(id).is_some_and(TokenKind::is_text) {
            return Err(VocabError::BadEntry { table: Table::Sorted, index, got: id });
        }
        if before.is_some_and(|before| before >= (bytes, id)) {
            return Err(VocabError::NotSorted { table: Table::Sorted, index });
        }
        before = Some((bytes, id));
    }
    Ok(())
}

/// A byte's token is that byte, and of the kind that the algorithm uses.
fn check_byte_ids(vocab: &Vocab<'_>) -> Result<(), VocabError> {
    let bpe = vocab.is_bpe();
    for ((index, byte), id) in (0..).zip(0..=255_u8).zip(vocab.byte_ids) {
        let id = u32::from_le_bytes(*id);
        if id == NONE {
            continue;
        }
        in_range(Table::ByteIds, index, id, vocab.vocab_size)?;
        let kind = vocab.kind(id);
        let fits = kind == Some(TokenKind::Byte) || (bpe && kind.is_some_and(TokenKind::is_text));
        if !fits || vocab.token_bytes(id) != Some(&[byte]) {
            return Err(VocabError::BadEntry { table: Table::ByteIds, index, got: id });
        }
    }
    Ok(())
}

/// Starts ascend over the whole table; rights ascend inside a left; every merge spells its token.
fn check_merges(vocab: &Vocab<'_>) -> Result<(), VocabError> {
    if !vocab.is_bpe() || vocab.merge_starts.len() == 0 {
        return Ok(());
    }
    let mut starts = vocab.merge_starts.iter();
    let mut at = starts.next().unwrap_or_default();
    if at != 0 {
        return Err(VocabError::NotSorted { table: Table::MergeStarts, index: 0 });
    }
    for (left, end) in (0..).zip(starts) {
        if end < at || end as usize > vocab.merges.len() {
            return Err(VocabError::NotSorted { table: Table::MergeStarts, index: left });
        }
        let mut before = None;
        for index in at..end {
            let Some(merge) = vocab.merges.get(index as usize) else { continue };
            in_range(Table::Merges, index, merge.right, vocab.vocab_size)?;
            in_range(Table::Merges, index, merge.merged, vocab.vocab_size)?;
            if before >= Some(merge.right) {
                return Err(VocabError::NotSorted { table: Table::Merges, index });
            }
            before = Some(merge.right);
            if merge.rank == u32::MAX {
                return Err(VocabError::BadEntry { table: Table::Merges, index, got: merge.rank });
            }
            if !spells(vocab, left, merge.right, merge.merged) {
                return Err(VocabError::MergeMismatch { left, right: merge.right, merged: merge.merged });
            }
        }
        at = end;
    }
    if at as usize != vocab.merges.len() {
        return Err(VocabError::BadEntry { table: Table::MergeStarts, index: vocab.vocab_size, got: at });
    }
    Ok(())
}

/// Whether both parts have bytes and `merged` is one after the other.
fn spells(vocab: &Vocab<'_>, left: u32, right: u32, merged: u32) -> bool {
    let [Some(left), Some(right), Some(merged)] = [left, right, merged].map(|id| vocab.token_bytes(id)) else {
        return false;
    };
    !left.is_empty() && !right.is_empty() && merged.strip_prefix(left) == Some(right)
}

/// All special tokens are there, longest first, then by id; notes what they begin with.
fn check_specials(vocab: &mut Vocab<'_>) -> Result<(), VocabError> {
    let (need, got) = (count(vocab, TokenKind::is_special), vocab.specials.len() as u32);
    if need != got {
        return Err(VocabError::EntryCount { table: Table::Specials, need, got });
    }
    let mut before = None;
    for (index, id) in (0..).zip(vocab.specials()) {
        in_range(Table::Specials, index, id, vocab.vocab_size)?;
        let kind = vocab.kind(id);
        let Some(first) =
            vocab.token_bytes(id).and_then(<[u8]>::first).filter(|_| kind.is_some_and(TokenKind::is_special))
        else {
            return Err(VocabError::BadEntry { table: Table::Specials, index, got: id });
        };
        let order = (core::cmp::Reverse(vocab.token_len(id)), id);
        if before.is_some_and(|before| before >= order) {
            return Err(VocabError::NotSorted { table: Table::Specials, index });
        }
        before = Some(order);
        if let Some(bits) = vocab.special_starts.get_mut(usize::from(first >> 5)) {
            *bits |= 1 << (first & 31);
        }
        vocab.has_user_defined |= kind == Some(TokenKind::UserDefined);
    }
    Ok(())
}
