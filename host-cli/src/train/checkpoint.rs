//! A run's state in a file, so that a run that was killed goes on as if it had not been.
//!
//! The file is in the safetensors format, which other tools read too: per group `weights/NAME`, `mean/NAME` and
//! `square/NAME`; once rounding has begun, `scales/NAME` with moments of their own; and the run's history. The metadata hold
//! the step, the settings, and a CRC-32 of all tensors' bytes.

use std::{collections::HashMap, fmt, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{
    batches::Cursor,
    optimiser::{Moment, Moments},
    weights::{Group, Weights},
};
use crate::{failure::Failure, output::Output};

const KEY: &str = "pipsqueak";
const CRC: &str = "crc32";
const HISTORY: &str = "history";
const HELD_OUT: &str = "held_out";

/// What a step left in the log: `[step, tokens so far, learning rate, loss, loss against the text, gradient]`.
pub type Point = [f64; 6];
/// What a look at the held-out text left: `[step, nats a token, bits a character]`.
pub type HeldOut = [f64; 3];

/// A run's state but for its weights and moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Tokens learned from.
    pub tokens: u64,
    /// How far each pool was read.
    pub cursors: Vec<Cursor>,
    /// What must be the same for the run to go on: settings and texts.
    pub run: String,
    /// Every step.
    #[serde(skip)]
    pub history: Vec<Point>,
    /// Every look at the held-out text.
    #[serde(skip)]
    pub held_out: Vec<HeldOut>,
}

/// Why a checkpoint cannot be gone on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// Not a whole safetensors file.
    Format {
        /// Bytes of the file.
        bytes: usize,
        /// What the reader said.
        reason: String,
    },
    /// A whole file that no run of this program wrote.
    Foreign,
    /// Bytes are not what was written.
    Checksum {
        /// As written.
        expected: u32,
        /// As read.
        got: u32,
    },
    /// The run had other settings or texts.
    OtherRun {
        /// What differs: the settings' names and both values.
        what: String,
    },
    /// A tensor is missing or has another shape.
    Tensor {
        /// Which.
        name: String,
    },
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { bytes, reason } => {
                write!(f, "a checkpoint of {bytes} bytes that is cut short or damaged ({reason})")
            }
            Self::Foreign => f.write_str("a safetensors file, but not a checkpoint of this program"),
            Self::Checksum { expected, got } => {
                write!(f, "a damaged checkpoint: its checksum is {got:08x} and should be {expected:08x}")
            }
            Self::OtherRun { what } => write!(f, "the checkpoint of another run: {what}"),
            Self::Tensor { name } => {
                write!(f, "the checkpoint of another model: {name} is missing or has another shape")
            }
        }
    }
}

impl std::error::Error for CheckpointError {}

fn bytes_of<'a>(values: impl IntoIterator<Item = &'a f32>) -> Vec<u8> {
    values.into_iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn bytes_of_f64<'a>(values: impl IntoIterator<Item = &'a f64>) -> Vec<u8> {
    values.into_iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Writes a checkpoint; the file of that name is replaced only when all of the new one is on the disk.
pub fn write(path: &Path, weights: &Weights, moments: &Moments, state: &State) -> Result<(), Failure> {
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (group, (moment, scales)) in weights.groups.iter().zip(moments.values.iter().zip(&moments.scales)) {
        let shape = vec![group.rows, group.cols];
        for (what, values) in [("weights", &group.values), ("mean", &moment.mean), ("square", &moment.square)] {
            tensors.push((format!("{what}/{}", group.name()), Dtype::F32, shape.clone(), bytes_of(values)));
        }
        if !group.scales.is_empty() {
            let all = [("scales", &group.scales), ("scales-mean", &scales.mean), ("scales-square", &scales.square)];
            for (what, values) in all {
                tensors.push((format!("{what}/{}", group.name()), Dtype::F32, group.scale_shape(), bytes_of(values)));
            }
        }
    }
    let history = bytes_of_f64(state.history.as_flattened());
    tensors.push((HISTORY.into(), Dtype::F64, vec![state.history.len(), 6], history));
    let held_out = bytes_of_f64(state.held_out.as_flattened());
    tensors.push((HELD_OUT.into(), Dtype::F64, vec![state.held_out.len(), 3], held_out));
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut crc = crc32fast::Hasher::new();
    tensors.iter().for_each(|(_, _, _, bytes)| crc.update(bytes));
    let state = serde_json::to_string(state).map_err(Failure::new)?;
    let metadata = HashMap::from([(KEY.to_string(), state), (CRC.to_string(), crc.finalize().to_string())]);
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(Failure::new)?;
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(Failure::new)?;
    let mut output = Output::create(path)?;
    output.write(&bytes)?;
    output.finish()
}

/// Reads a checkpoint into `weights` and `moments`, which have the run's shape; `run` must be the run's own.
///
/// # Errors
/// [`CheckpointError`]; then nothing was changed.
pub fn read(bytes: &[u8], run: &str, weights: &mut Weights, moments: &mut Moments) -> Result<State, CheckpointError> {
    let format =
        |error: safetensors::SafeTensorError| CheckpointError::Format { bytes: bytes.len(), reason: error.to_string() };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(format)?;
    let file = SafeTensors::deserialize(bytes).map_err(format)?;
    let metadata = header.metadata().as_ref();
    let field = |key: &str| metadata.and_then(|metadata| metadata.get(key)).ok_or(CheckpointError::Foreign);
    let mut state: State = serde_json::from_str(field(KEY)?).map_err(|_| CheckpointError::Foreign)?;
    let expected: u32 = field(CRC)?.parse().map_err(|_| CheckpointError::Foreign)?;
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut crc = crc32fast::Hasher::new();
    tensors.iter().for_each(|(_, tensor)| crc.update(tensor.data()));
    let got = crc.finalize();
    if got != expected {
        return Err(CheckpointError::Checksum { expected, got });
    }
    if state.run != run {
        return Err(CheckpointError::OtherRun { what: difference(&state.run, run) });
    }
    let doubles = |name: &str| {
        let tensor = file.tensor(name).ok().filter(|tensor| tensor.dtype() == Dtype::F64);
        let tensor = tensor.ok_or_else(|| CheckpointError::Tensor { name: name.into() })?;
        Ok(tensor.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect::<Vec<_>>())
    };
    state.history = doubles(HISTORY)?.as_chunks().0.to_vec();
    state.held_out = doubles(HELD_OUT)?.as_chunks().0.to_vec();
    let values = |what: &str, group: &Group, shape: &[usize]| {
        let name = format!("{what}/{}", group.name());
        let tensor = file.tensor(&name).ok();
        let tensor = tensor.filter(|tensor| tensor.dtype() == Dtype::F32 && tensor.shape() == shape);
        let tensor = tensor.ok_or(CheckpointError::Tensor { name })?;
        Ok(tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>())
    };
    let mut read = Vec::with_capacity(weights.groups.len());
    for group in &weights.groups {
        let all = |shape: &[usize], [what, mean, square]: [&str; 3]| {
            let moment = Moment { mean: values(mean, group, shape)?, square: values(square, group, shape)? };
            Ok((values(what, group, shape)?, moment))
        };
        let weights = all(&[group.rows, group.cols], ["weights", "mean", "square"])?;
        let begun = file.tensor(&format!("scales/{}", group.name())).is_ok();
        let scales = if begun {
            all(&group.scale_shape(), ["scales", "scales-mean", "scales-square"])?
        } else {
            Default::default()
        };
        read.push((weights, scales));
    }
    *moments = Moments::default();
    for (group, ((values, moment), (scales, scale_moment))) in weights.groups.iter_mut().zip(read) {
        (group.values, group.scales) = (values, scales);
        moments.values.push(moment);
        moments.scales.push(scale_moment);
    }
    Ok(state)
}

/// Which of two runs' settings differ, from their JSON objects.
fn difference(before: &str, now: &str) -> String {
    let parse = |text| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).unwrap_or_default();
    let (before, now) = (parse(before), parse(now));
    let differing = now.iter().filter(|(key, value)| before.get(*key) != Some(value));
    let words: Vec<_> = differing
        .map(|(key, value)| match before.get(key) {
            Some(old) => format!("{key} was {old} and is {value}"),
            None => format!("{key} is {value}"),
        })
        .collect();
    if words.is_empty() { "of another version of this program".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use pipsqueak::{
        Config,
        config::{Activation, Arch, RopePairs},
        kernels::Format,
    };

    use super::*;
    use crate::train::rounding::Rounding;

    fn weights(seed: u64) -> Weights {
        let config = Config {
            dim: 8,
            hidden_dim: 12,
            n_layers: 2,
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 4,
            rope_dim: 4,
            vocab_size: 10,
            seq_len: 16,
            norm_eps: 1e-5,
            att_scale: 0.5,
            rope_pairs: RopePairs::Interleaved,
            activation: Activation::Silu,
            tied_head: true,
            arch: Arch::Llama,
        };
        Weights::random(config, seed)
    }

    fn saved() -> (Vec<u8>, Weights, Moments, State) {
        let mut weights = weights(1);
        Rounding { layers: Format::Q4, head: Format::F32 }.begin(&mut weights);
        let mut moments = Moments::zero(&weights);
        moments.values[1].mean[2] = 0.5;
        moments.values[3].square[1] = f32::MIN_POSITIVE;
        moments.scales[3].mean[1] = -2.0;
        let state = State {
            step: 7,
            tokens: 1234,
            cursors: vec![Cursor { epoch: 1, at: 2, tokens: 3 }],
            run: r#"{"dim":8,"seed":1}"#.into(),
            history: vec![[1.0, 2.0, 3.0, 0.1, 1e300, -0.0]],
            held_out: vec![[5.0, 1.5, 1.1]],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.checkpoint");
        write(&path, &weights, &moments, &state).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file stayed");
        (std::fs::read(path).unwrap(), weights, moments, state)
    }

    #[test]
    fn what_is_written_is_read() {
        let (bytes, weights_then, moments_then, state_then) = saved();
        let mut weights = weights(2);
        let mut moments = Moments::zero(&weights);
        let state = read(&bytes, &state_then.run, &mut weights, &mut moments).unwrap();
        assert_eq!((weights, moments, state), (weights_then, moments_then, state_then));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_refused_and_changes_nothing() {
        let (bytes, _, _, state) = saved();
        let before = weights(2);
        let zero = Moments::zero(&before);
        let refused = |bytes: &[u8], what: &dyn fmt::Display| {
            let (mut weights, mut moments) = (before.clone(), zero.clone());
            let result = read(bytes, &state.run, &mut weights, &mut moments);
            assert!(result.is_err(), "{what} was accepted");
            assert_eq!((&weights, &moments), (&before, &zero), "{what}");
        };
        for len in 0..bytes.len() {
            refused(&bytes[..len], &format_args!("cut to {len}"));
        }
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for at in header..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            refused(&bytes, &format_args!("byte {at}"));
        }
    }

    #[test]
    fn another_run_is_named() {
        let (bytes, ..) = saved();
        let mut weights = weights(2);
        let mut moments = Moments::zero(&weights);
        let error = read(&bytes, r#"{"dim":8,"seed":2}"#, &mut weights, &mut moments).unwrap_err();
        assert_eq!(error.to_string(), "the checkpoint of another run: seed was 1 and is 2");
    }
}
