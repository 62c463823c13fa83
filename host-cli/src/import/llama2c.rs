//! llama2.c's `.bin` models, versions 0 to 2, and its `tokenizer.bin`.
//!
//! Everything is little-endian. `L` = layers; matrices are row-major, `[outputs, inputs]`.
//!
//! | version | header | then |
//! |---|---|---|
//! | 0 | 7 `i32`: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len; vocab_size is negative where the head is not tied | all `f32`: embedding, L x rms_att, L x wq, L x wk, L x wv, L x wo, L x rms_ffn, L x w1, L x w2, L x w3, rms_final, two RoPE tables of seq_len x head_dim / 2 (not used), head if not tied |
//! | 1 | 256 bytes: magic `0x616b3432`, `i32` version, the 7 `i32`, `u8` tied | all `f32`: L x rms_att, L x rms_ffn, rms_final, embedding, L x wq, wk, wv, wo, w1, w2, w3, head if not tied |
//! | 2 | as 1, then `i32` group | the norms as in 1 in `f32`; then the matrices as in 1, each one all its `i8` and then its `f32` scales |
//!
//! The file must be exactly as long as its header asks. Source: llama2.c's `export.py`, `run.c` and `runq.c`.

use pipsqueak::{
    config::{Activation, Arch, Config, RopePairs},
    tensor::TensorKind,
};

use super::{ImportError, cursor::Cursor, shape};
use crate::{
    source::{Encoding, RopeScaling, RowOrder, Source, SourceTensor},
    vocab::{Token, TokenKind, VocabModel, VocabSource},
};

/// "ak42" as a little-endian number: the first four bytes of versions 1 and 2.
pub const MAGIC: u32 = 0x616b_3432;

/// Length of the header of versions 1 and 2.
const HEADER_BYTES: u64 = 256;

/// Order of the tensors in version 0, up to the RoPE tables; those of a layer come for all layers at once.
const ORDER_V0: [TensorKind; 11] = [
    TensorKind::TokenEmbedding,
    TensorKind::RmsAtt,
    TensorKind::Wq,
    TensorKind::Wk,
    TensorKind::Wv,
    TensorKind::Wo,
    TensorKind::RmsFfn,
    TensorKind::W1,
    TensorKind::W2,
    TensorKind::W3,
    TensorKind::RmsFinal,
];

/// Order of the tensors in versions 1 and 2.
const ORDER_V1: [TensorKind; 12] = [
    TensorKind::RmsAtt,
    TensorKind::RmsFfn,
    TensorKind::RmsFinal,
    TensorKind::TokenEmbedding,
    TensorKind::Wq,
    TensorKind::Wk,
    TensorKind::Wv,
    TensorKind::Wo,
    TensorKind::W1,
    TensorKind::W2,
    TensorKind::W3,
    TensorKind::OutputHead,
];

/// Reads a model without its vocabulary.
///
/// RMSNorm's epsilon (1e-5) and RoPE's base (10000) are llama2.c's constants; the file does not name them.
pub fn open(bytes: &[u8]) -> Result<Source<'_>, ImportError> {
    let mut cursor = Cursor::new(bytes);
    if cursor.clone().u32("the magic").ok() == Some(MAGIC) {
        cursor.u32("the magic")?;
        match cursor.u32("the version")? {
            1 => open_v1(bytes, cursor, false),
            2 => open_v1(bytes, cursor, true),
            found => Err(ImportError::Version { format: "llama2.c .bin", found, supported: "0, 1 and 2" }),
        }
    } else {
        open_v0(bytes, cursor)
    }
}

fn open_v0<'a>(bytes: &'a [u8], mut cursor: Cursor<'a>) -> Result<Source<'a>, ImportError> {
    let unrecognised =
        || ImportError::Unrecognised { first: bytes.iter().take(4).copied().collect(), len: bytes.len() as u64 };
    let header = read_header(&mut cursor).map_err(|_| unrecognised())?;
    // There is no magic. Text, archives and images do not survive this; a damaged header gets a message of its own below.
    let [dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len] = header;
    let positive = [dim, hidden_dim, n_layers, n_heads, n_kv_heads, seq_len];
    if positive.iter().any(|n| !(1..=1 << 24).contains(n)) || vocab_size.unsigned_abs() > 1 << 24 {
        return Err(unrecognised());
    }
    let tied = vocab_size > 0;
    let config = config([dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size.saturating_abs(), seq_len], tied)?;
    let mut reader = TensorReader { bytes, cursor, config, encoding: Encoding::F32, tensors: Vec::new() };
    // Two RoPE tables of seq_len x head_dim / 2.
    let rope_bytes = u64::from(config.seq_len) * u64::from(config.head_dim) * 4;
    reader.check_length(&ORDER_V0, rope_bytes)?;
    for kind in ORDER_V0 {
        reader.read(kind)?;
    }
    reader.cursor.take(rope_bytes, "the RoPE tables")?;
    reader.read(TensorKind::OutputHead)?;
    Ok(reader.finish())
}

fn open_v1<'a>(bytes: &'a [u8], mut cursor: Cursor<'a>, quantized: bool) -> Result<Source<'a>, ImportError> {
    let header = read_header(&mut cursor)?;
    let tied = match cursor.u8("the header")? {
        0 => false,
        1 => true,
        other => return Err(shape::bad("the header's flag for a tied head", other, "0 or 1".into())),
    };
    let encoding = if quantized {
        let group = cursor.i32("the header")?;
        let group = usize::try_from(group).ok().filter(|group| *group > 0);
        let group = group.ok_or_else(|| shape::bad("the group size", "zero or negative", "positive".into()))?;
        Encoding::Llama2cQ80 { group }
    } else {
        Encoding::F32
    };
    let config = config(header, tied)?;
    cursor.take(HEADER_BYTES - cursor.offset(), "the header")?;
    let mut reader = TensorReader { bytes, cursor, config, encoding, tensors: Vec::new() };
    reader.check_length(&ORDER_V1, 0)?;
    for kind in ORDER_V1 {
        reader.read(kind)?;
    }
    Ok(reader.finish())
}

fn read_header(cursor: &mut Cursor<'_>) -> Result<[i32; 7], ImportError> {
    let mut header = [0; 7];
    for n in &mut header {
        *n = cursor.i32("the header")?;
    }
    Ok(header)
}

fn config(header: [i32; 7], tied_head: bool) -> Result<Config, ImportError> {
    const NAMES: [&str; 7] = ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"];
    let mut fields = [0; 7];
    for ((field, n), name) in fields.iter_mut().zip(header).zip(NAMES) {
        *field = u32::try_from(n)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| shape::bad(&format!("{name} in the header"), n, "positive".into()))?;
    }
    let [dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len] = fields;
    if dim % n_heads != 0 {
        return Err(shape::bad("dim in the header", dim, format!("a multiple of the {n_heads} heads")));
    }
    let head_dim = dim / n_heads;
    let config = Config {
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        rope_dim: head_dim,
        vocab_size,
        seq_len,
        norm_eps: 1e-5,
        att_scale: (1.0 / f64::from(head_dim).sqrt()) as f32,
        rope_pairs: RopePairs::Interleaved,
        activation: Activation::Silu,
        tied_head,
        arch: Arch::Llama,
    };
    shape::check(&config)?;
    Ok(config)
}

/// Takes tensors off the file in its order.
struct TensorReader<'a> {
    bytes: &'a [u8],
    cursor: Cursor<'a>,
    config: Config,
    /// Of the matrices; vectors are always `f32`.
    encoding: Encoding,
    tensors: Vec<SourceTensor<'a>>,
}

impl<'a> TensorReader<'a> {
    fn encoding(&self, kind: TensorKind) -> Encoding {
        match kind {
            TensorKind::RmsAtt | TensorKind::RmsFfn | TensorKind::RmsFinal => Encoding::F32,
            _ => self.encoding,
        }
    }

    fn tensor_bytes(&self, kind: TensorKind) -> Result<u64, ImportError> {
        let (rows, cols) = self.config.shape(kind);
        self.encoding(kind).tensor_bytes(rows.into(), cols.into()).ok_or_else(|| match self.encoding {
            Encoding::Llama2cQ80 { group } => shape::bad(
                "the group size",
                group,
                format!("a divisor of {rows} x {cols}, the size of {}", kind.name()),
            ),
            _ => ImportError::Overflow { what: kind.name().into() },
        })
    }

    /// Compares the file's length with what the header asks for, before anything is allocated.
    fn check_length(&self, order: &[TensorKind], extra: u64) -> Result<(), ImportError> {
        let overflow = || ImportError::Overflow { what: "the model".into() };
        let mut need = self.cursor.offset().checked_add(extra).ok_or_else(overflow)?;
        for kind in TensorKind::ALL {
            if !self.config.has(kind) || !(order.contains(&kind) || kind == TensorKind::OutputHead) {
                continue;
            }
            let copies = if kind.per_layer() { self.config.n_layers } else { 1 };
            let all = self.tensor_bytes(kind)?.checked_mul(copies.into()).ok_or_else(overflow)?;
            need = need.checked_add(all).ok_or_else(overflow)?;
        }
        let have = self.bytes.len() as u64;
        if need == have { Ok(()) } else { Err(ImportError::Length { what: "the model", need, have }) }
    }

    /// The next tensor, or all layers' next tensors.
    fn read(&mut self, kind: TensorKind) -> Result<(), ImportError> {
        if !self.config.has(kind) {
            return Ok(());
        }
        let (rows, cols) = self.config.shape(kind);
        let bytes = self.tensor_bytes(kind)?;
        let layers = if kind.per_layer() { self.config.n_layers } else { 1 };
        for layer in 0..layers {
            let data = self.cursor.take(bytes, kind.name())?;
            // `data` exists, and rows and columns are at least one, so both fit in memory.
            let (rows, cols) = (rows as usize, cols as usize);
            let (encoding, order) = (self.encoding(kind), RowOrder::InPlace);
            self.tensors.push(SourceTensor { kind, layer, rows, cols, encoding, order, shift: 0.0, data });
        }
        Ok(())
    }

    fn finish(mut self) -> Source<'a> {
        self.tensors.sort_by_key(|tensor| (tensor.layer, tensor.kind));
        Source {
            config: self.config,
            rope_base: 10000.0,
            rope_base_local: 10000.0,
            rope_scaling: RopeScaling::None,
            rope_factors: Vec::new(),
            tensors: self.tensors,
            vocab: None,
            name: String::new(),
            licence: String::new(),
            origin: String::new(),
            chat_template: None,
            vocab_left_out: None,
        }
    }
}

/// Id of `<unk>`, `<s>` and `</s>`: constants of llama2.c.
const UNKNOWN: u32 = 0;
const BOS: u32 = 1;
const EOS: u32 = 2;

/// Reads llama2.c's `tokenizer.bin` for a model of `vocab_size` tokens.
///
/// Layout: `i32` length of the longest token, then per token an `f32` score, an `i32` length and the bytes. Spaces are
/// already spaces. Ids 0, 1, 2 are `<unk>`, `<s>`, `</s>`; the line feeds the exporter put around the latter two are
/// taken off. A token spelled `<0xNN>` is one raw byte. Both BOS and EOS end a text, as in `run.c`, since the models
/// were trained on documents divided by BOS. The file must be exactly as long as its tokens.
pub fn tokenizer(bytes: &[u8], vocab_size: u32) -> Result<VocabSource, ImportError> {
    let mut cursor = Cursor::new(bytes);
    let longest = cursor.u32("the tokenizer's header")?;
    let mut tokens = Vec::new();
    for id in 0..vocab_size {
        let score = cursor.f32("a token's score")?;
        if !score.is_finite() {
            return Err(ImportError::BadToken { id: id.into(), why: "has a score that is not a finite number" });
        }
        let len = cursor.u32("a token's length")?;
        if len > longest {
            return Err(ImportError::BadToken { id: id.into(), why: "is longer than the longest token of the header" });
        }
        let text = cursor.take(len.into(), "a token")?;
        tokens.push(token(id, text, score));
    }
    if cursor.remaining() > 0 {
        let (need, have) = (cursor.offset(), bytes.len() as u64);
        return Err(ImportError::Length { what: "the tokenizer", need, have });
    }
    let known = |id: u32| (id < vocab_size).then_some(id);
    Ok(VocabSource {
        model: VocabModel::SentencePiece { add_space_prefix: true },
        tokens,
        merges: Vec::new(),
        bos: known(BOS),
        eos: known(EOS),
        unknown: known(UNKNOWN),
        stops: [BOS, EOS].into_iter().filter_map(known).collect(),
        add_bos: true,
        ignore_merges: false,
    })
}

fn token(id: u32, text: &[u8], score: f32) -> Token {
    let (bytes, kind) = match id {
        UNKNOWN => (text.to_vec(), TokenKind::Unknown),
        BOS | EOS => (text.trim_ascii().to_vec(), TokenKind::Control),
        _ => match byte_token(text) {
            Some(byte) => (vec![byte], TokenKind::Byte),
            None => (text.to_vec(), TokenKind::Normal),
        },
    };
    Token { bytes, score, kind }
}

/// The byte that SentencePiece spells `<0xNN>`.
pub(super) fn byte_token(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens() {
        assert_eq!(byte_token(b"<0x0A>"), Some(10));
        assert_eq!(byte_token(b"<0xff>"), Some(255));
        for other in [&b"<0x+1>"[..], b"<0x1>", b"<0x001>", b"0x11", b"<0xGG>", b""] {
            assert_eq!(byte_token(other), None);
        }
    }

    #[test]
    fn not_a_model() {
        for bytes in [&b""[..], b"GG", b"hello, world, this is a text of some length", &[0; 64], &[255; 64]] {
            assert!(matches!(open(bytes), Err(ImportError::Unrecognised { .. })), "{bytes:?}");
        }
    }

    #[test]
    fn tokenizer_fields() {
        let mut bytes = 6u32.to_le_bytes().to_vec();
        for (score, text) in [(0.0f32, "<unk>"), (0.0, "\n<s>\n"), (0.0, "\n</s>\n"), (0.0, "<0x0A>"), (-1.5, " the")] {
            bytes.extend(score.to_le_bytes());
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.bytes());
        }
        let vocab = tokenizer(&bytes, 5).unwrap();
        let token = |bytes: &[u8], score, kind| Token { bytes: bytes.to_vec(), score, kind };
        assert_eq!(
            vocab.tokens,
            [
                token(b"<unk>", 0.0, TokenKind::Unknown),
                token(b"<s>", 0.0, TokenKind::Control),
                token(b"</s>", 0.0, TokenKind::Control),
                token(b"\n", 0.0, TokenKind::Byte),
                token(b" the", -1.5, TokenKind::Normal),
            ]
        );
        assert_eq!((vocab.bos, vocab.eos, vocab.unknown), (Some(1), Some(2), Some(0)));
        assert_eq!(vocab.stops, [1, 2]);
        assert!(vocab.add_bos);
        assert_eq!(vocab.model, VocabModel::SentencePiece { add_space_prefix: true });
        assert!(matches!(tokenizer(&bytes, 4), Err(ImportError::Length { .. })));
        assert!(matches!(tokenizer(&bytes, 6), Err(ImportError::Truncated { .. })));
        for len in 0..bytes.len() {
            assert!(tokenizer(&bytes[..len], 5).is_err(), "{len}");
        }
    }
}
