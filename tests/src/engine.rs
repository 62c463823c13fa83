//! Small models packed in memory, and sessions over them.

use pipsqueak::{
    Image, Plan, PlanOptions, Session,
    crc::crc32,
    image::{HEADER_BYTES, SECTIONS},
    kernels::{
        Format, Kernels, Panel,
        arena::{Line, bytes_of, bytes_of_mut},
        team::Team,
    },
};
use pipsqueak_cli::{
    pack::{ModelParts, PackOptions, Packed, Quant, pack},
    source::{Encoding, RopeScaling, RowOrder, Source, SourceTensor},
};

use crate::tiny_model::{TinyModel, TinyTensor, encode};

/// A tiny model as an importer would find it in an `f32` file.
pub struct TinyFile {
    model: TinyModel,
    bytes: Vec<Vec<u8>>,
    /// RoPE's base.
    pub rope_base: f64,
    /// RoPE's base in layers with a sliding window.
    pub rope_base_local: f64,
    /// How RoPE is stretched.
    pub rope_scaling: RopeScaling,
    /// The divisors of [`RopeScaling::Factors`].
    pub rope_factors: Vec<f32>,
    /// The vocabulary.
    pub vocab: Option<pipsqueak_cli::vocab::VocabSource>,
    /// The chat template.
    pub chat_template: Option<String>,
}

impl TinyFile {
    /// The model's file, with the first Llama's RoPE.
    pub fn new(model: TinyModel) -> Self {
        let bytes = model.tensors.iter().map(|tensor| encode(&tensor.values, Encoding::F32)).collect();
        let rope_scaling = RopeScaling::None;
        let (rope_base, rope_base_local) = (10_000.0, 500.0);
        let (rope_factors, vocab, chat_template) = (Vec::new(), None, None);
        Self { model, bytes, rope_base, rope_base_local, rope_scaling, rope_factors, vocab, chat_template }
    }

    /// What an importer makes of it.
    pub fn source(&self) -> Source<'_> {
        let tensors = self.model.tensors.iter().zip(&self.bytes);
        Source {
            config: self.model.config,
            rope_base: self.rope_base,
            rope_base_local: self.rope_base_local,
            rope_scaling: self.rope_scaling,
            rope_factors: self.rope_factors.clone(),
            tensors: tensors
                .map(|(tensor, data)| SourceTensor {
                    kind: tensor.kind,
                    layer: tensor.layer,
                    rows: tensor.rows,
                    cols: tensor.cols,
                    encoding: Encoding::F32,
                    order: RowOrder::InPlace,
                    shift: 0.0,
                    data,
                })
                .collect(),
            vocab: self.vocab.clone(),
            name: "tiny".into(),
            licence: String::new(),
            origin: "a random generator".into(),
            chat_template: self.chat_template.clone(),
            vocab_left_out: None,
        }
    }

    /// Its image with all matrices in `format`.
    pub fn pack(&self, format: Format, panel: Panel) -> Packed {
        packed(&self.source(), Quant::To(format), panel)
    }

    /// The same file with the values that `image` has after rounding.
    pub fn rounded(&self, image: &Image<'_>) -> Self {
        let tensors = self.model.tensors.iter().map(|tensor| {
            let matrix = image.matrix(tensor.kind, tensor.layer).expect("a tensor of this role");
            let mut values = vec![0.0; tensor.values.len()];
            for (row, out) in values.chunks_exact_mut(tensor.cols).enumerate() {
                assert!(matrix.row(row, out));
            }
            TinyTensor { values, ..tensor.clone() }
        });
        let model = TinyModel { config: self.model.config, tensors: tensors.collect() };
        Self {
            rope_base: self.rope_base,
            rope_base_local: self.rope_base_local,
            rope_scaling: self.rope_scaling,
            rope_factors: self.rope_factors.clone(),
            vocab: self.vocab.clone(),
            chat_template: self.chat_template.clone(),
            ..Self::new(model)
        }
    }
}

/// The image of any model, with its chat pieces where it has a template that can be split; a golden vector is not
/// computed.
///
/// # Panics
/// When the packer refuses it.
pub fn packed(source: &Source<'_>, quant: Quant, panel: Panel) -> Packed {
    let mut parts = ModelParts::from_source(source).expect("parts");
    let _ = parts.split_chat();
    let panel = |_: Format| panel;
    pack(&parts, &PackOptions { quant, head: quant, ..PackOptions::keep(&panel, 1) }).expect("an image")
}

/// Packs a model that may be anything; the error is the packer's business, the image must open.
pub fn try_pack(source: &Source<'_>) {
    let Ok(parts) = ModelParts::from_source(source) else { return };
    let panel = |_: Format| Panel::R4;
    if let Ok(packed) = pack(&parts, &PackOptions::keep(&panel, 1)) {
        Image::open(packed.bytes()).expect("an image").verify().expect("right checksums");
    }
}

/// Puts an image's checksums of sections and header right, as far as sections can be found.
pub fn repair(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    for section in 0..SECTIONS {
        let at = 96 + 24 * section;
        let get = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i])) as usize;
        let (offset, len) = (get(at), get(at + 8));
        let content = offset.checked_add(len).and_then(|end| bytes.get(offset..end));
        if let Some(crc) = content.map(crc32) {
            bytes[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Bytes that start on a line of 64, as an image must.
#[derive(Clone)]
pub struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut lines = vec![Line::ZERO; Line::count(bytes.len())];
        bytes_of_mut(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        Self { lines, len: bytes.len() }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytes_of(&self.lines)[..self.len]
    }

    /// The bytes, to be damaged.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytes_of_mut(&mut self.lines)[..self.len]
    }
}

/// The two arenas of a plan.
pub struct Arenas {
    /// Scratch.
    pub scratch: Vec<Line>,
    /// Keys and values.
    pub kv: Vec<Line>,
}

impl Arenas {
    /// Arenas of exactly the plan's sizes.
    pub fn new(plan: &Plan) -> Self {
        Self { scratch: vec![Line::ZERO; plan.scratch_lines()], kv: vec![Line::ZERO; plan.kv_lines()] }
    }

    /// A session over them.
    ///
    /// # Panics
    /// When the plan is for another model.
    pub fn session<'m>(
        &'m mut self,
        image: &'m Image<'m>,
        kernels: &'m (dyn Kernels + 'static),
        team: &'m Team<'m>,
        plan: &Plan,
    ) -> Session<'m> {
        Session::new(image, kernels, team, plan, &mut self.scratch, &mut self.kv).expect("a session")
    }
}

/// The logits after every token of `ids`, `[ids.len(), vocab_size]`.
///
/// # Panics
/// When the session fails.
pub fn logits(
    image: &Image<'_>,
    kernels: &'static dyn Kernels,
    team: &Team<'_>,
    options: PlanOptions,
    ids: &[u32],
) -> Vec<f32> {
    let plan = Plan::new(image.config(), options);
    let mut arenas = Arenas::new(&plan);
    let mut session = arenas.session(image, kernels, team, &plan);
    let mut out = Vec::new();
    session.score(ids, |_, logits| out.extend(logits)).expect("logits");
    out
}

/// The bits of floats, so that `==` tells -0.0 from 0.0.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Token ids spread over a vocabulary.
pub fn some_ids(n: usize, vocab_size: u32, seed: u64) -> Vec<u32> {
    let mut rng = crate::rng::Rng::new(seed);
    (0..n).map(|_| rng.below(vocab_size as usize) as u32).collect()
}
