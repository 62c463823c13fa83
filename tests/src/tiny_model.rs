//! Small random models of any shape, to be written in any format.

use half::{bf16, f16};
use pipsqueak::{
    config::{Activation, Arch, Config, RopePairs},
    tensor::TensorKind,
};
use pipsqueak_cli::source::Encoding;

use crate::{
    gguf_blocks,
    gguf_writer::{GgufWriter, Value},
    rng::Rng,
};

/// A model in `f32`.
#[derive(Clone, Debug)]
pub struct TinyModel {
    /// Its shape.
    pub config: Config,
    /// Its tensors.
    pub tensors: Vec<TinyTensor>,
}

/// A tensor in `f32`.
#[derive(Clone, Debug)]
pub struct TinyTensor {
    /// Its role.
    pub kind: TensorKind,
    /// Its layer; 0 for tensors of the whole model.
    pub layer: u32,
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// `[rows, cols]`
    pub values: Vec<f32>,
}

/// A shape small enough for every test, with grouped queries: 2 layers, 4 heads, 2 key/value heads.
pub fn tiny_config() -> Config {
    Config {
        dim: 64,
        hidden_dim: 96,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 16,
        rope_dim: 16,
        vocab_size: 300,
        seq_len: 128,
        norm_eps: 1e-5,
        att_scale: 0.25,
        rope_pairs: RopePairs::Interleaved,
        activation: Activation::Silu,
        tied_head: true,
        arch: Arch::Llama,
    }
}

/// A shape for each architecture beside Llama's, with `base`'s sizes: names and shapes. Gemma 3 has a window of `window`
/// positions in two layers of three.
pub fn architectures(base: Config, window: u32) -> [(&'static str, Config); 4] {
    let half_split = Config { rope_pairs: RopePairs::HalfSplit, ..base };
    let gemma3 = Arch::Gemma3 { window, global_every: 3 };
    let gpt2 = Config {
        rope_pairs: RopePairs::None,
        rope_dim: 0,
        n_kv_heads: base.n_heads,
        activation: Activation::Gelu,
        ..base
    };
    [
        ("qwen2", Config { arch: Arch::Qwen2, ..half_split }),
        ("qwen3", Config { arch: Arch::Qwen3, ..half_split }),
        ("gemma3", Config { arch: gemma3, n_layers: 4, activation: Activation::Gelu, ..half_split }),
        ("gpt2", Config { arch: Arch::Gpt2, ..gpt2 }),
    ]
}

impl TinyModel {
    /// Weights from a seed: norms near 1, matrices of about unit gain.
    pub fn random(config: Config, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut tensors = Vec::new();
        for layer in 0..config.n_layers {
            for kind in TensorKind::ALL {
                if !config.has(kind) || (layer > 0 && !kind.per_layer()) {
                    continue;
                }
                let (rows, cols) = config.shape(kind);
                let (rows, cols) = (rows as usize, cols as usize);
                let value = |rng: &mut Rng| match kind {
                    kind if kind.is_norm() => 1.0 + 0.2 * rng.uniform(),
                    kind if kind.is_vector() => 0.3 * rng.uniform(),
                    TensorKind::TokenEmbedding | TensorKind::OutputHead | TensorKind::PositionEmbedding => {
                        rng.uniform()
                    }
                    _ => rng.uniform() * (3.0 / cols as f32).sqrt(),
                };
                let values = (0..rows * cols).map(|_| value(&mut rng)).collect();
                tensors.push(TinyTensor { kind, layer, rows, cols, values });
            }
        }
        tensors.sort_by_key(|tensor| (tensor.layer, tensor.kind));
        Self { config, tensors }
    }

    /// The tensor of this role.
    ///
    /// # Panics
    /// When the model has none.
    pub fn tensor(&self, kind: TensorKind, layer: u32) -> &TinyTensor {
        self.tensors.iter().find(|tensor| (tensor.kind, tensor.layer) == (kind, layer)).expect("a tensor of this role")
    }

    /// As GGUF, matrices in `encoding` (one of GGUF's), vectors in `F32`, without a vocabulary. GPT-2's queries, keys and values
    /// are in one tensor, as converters write them.
    pub fn gguf(&self, encoding: Encoding) -> GgufWriter {
        let mut writer = GgufWriter::default();
        let config = &self.config;
        let arch = config.arch.name();
        writer.set("general.architecture", arch).set("general.name", "tiny");
        for (key, n) in [
            ("block_count", config.n_layers),
            ("context_length", config.seq_len),
            ("embedding_length", config.dim),
            ("feed_forward_length", config.hidden_dim),
            ("attention.head_count", config.n_heads),
            ("attention.head_count_kv", config.n_kv_heads),
            ("rope.dimension_count", config.rope_dim),
        ] {
            if config.arch != Arch::Gpt2 || !matches!(key, "attention.head_count_kv" | "rope.dimension_count") {
                writer.set(&format!("{arch}.{key}"), Value::U32(n));
            }
        }
        if config.n_heads * config.head_dim != config.dim {
            writer.set(&format!("{arch}.attention.key_length"), Value::U32(config.head_dim));
        }
        if let Arch::Gemma3 { window, global_every } = config.arch {
            writer.set("gemma3.attention.sliding_window", Value::U32(window));
            writer.set("gemma3.attention.sliding_window_pattern", Value::U32(global_every));
        }
        let eps = if config.arch == Arch::Gpt2 { "layer_norm_epsilon" } else { "layer_norm_rms_epsilon" };
        writer.set(&format!("{arch}.attention.{eps}"), Value::F32(config.norm_eps));
        let mut write = |name: &str, rows: usize, cols: usize, values: &[f32]| {
            let vector = rows == 1;
            let encoding = if vector { Encoding::F32 } else { encoding };
            let dims = [cols as u64, rows as u64];
            let dims = if vector { &dims[..1] } else { &dims[..] };
            writer.tensor(name, dims, type_code(encoding), encode(values, encoding));
        };
        for TinyTensor { kind, layer, rows, cols, values } in &self.tensors {
            let of = |kind| &self.tensor(kind, *layer).values[..];
            match kind {
                TensorKind::Wq if config.arch == Arch::Gpt2 => {
                    let values = [values, of(TensorKind::Wk), of(TensorKind::Wv)].concat();
                    write(&format!("blk.{layer}.attn_qkv.weight"), values.len() / cols, *cols, &values);
                }
                TensorKind::Bq if config.arch == Arch::Gpt2 => {
                    let values = [values, of(TensorKind::Bk), of(TensorKind::Bv)].concat();
                    write(&format!("blk.{layer}.attn_qkv.bias"), 1, values.len(), &values);
                }
                TensorKind::Wk | TensorKind::Wv | TensorKind::Bk | TensorKind::Bv if config.arch == Arch::Gpt2 => {}
                _ => write(&gguf_name(config.arch, *kind, *layer), *rows, *cols, values),
            }
        }
        writer
    }
}

/// The name GGUF has for a tensor.
pub fn gguf_name(arch: Arch, kind: TensorKind, layer: u32) -> String {
    let name = match kind {
        TensorKind::TokenEmbedding => "token_embd.weight",
        TensorKind::OutputHead => "output.weight",
        TensorKind::PositionEmbedding => "position_embd.weight",
        TensorKind::RmsFinal => "output_norm.weight",
        TensorKind::BiasFinal => "output_norm.bias",
        TensorKind::RmsAtt => "attn_norm.weight",
        TensorKind::BiasAtt => "attn_norm.bias",
        TensorKind::Wq => "attn_q.weight",
        TensorKind::Wk => "attn_k.weight",
        TensorKind::Wv => "attn_v.weight",
        TensorKind::Wo => "attn_output.weight",
        TensorKind::Bq => "attn_q.bias",
        TensorKind::Bk => "attn_k.bias",
        TensorKind::Bv => "attn_v.bias",
        TensorKind::Bo => "attn_output.bias",
        TensorKind::RmsQ => "attn_q_norm.weight",
        TensorKind::RmsK => "attn_k_norm.weight",
        TensorKind::RmsPostAtt => "post_attention_norm.weight",
        TensorKind::RmsFfn => "ffn_norm.weight",
        TensorKind::BiasFfn => "ffn_norm.bias",
        TensorKind::W1 if arch == Arch::Gpt2 => "ffn_up.weight",
        TensorKind::W1 => "ffn_gate.weight",
        TensorKind::W2 => "ffn_down.weight",
        TensorKind::W3 => "ffn_up.weight",
        TensorKind::B1 => "ffn_up.bias",
        TensorKind::B2 => "ffn_down.bias",
        TensorKind::RmsPostFfn => "post_ffw_norm.weight",
    };
    if kind.per_layer() { format!("blk.{layer}.{name}") } else { name.into() }
}

/// ggml's number of an encoding.
///
/// # Panics
/// When GGUF has no such encoding.
pub fn type_code(encoding: Encoding) -> u32 {
    match encoding {
        Encoding::F32 => 0,
        Encoding::F16 => 1,
        Encoding::Q4_0 => 2,
        Encoding::Q4_1 => 3,
        Encoding::Q5_0 => 6,
        Encoding::Q5_1 => 7,
        Encoding::Q8_0 => 8,
        Encoding::Q2K => 10,
        Encoding::Q3K => 11,
        Encoding::Q4K => 12,
        Encoding::Q5K => 13,
        Encoding::Q6K => 14,
        Encoding::IQ4NL => 20,
        Encoding::IQ4XS => 23,
        Encoding::BF16 => 30,
        Encoding::Llama2cQ80 { .. } => panic!("not an encoding of GGUF"),
    }
}

/// Quantises as plainly as can be: to nearest, scale from the largest magnitude (or the range, for `Q4_1`). Groups and
/// blocks run over the values as they come.
pub fn encode(values: &[f32], encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::new();
    let largest = |values: &[f32]| values.iter().fold(0f32, |max, x| max.max(x.abs()));
    let nibbles = |quants: Vec<u8>| -> Vec<u8> {
        let (low, high) = quants.split_at(16);
        low.iter().zip(high).map(|(low, high)| low | high << 4).collect()
    };
    let quant = |x: f32, scale: f32| if scale == 0.0 { 0.0 } else { (x / scale).round() };
    match encoding {
        Encoding::F32 => values.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Encoding::F16 => values.iter().for_each(|x| out.extend(f16::from_f32(*x).to_le_bytes())),
        Encoding::BF16 => values.iter().for_each(|x| out.extend(bf16::from_f32(*x).to_le_bytes())),
        Encoding::Q8_0 => {
            for block in values.chunks(32) {
                let scale = f16::from_f32(largest(block) / 127.0);
                out.extend(scale.to_le_bytes());
                out.extend(block.iter().map(|x| quant(*x, scale.to_f32()).clamp(-128.0, 127.0) as i8 as u8));
            }
        }
        Encoding::Q4_0 => {
            for block in values.chunks(32) {
                let scale = f16::from_f32(largest(block) / 7.0);
                out.extend(scale.to_le_bytes());
                out.extend(nibbles(
                    block.iter().map(|x| (quant(*x, scale.to_f32()) + 8.0).clamp(0.0, 15.0) as u8).collect(),
                ));
            }
        }
        Encoding::Q4_1 => {
            for block in values.chunks(32) {
                let (low, high) = block.iter().fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
                let (scale, low) = (f16::from_f32((high - low) / 15.0), f16::from_f32(low));
                out.extend(scale.to_le_bytes());
                out.extend(low.to_le_bytes());
                let quants = block.iter().map(|x| quant(x - low.to_f32(), scale.to_f32()).clamp(0.0, 15.0) as u8);
                out.extend(nibbles(quants.collect()));
            }
        }
        Encoding::Llama2cQ80 { group } => {
            let scales: Vec<f32> = values.chunks(group).map(|group| largest(group) / 127.0).collect();
            for (group, scale) in values.chunks(group).zip(&scales) {
                out.extend(group.iter().map(|x| quant(*x, *scale) as i8 as u8));
            }
            scales.iter().for_each(|scale| out.extend(scale.to_le_bytes()));
        }
        other => gguf_blocks::encode(values, other, &mut out),
    }
    out
}
