//! The weights being trained: `f32`, in groups that one product reads.

use pipsqueak::{Config, Image, kernels::BLOCK, tensor::TensorKind};

/// Tensors of one shape of input that a single product reads: their rows stand one below the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Which tensors, from the first row down.
    pub kinds: &'static [TensorKind],
    /// Their layer; 0 for tensors of the whole model.
    pub layer: u32,
    /// Rows of all of them; 1 for a vector.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// `[rows, cols]`
    pub values: Vec<f32>,
    /// `[rows, cols.div_ceil(32)]`: the scales that rounding learns; empty before it begins.
    pub scales: Vec<f32>,
}

impl Group {
    /// Whether it is the gain of a norm, which is neither rounded nor decayed.
    pub fn is_vector(&self) -> bool {
        self.kinds.iter().all(|kind| kind.is_vector())
    }

    /// The shape of its scales.
    pub fn scale_shape(&self) -> Vec<usize> {
        vec![self.rows, self.cols.div_ceil(BLOCK)]
    }

    /// A name for files: `wq+wk+wv.3`.
    pub fn name(&self) -> String {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        format!("{}.{}", kinds.join("+"), self.layer)
    }
}

/// The groups of the whole model, in order; the output head only where it is not tied.
const WHOLE: [&[TensorKind]; 3] = [&[TensorKind::TokenEmbedding], &[TensorKind::OutputHead], &[TensorKind::RmsFinal]];
/// The groups of a layer, in order.
pub(super) const LAYER: [&[TensorKind]; 6] = [
    &[TensorKind::RmsAtt],
    &[TensorKind::Wq, TensorKind::Wk, TensorKind::Wv],
    &[TensorKind::Wo],
    &[TensorKind::RmsFfn],
    &[TensorKind::W1, TensorKind::W3],
    &[TensorKind::W2],
];

/// All weights of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The shape.
    pub config: Config,
    /// Embedding, head where it is not tied, last norm; then the groups of each layer.
    pub groups: Vec<Group>,
}

impl Weights {
    fn new(config: Config, mut fill: impl FnMut(TensorKind, u32, usize, &mut [f32])) -> Self {
        let whole =
            WHOLE.into_iter().filter(|kinds| kinds.iter().all(|kind| config.has(*kind))).map(|kinds| (kinds, 0));
        let layers = (0..config.n_layers).flat_map(|layer| LAYER.into_iter().map(move |kinds| (kinds, layer)));
        let groups = whole
            .chain(layers)
            .map(|(kinds, layer)| {
                let mut values = Vec::new();
                let (mut rows, mut cols) = (0, 0);
                for kind in kinds {
                    let shape = config.shape(*kind);
                    cols = shape.1 as usize;
                    let start = values.len();
                    values.resize(start + shape.0 as usize * cols, 0.0);
                    fill(*kind, layer, cols, &mut values[start..]);
                    rows += shape.0 as usize;
                }
                Group { kinds, layer, rows, cols, values, scales: Vec::new() }
            })
            .collect();
        Self { config, groups }
    }

    /// Weights to start from: normal, with the variance `1 / columns`; what is added to the residual stream is smaller by
    /// the root of the number of additions (Radford et al. 2019).
    pub fn random(config: Config, seed: u64) -> Self {
        let mut draw = Normal::new(seed);
        let additions = (2.0 * config.n_layers as f32).sqrt();
        Self::new(config, |kind, _, cols, values| {
            let deviation = match kind {
                TensorKind::RmsAtt | TensorKind::RmsFfn | TensorKind::RmsFinal => return values.fill(1.0),
                // Read both ways where the head is tied: logits of about 1 at the start.
                TensorKind::TokenEmbedding | TensorKind::OutputHead => 0.7 / (cols as f32).sqrt(),
                TensorKind::Wo | TensorKind::W2 => 1.0 / (cols as f32).sqrt() / additions,
                _ => 1.0 / (cols as f32).sqrt(),
            };
            values.iter_mut().for_each(|value| *value = draw.next() * deviation);
        })
    }

    /// The weights of an image; `None` where it lacks a tensor.
    pub fn from_image(image: &Image<'_>) -> Option<Self> {
        let mut complete = true;
        let weights = Self::new(*image.config(), |kind, layer, cols, values| {
            let matrix = image.matrix(kind, layer);
            let mut rows = values.chunks_exact_mut(cols.max(1)).enumerate();
            complete &= matrix.is_some_and(|matrix| rows.all(|(row, values)| matrix.row(row, values)));
        });
        complete.then_some(weights)
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.values.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Numbers of a normal distribution, always the same for a seed.
///
/// Sources: Box & Muller 1958; the generator is splitmix64 (Steele et al. 2014).
pub(super) struct Normal {
    state: SplitMix,
}

impl Normal {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: SplitMix(seed) }
    }

    fn next(&mut self) -> f32 {
        // Never 0, whose logarithm is infinite.
        let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (a, b) = (uniform(self.state.next()), uniform(self.state.next()));
        (libm::sqrt(-2.0 * libm::log(a)) * libm::cos(std::f64::consts::TAU * b)) as f32
    }
}

/// splitmix64.
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}
