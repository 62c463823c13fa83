//! How much each input column of a matrix matters: the mean square of what flows into it on a given text.

use std::collections::BTreeMap;

use pipsqueak::{Image, KvType, PlanOptions, SessionError, Want, kernels::Kernels, stage::Stage, tensor::TensorKind};

use crate::pool::with_session;

/// Weights of columns, by tensor.
#[derive(Clone, Debug, Default)]
pub struct Importance(BTreeMap<(TensorKind, u32), Vec<f32>>);

impl Importance {
    /// The weights of a matrix's columns, `[cols]`, with mean 1; `None` where nothing was measured.
    pub fn get(&self, kind: TensorKind, layer: u32) -> Option<&[f32]> {
        self.0.get(&(kind, layer)).map(Vec::as_slice)
    }
}

/// Runs the model over `tokens`, in windows of `context`, and measures every matrix's inputs. `progress` hears tokens
/// done.
pub fn measure(
    image: &Image<'_>,
    kernels: &dyn Kernels,
    threads: usize,
    tokens: &[u32],
    context: usize,
    mut progress: impl FnMut(usize),
) -> Result<Importance, SessionError> {
    let batch = context.min(64);
    let options = PlanOptions { context, kv: KvType::F32, batch, logits: batch, threads };
    let mut sums: BTreeMap<(TensorKind, u32), Vec<f64>> = BTreeMap::new();
    with_session(image, kernels, options, |session| {
        let mut done = 0;
        for window in tokens.chunks(context) {
            session.truncate(0);
            let mut rest = window;
            while !rest.is_empty() {
                let n = session.feed(rest, Want::All)?;
                while let Some(at) = session.step_stage()? {
                    for kind in fed_by(at.stage) {
                        add(sums.entry((*kind, at.layer)).or_default(), session.product_input(at.stage));
                    }
                }
                done += n;
                progress(done);
                rest = &rest[n..];
            }
        }
        Ok(())
    })?;
    let tied = image.config().tied_head;
    Ok(Importance(sums.into_iter().map(|((kind, layer), sum)| (place(kind, layer, tied), normalise(&sum))).collect()))
}

/// The head's input is measured at the end of the last layer; a tied head is the embedding.
fn place(kind: TensorKind, layer: u32, tied: bool) -> (TensorKind, u32) {
    match kind {
        TensorKind::OutputHead if tied => (TensorKind::TokenEmbedding, 0),
        TensorKind::OutputHead => (kind, 0),
        _ => (kind, layer),
    }
}

/// The matrices that read what a stage leaves.
fn fed_by(stage: Stage) -> &'static [TensorKind] {
    match stage {
        Stage::AttNorm => &[TensorKind::Wq, TensorKind::Wk, TensorKind::Wv],
        Stage::AttQuantise => &[TensorKind::Wo],
        Stage::FfnNorm => &[TensorKind::W1, TensorKind::W3],
        Stage::Gate => &[TensorKind::W2],
        Stage::FinalNorm => &[TensorKind::OutputHead],
        _ => &[],
    }
}

fn add(sums: &mut Vec<f64>, rows: (&[f32], usize)) {
    let (rows, cols) = rows;
    sums.resize(cols, 0.0);
    for row in rows.chunks_exact(cols.max(1)) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
}

/// Mean 1, and no column below a thousandth: a text never shows everything.
fn normalise(sums: &[f64]) -> Vec<f32> {
    let mean = sums.iter().sum::<f64>() / sums.len().max(1) as f64;
    if mean <= 0.0 {
        return vec![1.0; sums.len()];
    }
    sums.iter().map(|sum| (sum / mean).max(1e-3) as f32).collect()
}
