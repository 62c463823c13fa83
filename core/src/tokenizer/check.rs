//! Opens a vocabulary section: every length, offset, id and order is proven here, once. The compiler can do it too, for a
//! model that is part of a firmware: hence loops and matches where iterators and `?` would do.

use core::cmp::Ordering;

use super::error::{Table, VocabError};
use super::layout::{self, NONE};
use super::pretokenize::PreTokenizer;
use super::tables::{Ids, Merges, Reader, entry, word};
use super::vocab::{TokenKind, Vocab, VocabModel, is_bpe, start_bits};

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

pub(super) const fn open(section: &[u8]) -> Result<Vocab<'_>, VocabError> {
    let mut reader = Reader::new(section);
    let header = tri!(header(&mut reader));
    let wide = header.flags & layout::FLAG_WIDE != 0;
    let tokens = header.tokens as u64;
    let bpe = is_bpe(&header.model);

    let offsets = tri!(reader.table(Table::Offsets, tokens + 1));
    let kinds = tri!(reader.table(Table::Kinds, tokens));
    let scores = tri!(reader.table(Table::Scores, if bpe { 0 } else { tokens }));
    let sorted = tri!(reader.ids(Table::Sorted, wide, header.sorted as u64));
    let byte_ids = tri!(reader.table(Table::ByteIds, 256));
    let (mut merge_starts, mut merges) = (Ids::NONE, Merges::NONE);
    if bpe {
        merge_starts = tri!(reader.ids(Table::MergeStarts, wide, tokens + 1));
        merges = tri!(reader.merges(wide, header.merges as u64));
    }
    let specials = tri!(reader.table(Table::Specials, header.specials as u64));
    let stops = tri!(reader.table(Table::Stops, header.stops as u64));
    let blob = tri!(reader.table::<1>(Table::Blob, header.blob as u64)).as_flattened();
    match reader.left() {
        0 => {}
        got => return Err(VocabError::TrailingBytes { got }),
    }

    let mut vocab = Vocab {
        model: header.model,
        vocab_size: header.tokens,
        bos: tri!(special(header.bos, 0, header.tokens)),
        eos: tri!(special(header.eos, 1, header.tokens)),
        unknown: tri!(special(header.unknown, 2, header.tokens)),
        add_bos: header.flags & layout::FLAG_ADD_BOS != 0,
        ignore_merges: header.flags & layout::FLAG_IGNORE_MERGES != 0,
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
    tri!(check_tokens(&mut vocab));
    tri!(check_sorted(&vocab));
    tri!(check_byte_ids(&vocab));
    tri!(check_merges(&vocab));
    tri!(check_specials(&mut vocab));
    let mut index = 0;
    while let Some(id) = word(stops, index as usize) {
        tri!(in_range(Table::Stops, index, id, header.tokens));
        index += 1;
    }
    Ok(vocab)
}

const fn header(reader: &mut Reader<'_>) -> Result<Header, VocabError> {
    let words: &[[u8; 4]] = tri!(reader.table(Table::Header, layout::HEADER_BYTES as u64 / 4));
    let Some(magic) = word(words, 0) else { return Err(VocabError::BadMagic { got: 0 }) };
    if magic != layout::MAGIC {
        return Err(VocabError::BadMagic { got: magic });
    }
    let Some([v0, v1, model, pre]) = entry(words, 1) else { return Err(VocabError::UnknownVersion { got: 0 }) };
    let (version, model, pre) = (u16::from_le_bytes([*v0, *v1]), *model, *pre);
    if version != layout::VERSION {
        return Err(VocabError::UnknownVersion { got: version });
    }
    let flags = at(words, 2);
    let (model, allowed) = match model {
        layout::MODEL_BPE if !cfg!(feature = "vocab-bpe") => return Err(VocabError::LeftOut { feature: "vocab-bpe" }),
        layout::MODEL_SENTENCEPIECE if !cfg!(feature = "vocab-sentencepiece") => {
            return Err(VocabError::LeftOut { feature: "vocab-sentencepiece" });
        }
        layout::MODEL_BPE => match PreTokenizer::from_code(pre) {
            Some(pre) if !pre.is_linked() => return Err(VocabError::LeftOut { feature: pre.feature() }),
            Some(pre) => (VocabModel::Bpe(pre), layout::FLAG_ADD_BOS | layout::FLAG_WIDE | layout::FLAG_IGNORE_MERGES),
            None => return Err(VocabError::UnknownPreTokenizer { got: pre }),
        },
        layout::MODEL_SENTENCEPIECE if pre == 0 => {
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
        tokens: at(words, 3),
        merges: at(words, 4),
        bos: at(words, 5),
        eos: at(words, 6),
        unknown: at(words, 7),
        sorted: at(words, 8),
        specials: at(words, 9),
        stops: at(words, 10),
        blob: at(words, 11),
    };
    let reserved = at(words, 12) | at(words, 13) | at(words, 14) | at(words, 15);
    if reserved != 0 {
        return Err(VocabError::UnknownFlags { got: reserved });
    }
    if header.tokens == 0 || header.tokens > layout::MAX_TOKENS {
        return Err(VocabError::TokenCount { got: header.tokens });
    }
    if !is_bpe(&header.model) && header.merges != 0 {
        return Err(VocabError::EntryCount { table: Table::Merges, need: 0, got: header.merges });
    }
    if flags & layout::FLAG_ADD_BOS != 0 && header.bos == NONE {
        return Err(VocabError::BadEntry { table: Table::Header, index: 0, got: NONE });
    }
    Ok(header)
}

/// Word `index` of a table that has it.
const fn at(words: &[[u8; 4]], index: usize) -> u32 {
    match word(words, index) {
        Some(word) => word,
        None => 0,
    }
}

const fn in_range(table: Table, index: u32, id: u32, vocab_size: u32) -> Result<(), VocabError> {
    if id < vocab_size { Ok(()) } else { Err(VocabError::IdOutOfRange { table, index, id, vocab_size }) }
}

/// An id of the header that may be absent; `index` counts them (BOS, EOS, unknown).
const fn special(id: u32, index: u32, vocab_size: u32) -> Result<Option<u32>, VocabError> {
    if id == NONE {
        return Ok(None);
    }
    tri!(in_range(Table::Header, index, id, vocab_size));
    Ok(Some(id))
}

/// Offsets, kinds and scores; finds the longest token.
const fn check_tokens(vocab: &mut Vocab<'_>) -> Result<(), VocabError> {
    let (mut end, mut index) = (0, 0);
    while let Some(offset) = word(vocab.offsets, index as usize) {
        if offset < end || (index == 0 && offset != 0) {
            return Err(VocabError::NotSorted { table: Table::Offsets, index });
        }
        let len = (offset - end) as usize;
        vocab.max_token_bytes = if len > vocab.max_token_bytes { len } else { vocab.max_token_bytes };
        (end, index) = (offset, index + 1);
    }
    if end as usize != vocab.blob.len() {
        return Err(VocabError::BadEntry { table: Table::Offsets, index: vocab.vocab_size, got: end });
    }
    let mut index = 0;
    while let Some([code]) = entry(vocab.kinds, index as usize) {
        let fits = match TokenKind::from_code(*code) {
            Some(TokenKind::Byte) => vocab.token_len(index) == 1,
            kind => kind.is_some(),
        };
        if !fits {
            return Err(VocabError::BadEntry { table: Table::Kinds, index, got: *code as u32 });
        }
        index += 1;
    }
    let mut index = 0;
    while let Some(score) = word(vocab.scores, index as usize) {
        if f32::from_bits(score).is_nan() {
            return Err(VocabError::BadEntry { table: Table::Scores, index, got: score });
        }
        index += 1;
    }
    Ok(())
}

/// Whether a token with bytes is a text token, or a special one.
const fn is(vocab: &Vocab<'_>, id: u32, text: bool) -> bool {
    match vocab.kind(id) {
        Some(kind) if text => kind.is_text() && vocab.token_len(id) != 0,
        Some(kind) => kind.is_special() && vocab.token_len(id) != 0,
        None => false,
    }
}

/// The table has an entry for every token that [`is`] for it.
const fn check_count(vocab: &Vocab<'_>, table: Table, text: bool, got: usize) -> Result<(), VocabError> {
    let (mut need, mut id) = (0, 0);
    while id < vocab.vocab_size {
        need += is(vocab, id, text) as u32;
        id += 1;
    }
    if need as usize == got { Ok(()) } else { Err(VocabError::EntryCount { table, need, got: got as u32 }) }
}

/// A token's bytes; none of a token that is not there.
const fn bytes<'a>(vocab: &Vocab<'a>, id: u32) -> &'a [u8] {
    match vocab.token_bytes(id) {
        Some(bytes) => bytes,
        None => &[],
    }
}

/// All text tokens are there, in strict order of (bytes, id).
const fn check_sorted(vocab: &Vocab<'_>) -> Result<(), VocabError> {
    tri!(check_count(vocab, Table::Sorted, true, vocab.sorted.len()));
    let (mut index, mut before) = (0, None);
    while let Some(id) = vocab.sorted.get(index as usize) {
        tri!(in_range(Table::Sorted, index, id, vocab.vocab_size));
        if !is(vocab, id, true) {
            return Err(VocabError::BadEntry { table: Table::Sorted, index, got: id });
        }
        if let Some(before) = before {
            let rises = match compare(bytes(vocab, before), bytes(vocab, id)) {
                Ordering::Less => true,
                Ordering::Equal => before < id,
                Ordering::Greater => false,
            };
            if !rises {
                return Err(VocabError::NotSorted { table: Table::Sorted, index });
            }
        }
        (index, before) = (index + 1, Some(id));
    }
    Ok(())
}

/// The order of two strings of bytes.
pub(super) const fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        match (a, b) {
            ([], []) => return Ordering::Equal,
            ([], _) => return Ordering::Less,
            (_, []) => return Ordering::Greater,
            ([x, ..], [y, ..]) if *x < *y => return Ordering::Less,
            ([x, ..], [y, ..]) if *x > *y => return Ordering::Greater,
            ([_, a_rest @ ..], [_, b_rest @ ..]) => (a, b) = (a_rest, b_rest),
        }
    }
}

/// A byte's token is that byte, and of the kind that the algorithm uses.
const fn check_byte_ids(vocab: &Vocab<'_>) -> Result<(), VocabError> {
    let mut index = 0;
    while let Some(id) = word(vocab.byte_ids, index as usize) {
        if id != NONE {
            tri!(in_range(Table::ByteIds, index, id, vocab.vocab_size));
            let fits = match vocab.kind(id) {
                Some(TokenKind::Byte) => true,
                Some(kind) => vocab.is_bpe() && kind.is_text(),
                None => false,
            };
            if !fits || !matches!(bytes(vocab, id), [byte] if *byte as u32 == index) {
                return Err(VocabError::BadEntry { table: Table::ByteIds, index, got: id });
            }
        }
        index += 1;
    }
    Ok(())
}

/// Starts ascend over the whole table; rights ascend inside a left; every merge spells its token.
const fn check_merges(vocab: &Vocab<'_>) -> Result<(), VocabError> {
    if !vocab.is_bpe() {
        return Ok(());
    }
    let (mut left, mut at) = (0, 0);
    if !matches!(vocab.merge_starts.get(0), Some(0)) {
        return Err(VocabError::NotSorted { table: Table::MergeStarts, index: 0 });
    }
    while let Some(end) = vocab.merge_starts.get(left as usize + 1) {
        if end < at || end as usize > vocab.merges.len() {
            return Err(VocabError::NotSorted { table: Table::MergeStarts, index: left });
        }
        let mut before = None;
        while at < end {
            tri!(check_merge(vocab, left, at, &mut before));
            at += 1;
        }
        left += 1;
    }
    if at as usize != vocab.merges.len() {
        return Err(VocabError::BadEntry { table: Table::MergeStarts, index: vocab.vocab_size, got: at });
    }
    Ok(())
}

/// One merge of `left`; `before` is the right token of the one before it.
const fn check_merge(vocab: &Vocab<'_>, left: u32, index: u32, before: &mut Option<u32>) -> Result<(), VocabError> {
    let Some(merge) = vocab.merges.get(index as usize) else { return Ok(()) };
    tri!(in_range(Table::Merges, index, merge.right, vocab.vocab_size));
    tri!(in_range(Table::Merges, index, merge.merged, vocab.vocab_size));
    if matches!(*before, Some(before) if before >= merge.right) {
        return Err(VocabError::NotSorted { table: Table::Merges, index });
    }
    *before = Some(merge.right);
    if merge.rank == u32::MAX {
        return Err(VocabError::BadEntry { table: Table::Merges, index, got: merge.rank });
    }
    let [first, second, both] = [bytes(vocab, left), bytes(vocab, merge.right), bytes(vocab, merge.merged)];
    let spells = match both.split_at_checked(first.len()) {
        Some((a, b)) => is_equal(a, first) && is_equal(b, second) && !first.is_empty() && !second.is_empty(),
        None => false,
    };
    if spells {
        return Ok(());
    }
    Err(VocabError::MergeMismatch { left, right: merge.right, merged: merge.merged })
}

const fn is_equal(a: &[u8], b: &[u8]) -> bool {
    matches!(compare(a, b), Ordering::Equal)
}

/// All special tokens are there, longest first, then by id; notes what they begin with.
const fn check_specials(vocab: &mut Vocab<'_>) -> Result<(), VocabError> {
    tri!(check_count(vocab, Table::Specials, false, vocab.specials.len()));
    let (mut index, mut before) = (0, None);
    while let Some(id) = word(vocab.specials, index as usize) {
        tri!(in_range(Table::Specials, index, id, vocab.vocab_size));
        let name = bytes(vocab, id);
        if !is(vocab, id, false) {
            return Err(VocabError::BadEntry { table: Table::Specials, index, got: id });
        }
        if let Some((before_len, before_id)) = before {
            let falls = name.len() < before_len || (name.len() == before_len && id > before_id);
            if !falls {
                return Err(VocabError::NotSorted { table: Table::Specials, index });
            }
        }
        let (word, bits) = start_bits(name);
        if let Some((_, [starts, ..])) = vocab.special_starts.split_at_mut_checked(word) {
            *starts |= bits;
        }
        vocab.has_user_defined |= matches!(vocab.kind(id), Some(TokenKind::UserDefined));
        (index, before) = (index + 1, Some((name.len(), id)));
    }
    Ok(())
}
