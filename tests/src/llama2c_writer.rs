//! A writer of llama2.c's files.

use pipsqueak::{config::Config, tensor::TensorKind};
use pipsqueak_cli::source::Encoding;

use crate::tiny_model::{TinyModel, encode};

impl TinyModel {
    /// Version 0: `f32`, no magic.
    pub fn llama2c_v0(&self) -> Vec<u8> {
        let config = &self.config;
        let mut out = Vec::new();
        header(config, !config.tied_head, &mut out);
        for kind in [
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
        ] {
            self.all_layers(kind, Encoding::F32, &mut out);
        }
        // The RoPE tables, with values that would be noticed.
        for _ in 0..config.seq_len * config.head_dim {
            out.extend(f32::NAN.to_le_bytes());
        }
        self.all_layers(TensorKind::OutputHead, Encoding::F32, &mut out);
        out
    }

    /// Version 1: `f32` behind a header of 256 bytes.
    pub fn llama2c_v1(&self) -> Vec<u8> {
        self.llama2c_with_header(1, Encoding::F32)
    }

    /// Version 2: `q80` in groups of `group`, which must divide every matrix.
    pub fn llama2c_v2(&self, group: usize) -> Vec<u8> {
        self.llama2c_with_header(2, Encoding::Llama2cQ80 { group })
    }

    fn llama2c_with_header(&self, version: u32, encoding: Encoding) -> Vec<u8> {
        let mut out = 0x616b_3432u32.to_le_bytes().to_vec();
        out.extend(version.to_le_bytes());
        header(&self.config, false, &mut out);
        out.push(u8::from(self.config.tied_head));
        if let Encoding::Llama2cQ80 { group } = encoding {
            out.extend((group as i32).to_le_bytes());
        }
        out.resize(256, 0);
        for kind in [TensorKind::RmsAtt, TensorKind::RmsFfn, TensorKind::RmsFinal] {
            self.all_layers(kind, Encoding::F32, &mut out);
        }
        for kind in [
            TensorKind::TokenEmbedding,
            TensorKind::Wq,
            TensorKind::Wk,
            TensorKind::Wv,
            TensorKind::Wo,
            TensorKind::W1,
            TensorKind::W2,
            TensorKind::W3,
            TensorKind::OutputHead,
        ] {
            self.all_layers(kind, encoding, &mut out);
        }
        out
    }

    fn all_layers(&self, kind: TensorKind, encoding: Encoding, out: &mut Vec<u8>) {
        for tensor in self.tensors.iter().filter(|tensor| tensor.kind == kind) {
            out.extend(encode(&tensor.values, encoding));
        }
    }
}

fn header(config: &Config, negative_vocab: bool, out: &mut Vec<u8>) {
    let vocab_size = config.vocab_size as i32;
    let vocab_size = if negative_vocab { -vocab_size } else { vocab_size };
    for n in [config.dim, config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads] {
        out.extend(n.to_le_bytes());
    }
    out.extend(vocab_size.to_le_bytes());
    out.extend(config.seq_len.to_le_bytes());
}

/// A `tokenizer.bin` of these scores and texts.
pub fn tokenizer_bin(tokens: &[(f32, &[u8])]) -> Vec<u8> {
    let longest = tokens.iter().map(|(_, text)| text.len()).max().unwrap_or(0);
    let mut out = (longest as u32).to_le_bytes().to_vec();
    for (score, text) in tokens {
        out.extend(score.to_le_bytes());
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(*text);
    }
    out
}
