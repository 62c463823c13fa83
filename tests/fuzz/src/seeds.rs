//! Writes seeds for every target to `corpus/`: small models of every kind.

use std::{fs, path::Path};

use pipsqueak::{
    Image, KvType, Plan, PlanOptions, Vocab,
    config::Config,
    digest,
    kernels::{Format, Panel, select, team::Team},
};
use pipsqueak_cli::{
    chat, digits,
    import::huggingface::names,
    source::Encoding,
    vocab::{self, PreTokenizer, VocabModel, VocabSource},
};
use pipsqueak_tests::{
    engine::{Arenas, TinyFile},
    huggingface_writer::{HfModel, safetensors_file, tokenizer_json},
    llama2c_writer::tokenizer_bin,
    small_vocab,
    tiny_model::{self, TinyModel, tiny_config},
};

/// A configuration behind its length, then the weights.
fn folder(model: &HfModel) -> Vec<u8> {
    let config = model.config.to_string();
    let len = (config.len() as u16).to_le_bytes();
    [&len, config.as_bytes(), &safetensors_file(&model.tensors)].concat()
}

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
    for (name, config) in tiny_model::architectures(config, 3) {
        let model = TinyModel::random(config, 4);
        write("gguf", name, &model.gguf(Encoding::F32).bytes())?;
        write("safetensors", name, &folder(&model.huggingface(Encoding::BF16)))?;
        write("image", name, TinyFile::new(model).pack(Format::Q8, Panel::R4).bytes())?;
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
    for encoding in [Encoding::Q2K, Encoding::Q3K, Encoding::Q4K, Encoding::Q5K, Encoding::Q6K, Encoding::IQ4XS] {
        write("gguf", &format!("{encoding:?}"), &wide.gguf(encoding).bytes())?;
    }
    write("llama2c", "v0", &model.llama2c_v0())?;
    write("llama2c", "v0-untied", &untied.llama2c_v0())?;
    write("llama2c", "v1", &untied.llama2c_v1())?;
    write("llama2c", "v2", &model.llama2c_v2(32))?;
    for encoding in [Encoding::F32, Encoding::F16, Encoding::BF16] {
        for (name, model) in [("tied", &model), ("untied", &untied)] {
            write("safetensors", &format!("{name}-{encoding:?}"), &folder(&model.huggingface(encoding)))?;
        }
    }
    let index = [&[0, 0], model.huggingface(Encoding::F32).folder(Some(3)).0[names::INDEX].as_slice()].concat();
    write("safetensors", "index", &index)?;
    for (name, mut vocab) in [("bpe", small_vocab::bpe()), ("sentencepiece", small_vocab::sentencepiece())] {
        // A JSON object has every text once.
        vocab.tokens.retain(|token| token.bytes != b"a" || token.score == 0.0);
        let json = tokenizer_json(&vocab).to_string();
        let rows = (vocab.tokens.len() as u16).to_le_bytes();
        write("tokenizer_json", name, &[&rows, json.as_bytes()].concat())?;
    }
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
    for kv in KvType::ALL {
        write("state", kv.name(), &a_state(kv))?;
    }
    let templates = small_vocab::TEMPLATES.iter().map(|(_, source)| *source).chain([small_vocab::UNEVEN]);
    for (index, source) in templates.enumerate() {
        for choice in [0, 1] {
            write("template", &format!("{index}-{choice}"), &[&[choice], source.as_bytes()].concat())?;
        }
        let section = vocab::build(&small_vocab::chat(small_vocab::sentencepiece())).expect("a section");
        let vocabulary = Vocab::new(&section).expect("a vocabulary");
        if let Ok(pieces) = chat::section(source, &vocabulary) {
            write("chat", &index.to_string(), &pieces)?;
        }
    }
    Ok(())
}

/// A session of a few tokens, one of them not fed, and a note.
fn a_state(kv: KvType) -> Vec<u8> {
    let packed = pipsqueak_fuzz::state_model().pack(Format::Q8, Panel::R4);
    let image = Image::open(packed.bytes()).expect("an image");
    let plan = Plan::new(image.config(), PlanOptions { kv, ..PlanOptions::small(8) });
    let mut arenas = Arenas::new(&plan);
    let team = Team::alone();
    let mut session = arenas.session(&image, select::best(), &team, &plan);
    session.fill(&[1, 2, 3, 4, 5]).expect("five tokens");
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes.extend(piece);
        Ok(())
    };
    session.save(digest::of(&image), &[1, 2, 3, 4, 5, 6], b"note", &mut sink).expect("a state");
    bytes
}
