//! Writes seeds for every target to `corpus/`: small models of every kind.

use std::{fs, path::Path};

use pipsqueak::{
    config::Config,
    kernels::{Format, Panel},
};
use pipsqueak_cli::{
    digits,
    source::Encoding,
    vocab::{self, PreTokenizer, VocabModel, VocabSource},
};
use pipsqueak_tests::{
    engine::TinyFile,
    llama2c_writer::tokenizer_bin,
    small_vocab,
    tiny_model::{TinyModel, tiny_config},
};

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    let config = Config {
        dim: 32,
        hidden_dim: 32,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        vocab_size: 7,
        seq_len: 16,
        ..tiny_config()
    };
    let model = TinyModel::random(config, 1);
    let untied = TinyModel::random(Config { tied_head: false, ..config }, 2);
    for format in Format::ALL {
        let panel = if format.is_quantised() { Panel::R4 } else { Panel::R1 };
        write("image", format.name(), TinyFile::new(model.clone()).pack(format, panel).bytes())?;
    }
    let mut spoken = TinyFile::new(TinyModel::random(Config { vocab_size: 300, ..config }, 3));
    spoken.vocab = Some(small_vocab::bpe());
    write("image", "vocabulary", spoken.pack(Format::Q4, Panel::R1).bytes())?;
    for encoding in [
        Encoding::F32,
        Encoding::F16,
        Encoding::BF16,
        Encoding::Q8_0,
        Encoding::Q4_0,
        Encoding::Q4_1,
        Encoding::Q5_0,
        Encoding::Q5_1,
        Encoding::IQ4NL,
    ] {
        write("gguf", &format!("{encoding:?}"), &untied.gguf(encoding).bytes())?;
    }
    let wide = Config { dim: 256, hidden_dim: 256, head_dim: 32, n_heads: 2, rope_dim: 32, ..config };
    let wide = TinyModel::random(wide, 4);
    for encoding in
        [Encoding::Q2K, Encoding::Q3K, Encoding::Q4K, Encoding::Q5K, Encoding::Q6K, Encoding::IQ4XS]
    {
        write("gguf", &format!("{encoding:?}"), &wide.gguf(encoding).bytes())?;
    }
    write("llama2c", "v0", &model.llama2c_v0())?;
    write("llama2c", "v0-untied", &untied.llama2c_v0())?;
    write("llama2c", "v1", &untied.llama2c_v1())?;
    write("llama2c", "v2", &model.llama2c_v2(32))?;
    write("classifier", "plain", digits::PLAIN)?;
    write("classifier", "hidden", digits::HIDDEN)?;
    let text = "the cat'S sat on 1234 mats:\r\n  é\u{301} 漢字。\u{3000}🙂 <s>".as_bytes();
    let tokens: Vec<(f32, &[u8])> =
        ["<unk>", "<s>", "</s>", "a", "b", " ", "ab", " ab"].iter().map(|text| (-1.0, text.as_bytes())).collect();
    for (name, file, count) in [
        ("sentencepiece", vocab::build(&small_vocab::sentencepiece()).expect("a section"), 0),
        ("bpe", vocab::build(&small_vocab::bpe()).expect("a section"), 0),
        ("llama2c", tokenizer_bin(&tokens), tokens.len() as u8),
    ] {
        write("tokenizer", name, &[&[text.len() as u8, count], &file[..], text].concat())?;
    }
    for pre in PreTokenizer::ALL {
        let source = VocabSource { model: VocabModel::Bpe(pre), ignore_merges: true, ..small_vocab::bpe() };
        let file = vocab::build(&source).expect("a section");
        write("tokenizer", &format!("bpe-{pre:?}"), &[&[text.len() as u8, 0], &file[..], text].concat())?;
    }
    Ok(())
}
