//! No truncated file is imported, and no damaged one makes an importer panic.

use pipsqueak::config::Config;
use pipsqueak_cli::{
    import::{self, check_finite, gguf, llama2c},
    source::Encoding,
};
use pipsqueak_tests::{
    gguf_writer::{GgufWriter, Value},
    llama2c_writer::tokenizer_bin,
    rng::Rng,
    tiny_model::{TinyModel, tiny_config},
};

/// So small that every length can be tried.
fn smallest() -> TinyModel {
    let config = Config {
        dim: 32,
        hidden_dim: 32,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        vocab_size: 20,
        seq_len: 8,
        ..tiny_config()
    };
    TinyModel::random(config, 5)
}

fn small_gguf() -> Vec<u8> {
    let mut writer = smallest().gguf(Encoding::Q8_0);
    add_vocab(&mut writer);
    writer.bytes()
}

fn add_vocab(writer: &mut GgufWriter) {
    let tokens: Vec<String> = (0..20u8).map(|i| char::from(b'a' + i).into()).collect();
    writer
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "gpt-2")
        .set("tokenizer.ggml.tokens", Value::Strs(tokens))
        .set("tokenizer.ggml.token_type", Value::I32s(vec![1; 20]))
        .set("tokenizer.ggml.scores", Value::F32s(vec![0.0; 20]))
        .set("tokenizer.ggml.merges", Value::Strs(vec!["a b".into(); 3]))
        .set("tokenizer.ggml.eos_token_id", Value::U32(3))
        .set("tokenizer.ggml.add_bos_token", Value::Bool(true))
        .set("tokenizer.chat_template", "{{ x }}")
        // An array of two arrays of one byte each.
        .set("unknown.key", Value::Raw(9, [&nested(2)[..], &nested_bytes(1), &nested_bytes(1)].concat()));
}

/// The head of an array of `n` arrays.
fn nested(n: u64) -> Vec<u8> {
    [&9u32.to_le_bytes()[..], &n.to_le_bytes()].concat()
}

/// An array of `n` bytes.
fn nested_bytes(n: u64) -> Vec<u8> {
    [&0u32.to_le_bytes()[..], &n.to_le_bytes(), &vec![7; n as usize]].concat()
}

fn small_tokenizer() -> Vec<u8> {
    tokenizer_bin(&[
        (0.0, b"<unk>"),
        (0.0, b"\n<s>\n"),
        (0.0, b"\n</s>\n"),
        (0.0, b"<0x0A>"),
        (-1.0, b""),
        (-2.0, b"ab"),
    ])
}

/// Imports and looks at everything the result offers.
fn exercise(bytes: &[u8]) -> bool {
    let Ok(source) = import::open(bytes, None) else { return false };
    for tensor in &source.tensors {
        let _ = check_finite(tensor);
        let mut out = vec![0.0; tensor.cols];
        for row in 0..tensor.rows {
            tensor.dequantize_row(row, &mut out);
        }
    }
    true
}

#[test]
fn every_truncation_of_a_model() {
    let model = smallest();
    for (name, bytes) in [
        ("gguf", small_gguf()),
        ("llama2.c version 0", model.llama2c_v0()),
        ("llama2.c version 1", model.llama2c_v1()),
        ("llama2.c version 2", model.llama2c_v2(32)),
    ] {
        assert!(exercise(&bytes), "{name}: {:?}", import::open(&bytes, None).err());
        for len in 0..bytes.len() {
            let error = import::open(&bytes[..len], None).err();
            let error = error.unwrap_or_else(|| panic!("{name} cut to {len} of {} bytes was imported", bytes.len()));
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn every_truncation_of_a_vocabulary() {
    let bytes = small_tokenizer();
    assert!(llama2c::tokenizer(&bytes, 6).is_ok());
    for len in 0..bytes.len() {
        assert!(llama2c::tokenizer(&bytes[..len], 6).is_err(), "{len}");
    }
    let mut writer = GgufWriter::default();
    add_vocab(&mut writer);
    let bytes = writer.bytes();
    assert!(gguf::vocab_only(&bytes).is_ok());
    for len in 0..bytes.len() {
        assert!(gguf::vocab_only(&bytes[..len]).is_err(), "{len}");
    }
}

/// Changes one to four places to random, extreme or neighbouring values.
fn damage(bytes: &mut Vec<u8>, header_len: usize, rng: &mut Rng) {
    for _ in 0..1 + rng.below(4) {
        // Mostly where it hurts: the header.
        let end = if rng.below(8) > 0 { header_len.min(bytes.len()) } else { bytes.len() };
        if end == 0 {
            return;
        }
        let at = rng.below(end);
        match rng.below(6) {
            0 => bytes[at] = rng.next_u64() as u8,
            1 => bytes[at] ^= 1 << rng.below(8),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => {
                let to = bytes.len().min(at + [4, 8][rng.below(2)]);
                bytes[at..to].fill([0, 0x7f, 0x80, 0xff][rng.below(4)]);
            }
            4 => drop(bytes.drain(at..bytes.len().min(at + 1 + rng.below(8)))),
            _ => drop(bytes.splice(at..at, vec![rng.next_u64() as u8; 1 + rng.below(8)])),
        }
    }
}

#[test]
fn damaged_models_never_panic() {
    let model = smallest();
    let gguf = small_gguf();
    let gguf_header = gguf.len() - smallest().gguf(Encoding::Q8_0).tensors.iter().map(|t| t.data.len()).sum::<usize>();
    let mut rng = Rng::new(0x1234);
    for (name, bytes, header_len, rounds) in [
        ("gguf", gguf, gguf_header, 20_000),
        ("llama2.c version 0", model.llama2c_v0(), 28, 5000),
        ("llama2.c version 1", model.llama2c_v1(), 37, 5000),
        ("llama2.c version 2", model.llama2c_v2(32), 41, 5000),
    ] {
        let mut imported = 0;
        for _ in 0..rounds {
            let mut bytes = bytes.clone();
            damage(&mut bytes, header_len, &mut rng);
            imported += usize::from(exercise(&bytes));
        }
        println!("{name}: {imported} of {rounds} damaged files could still be imported");
        assert!(imported < rounds);
    }
}

#[test]
fn damaged_vocabularies_never_panic() {
    let mut writer = GgufWriter::default();
    add_vocab(&mut writer);
    let mut rng = Rng::new(0x5678);
    for _ in 0..20_000 {
        let mut bytes = writer.bytes();
        let len = bytes.len();
        damage(&mut bytes, len, &mut rng);
        let _ = gguf::vocab_only(&bytes);
        let mut bytes = small_tokenizer();
        let len = bytes.len();
        damage(&mut bytes, len, &mut rng);
        let _ = llama2c::tokenizer(&bytes, 6);
    }
}

/// Every 32-bit field of a header set to every extreme.
#[test]
fn extreme_headers() {
    let model = smallest();
    for (bytes, fields) in
        [(model.llama2c_v0(), 0..7), (model.llama2c_v1(), 0..10), (model.llama2c_v2(32), 0..11), (small_gguf(), 0..100)]
    {
        for field in fields {
            for value in [0, 1, 2, 0x7f, 0xffff, 1 << 24, 1 << 30, i32::MAX as u32, 1 << 31, u32::MAX - 1, u32::MAX] {
                let mut bytes = bytes.clone();
                bytes[4 * field..][..4].copy_from_slice(&value.to_le_bytes());
                exercise(&bytes);
            }
        }
    }
}
