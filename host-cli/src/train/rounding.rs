//! The weights as the packed image will hold them, and how a gradient passes through the rounding.
//!
//! A block's scale is learned with its weights. One that follows the block's largest value instead jumps whenever another
//! value becomes the largest, and every weight of the block with it.
//!
//! Source: Esser et al. 2020, arXiv:1902.08153 (LSQ); Bengio et al. 2013, arXiv:1308.3432 (straight through).

use pipsqueak::{
    kernels::{
        BLOCK, Block, Format,
        float16::f16_to_f32,
        quantise::{encode, nearest, search},
    },
    tensor::TensorKind,
};

use super::weights::{Group, Weights};

/// The smallest scale: the least normal half. Smaller ones lose their digits, and zero is never left again.
pub(super) const LEAST_SCALE: f32 = 6.103_515_6e-5;

/// The number formats of the packed image that training looks through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Of the layers' matrices.
    pub layers: Format,
    /// Of the token embedding and the output head.
    pub head: Format,
}

impl Rounding {
    /// No rounding at all.
    pub const NONE: Self = Self { layers: Format::F32, head: Format::F32 };

    /// Whether products of a group take int8 activations.
    pub(super) fn quantises(self, group: &Group) -> bool {
        !group.is_vector() && self.of(group).is_quantised()
    }

    /// The format of a group's matrices.
    pub(super) fn of(self, group: &Group) -> Format {
        match group.kinds {
            [TensorKind::TokenEmbedding | TensorKind::OutputHead] => self.head,
            _ => self.layers,
        }
    }

    /// Whether a group's scales are learned. Q4M's blocks, which have a minimum too, are covered anew at each step.
    fn learns(self, group: &Group) -> bool {
        !group.is_vector() && matches!(self.of(group), Format::Q8 | Format::Q4)
    }

    /// Gives the groups that have no scales yet the ones that lose least.
    pub fn begin(self, weights: &mut Weights) {
        for group in weights.groups.iter_mut().filter(|group| self.learns(group) && group.scales.is_empty()) {
            let format = self.of(group);
            let scale = |x| {
                let scale = f16_to_f32(search(format, &x, None).scales[0]);
                scale.abs().max(LEAST_SCALE).copysign(scale)
            };
            group.scales = blocks(group).map(scale).collect();
        }
    }

    /// A group's blocks as an image of these formats holds them, row by row. Only for groups that are rounded.
    pub(super) fn blocks(self, group: &Group) -> impl Iterator<Item = Block> {
        let format = self.of(group);
        let mut scales = group.scales.iter();
        blocks(group).map(move |x| match scales.next() {
            Some(scale) => encode(format, &x, *scale, 0.0),
            None => nearest(format, &x),
        })
    }

    /// A group's values as an image of these formats holds them.
    pub fn round(self, group: &Group) -> Vec<f32> {
        if !self.quantises(group) {
            return group.values.clone();
        }
        let format = self.of(group);
        let mut out = Vec::with_capacity(group.values.len());
        let lengths =
            (0..group.rows).flat_map(|_| (0..group.cols).step_by(BLOCK).map(|at| (group.cols - at).min(BLOCK)));
        for (block, len) in self.blocks(group).zip(lengths) {
            out.extend_from_slice(&block.dequantise(format)[..len]);
        }
        out
    }

    /// Turns the gradient of a group's rounded values into that of its values, and returns that of its scales' logarithms.
    ///
    /// A value inside the range of codes takes the gradient as it is; one that was clipped takes none. With `x` the value,
    /// `d` the scale and `q` the code, the rounded value `d q` changes with `d` by `q - x / d` inside, by `q` outside.
    pub(super) fn pull_back(self, group: &Group, gradient: &mut [f32]) -> Vec<f32> {
        if group.scales.is_empty() || !self.learns(group) {
            return Vec::new();
        }
        let (low, high, offset) = match self.of(group) {
            Format::Q8 => (-127.0, 127.0, 0),
            _ => (-8.0, 7.0, 8),
        };
        let mut out = Vec::with_capacity(group.scales.len());
        let rows = group.values.chunks_exact(group.cols).zip(gradient.chunks_exact_mut(group.cols));
        let mut each = rows.flat_map(|(x, g)| x.chunks(BLOCK).zip(g.chunks_mut(BLOCK)));
        for block in self.blocks(group) {
            let Some((x, g)) = each.next() else { break };
            let d = f16_to_f32(block.scales[0]);
            let mut sum = 0.0;
            for ((x, g), code) in x.iter().zip(g).zip(block.codes) {
                let level = x / d;
                let q = f32::from(code.wrapping_sub(offset).cast_signed());
                if level < low || level > high {
                    sum += *g * q;
                    *g = 0.0;
                } else {
                    sum += *g * (q - level);
                }
            }
            out.push(sum * d);
        }
        out
    }
}

/// A matrix's blocks, row by row, the last of a row filled up with zeros.
fn blocks(group: &Group) -> impl Iterator<Item = [f32; BLOCK]> {
    group.values.chunks_exact(group.cols).flat_map(|row| {
        row.chunks(BLOCK).map(|x| {
            let mut block = [0.0; BLOCK];
            block[..x.len()].copy_from_slice(x);
            block
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(cols: usize, values: Vec<f32>, scales: Vec<f32>) -> Group {
        Group { kinds: &[TensorKind::W2], layer: 0, rows: values.len() / cols, cols, values, scales }
    }

    const Q4: Rounding = Rounding { layers: Format::Q4, head: Format::F32 };

    #[test]
    fn values_are_rounded_with_the_learned_scales() {
        let group = group(3, vec![0.9, -3.2, 100.0, 1.0, 1.1, -100.0], vec![0.5, -0.25]);
        assert_eq!(Q4.round(&group), [1.0, -3.0, 3.5, 1.0, 1.0, -1.75]);
    }

    /// By hand: inside, `q - x / d`; outside, `q`; both times `d`.
    #[test]
    fn gradients_pass_inside_the_range_and_move_the_scale() {
        let group = group(3, vec![0.9, -3.2, 100.0, 1.0, 1.1, -100.0], vec![0.5, -0.25]);
        let mut gradient = vec![1.0, 2.0, 4.0, 1.0, 1.0, 8.0];
        let scales = Q4.pull_back(&group, &mut gradient);
        assert_eq!(gradient, [1.0, 2.0, 0.0, 1.0, 1.0, 0.0]);
        let first = 0.5 * (1.0 * (2.0 - 1.8) + 2.0 * (-6.0 + 6.4) + 4.0 * 7.0);
        let second = -0.25 * ((-4.0 + 4.0) + (-4.0 + 4.4) + 8.0 * 7.0);
        assert!((scales[0] - first).abs() < 1e-5 && (scales[1] - second).abs() < 1e-5, "{scales:?}");
    }

    #[test]
    fn what_is_not_rounded_passes_unchanged() {
        let mut group = group(2, vec![0.3, 0.4], vec![]);
        let mut gradient = vec![1.0, -1.0];
        assert!(Rounding::NONE.pull_back(&group, &mut gradient).is_empty());
        assert!(Q4.pull_back(&group, &mut gradient).is_empty());
        assert_eq!(gradient, [1.0, -1.0]);
        assert_eq!(Rounding::NONE.round(&group), group.values);
        // A minimum for each block: covered anew, nothing learned.
        let q4m = Rounding { layers: Format::Q4M, head: Format::F32 };
        group.scales = vec![1.0];
        assert!(q4m.pull_back(&group, &mut gradient).is_empty());
    }

    #[test]
    fn scales_begin_where_least_is_lost_and_never_at_zero() {
        let config = pipsqueak::Config {
            dim: 8,
            hidden_dim: 40,
            n_layers: 1,
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 4,
            rope_dim: 4,
            vocab_size: 10,
            seq_len: 16,
            norm_eps: 1e-5,
            att_scale: 0.5,
            rope_pairs: pipsqueak::config::RopePairs::Interleaved,
            activation: pipsqueak::config::Activation::Silu,
            tied_head: true,
            arch: pipsqueak::config::Arch::Llama,
        };
        let mut weights = Weights::random(config, 3);
        let of = |weights: &Weights, kind| weights.groups.iter().position(|group| group.kinds == [kind]).unwrap();
        let (w2, wo) = (of(&weights, TensorKind::W2), of(&weights, TensorKind::Wo));
        weights.groups[wo].values.fill(0.0);
        let error = |weights: &Weights| {
            let group = &weights.groups[w2];
            Q4.round(group).iter().zip(&group.values).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
        };
        let before = error(&weights);
        Q4.begin(&mut weights);
        assert!(error(&weights) < 0.9 * before, "{} of {before}", error(&weights));
        assert_eq!(weights.groups[w2].scales.len(), 8 * 2);
        assert!(weights.groups[wo].scales.iter().all(|scale| scale.abs() == LEAST_SCALE));
        let scales = weights.groups[w2].scales.clone();
        weights.groups[w2].values.fill(1.0);
        Q4.begin(&mut weights);
        assert_eq!(weights.groups[w2].scales, scales, "begun twice");
    }
}
