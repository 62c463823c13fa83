//! Packing as `pipsqueak pack` does it, from a path to an image, for programs: a firmware's `build.rs` among them.

use std::path::Path;

use pipsqueak::{
    Image,
    kernels::{Format, Kernels, Panel, select},
};

use super::{Importance, PIECE_TOKENS, PackOptions, Packed, Quant, measure, own_text, pack};
use crate::{boards, engine, failure::Failure, input::Input, model::Model, pool::default_threads};

/// Tokens of the calibration text that are used: more changes little and takes long.
const CALIBRATION_TOKENS: usize = 16_384;
const CALIBRATION_CONTEXT: usize = 512;

/// What the packer is doing, and what its numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The model writes a text to be measured on: pieces.
    Writing,
    /// What flows into its matrices is measured: tokens.
    Measuring,
    /// Weights are laid out: bytes.
    Packing,
}

/// What is to be made of a model. The same recipe, with a target, makes the same bytes of the same model on every machine.
///
/// In the `build.rs` of a firmware, with `pipsqueak-cli` among its build-dependencies:
///
/// ```no_run
/// use std::{env, fs, path::Path};
///
/// use pipsqueak_cli::{failure::Failure, pack::Recipe};
///
/// fn main() -> Result<(), Failure> {
///     let model = Path::new("models/stories.gguf"); // any file or folder that `pipsqueak` reads
///     println!("cargo::rerun-if-changed={}", model.display());
///     let image = Recipe::for_target("netduinoplus2").pack(Some(model))?;
///     let folder = env::var_os("OUT_DIR").expect("cargo sets it");
///     fs::write(Path::new(&folder).join("stories.pips"), image.bytes()).map_err(Failure::new)
/// }
/// ```
///
/// The program takes it by `include_image!(concat!(env!("OUT_DIR"), "/stories.pips"))`.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// Format of the layers' matrices.
    pub quant: Quant,
    /// Format of token embedding and output head; `None` for `quant`, but `Q8` with `Q4` and `Q4M`.
    pub head: Option<Quant>,
    /// Text whose activations weigh the rounding to `Q4` and `Q4M`; `None` for what the model writes itself.
    pub calibration: Option<&'a str>,
    /// The kernel set or board it is laid out for; `None` for this machine.
    pub target: Option<&'a str>,
    /// A tokenizer's file, for a model without a vocabulary.
    pub tokenizer: Option<&'a Path>,
    /// Threads; `None` for all cores. They change no byte.
    pub threads: Option<usize>,
}

impl<'a> Recipe<'a> {
    /// Formats as the model has them, laid out for this machine.
    pub const KEEP: Self =
        Self { quant: Quant::Keep, head: None, calibration: None, target: None, tokenizer: None, threads: None };

    /// Formats as the model has them, laid out for a kernel set or a board.
    pub const fn for_target(target: &'a str) -> Self {
        Self { target: Some(target), ..Self::KEEP }
    }

    /// The image of a model: a file or folder of any kind, or the model in the box where none is named.
    ///
    /// # Errors
    /// Says in one line what is wrong with the model, or that there is no such target.
    pub fn pack(&self, model: Option<&Path>) -> Result<Packed, Failure> {
        self.pack_with(model, &|_, _, _| {})
    }

    /// The same; `progress` hears what is done of how much.
    ///
    /// # Errors
    /// As [`Recipe::pack`].
    pub fn pack_with(
        &self,
        model: Option<&Path>,
        progress: &(dyn Fn(Step, u64, u64) + Sync),
    ) -> Result<Packed, Failure> {
        let panel = panels(self.target)?;
        let threads = self.threads.unwrap_or_else(|| default_threads(u64::MAX));
        let kernels = select::best();
        let input = Input::open(model)?;
        let parts = input.parts(self.tokenizer)?;
        let rounds = matches!(self.quant, Quant::To(Format::Q4 | Format::Q4M));
        let head = self.head.unwrap_or(if rounds { Quant::To(Format::Q8) } else { self.quant });
        let importance = if rounds || self.calibration.is_some() {
            // The model as it is, measured on the text, or on what it writes itself.
            let model = Model::open(model, self.tokenizer, kernels, threads, &|_, _| {})?;
            Some(importance(&model, self.calibration, kernels, threads, progress)?)
        } else {
            None
        };
        let options = PackOptions {
            quant: self.quant,
            head,
            panel: &*panel,
            importance: importance.as_ref(),
            golden: Some(kernels),
            threads,
            progress: &|done, total| progress(Step::Packing, done, total),
            spent: &|bytes| input.let_go(bytes),
        };
        pack(&parts, &options).map_err(|error| Failure::new(format_args!("{}: {error}", input.path().display())))
    }
}

/// How much the columns of each matrix matter.
fn importance(
    model: &Model,
    text: Option<&str>,
    kernels: &dyn Kernels,
    threads: usize,
    progress: &(dyn Fn(Step, u64, u64) + Sync),
) -> Result<Importance, Failure> {
    let image: Image<'_> = model.image()?;
    let (ids, context) = match text {
        Some(text) => {
            let vocab = engine::vocab(&image, model.vocab_left_out())?;
            let mut ids = engine::encode(&vocab, text, vocab.add_bos(), false)?;
            ids.truncate(CALIBRATION_TOKENS);
            (ids, CALIBRATION_CONTEXT)
        }
        None => {
            let written = |done: u32, total: u32| progress(Step::Writing, done.into(), total.into());
            (own_text(&image, kernels, threads, written)?, PIECE_TOKENS)
        }
    };
    if ids.is_empty() {
        return Err(Failure::new("the calibration text is empty"));
    }
    let context = context.min(image.config().seq_len as usize);
    let total = ids.len() as u64;
    let measured = |done: usize| progress(Step::Measuring, done as u64, total);
    Ok(measure(&image, kernels, threads, &ids, context, measured)?)
}

/// The panels of a kernel set or a board; of this machine where none is named.
pub fn panels(name: Option<&str>) -> Result<Box<dyn Fn(Format) -> Panel + Sync>, Failure> {
    let of = |kernels: &'static dyn Kernels| {
        Box::new(move |format| kernels.panel(format)) as Box<dyn Fn(Format) -> Panel + Sync>
    };
    let Some(name) = name else { return Ok(of(select::best())) };
    if let Some(panel) = select::panel_of(name).or_else(|| boards::by_name(name).map(|board| board.panel())) {
        return Ok(Box::new(move |_| panel));
    }
    let boards: Vec<_> = boards::ALL.iter().map(|board| board.name).collect();
    Err(Failure::usage(format_args!(
        "--for {name}: known are the kernel sets {} and the boards {}",
        select::EVERYWHERE.map(|(name, _)| name).join(", "),
        boards.join(", ")
    )))
}
