//! What a run can be told, by flags, by a file, or by default.

use std::path::PathBuf;

use clap::Args;
use pipsqueak::kernels::Format;
use serde::{Deserialize, Serialize};

use super::rounding::Rounding;
use crate::{args::QuantName, failure::Failure};

/// Declares the settings once: an optional flag, the same word in the file, and a default.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $(#[clap($($clap:tt)*)])? $name:ident: $type:ty = $default:expr;)*) => {
        /// Settings as given, by flag or in the file of `--config`.
        #[derive(Args, Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
        pub struct Given {
            $($(#[doc = $doc])+ #[arg(long, allow_negative_numbers = true, $($($clap)*)?)] pub $name: Option<$type>,)*
        }

        /// All settings, each with a value.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $name: $type,)*
        }

        impl Settings {
            /// Flags before the file, the file before defaults.
            pub fn new(flags: Given, file: Given) -> Self {
                Self { $($name: flags.$name.or(file.$name).unwrap_or_else(|| $default),)* }
            }
        }
    };
}

settings! {
    /// Width of the residual stream
    #[clap(value_name = "N", help_heading = "Model")]
    dim: u32 = 128;
    /// Layers
    #[clap(value_name = "N", help_heading = "Model")]
    layers: u32 = 4;
    /// Query heads
    #[clap(value_name = "N", help_heading = "Model")]
    heads: u32 = 8;
    /// Key/value heads
    #[clap(value_name = "N", help_heading = "Model")]
    kv_heads: u32 = 2;
    /// Width of the feed-forward block
    #[clap(value_name = "N", help_heading = "Model")]
    hidden: u32 = 352;
    /// Context in tokens
    #[clap(value_name = "N", help_heading = "Model")]
    ctx: u32 = 512;
    /// Tokens of the vocabulary that is made from the text
    #[clap(value_name = "N", help_heading = "Model")]
    vocab_size: usize = 1024;
    /// Format that training sees the layers' matrices in, and that they are packed in
    #[clap(value_enum, help_heading = "Rounding")]
    quant: QuantName = QuantName::Q8;
    /// The same for token embedding and output head [default: as --quant]
    #[clap(value_enum, help_heading = "Rounding")]
    head: QuantName = QuantName::Keep;
    /// Fraction of the steps after which training sees the rounding; 0 from the start, 1 not at all
    #[clap(value_name = "F", help_heading = "Rounding")]
    round_from: f64 = 0.0;
    /// Steps
    #[clap(value_name = "N", help_heading = "Training")]
    steps: u64 = 2000;
    /// Tokens a step
    #[clap(value_name = "N", help_heading = "Training")]
    step_tokens: usize = 8192;
    /// Largest learning rate
    #[clap(value_name = "R", help_heading = "Training")]
    rate: f32 = 3e-3;
    /// Steps in which the learning rate rises
    #[clap(value_name = "N", help_heading = "Training")]
    warmup: u64 = 100;
    /// Fraction of the learning rate left at the end of its cosine
    #[clap(value_name = "F", help_heading = "Training")]
    final_rate: f32 = 0.02;
    /// Weight decay of matrices
    #[clap(value_name = "D", help_heading = "Training")]
    decay: f32 = 0.05;
    /// Longest gradient; longer ones are shortened
    #[clap(value_name = "L", help_heading = "Training")]
    clip: f32 = 1.0;
    /// Seed of weights and order
    #[clap(value_name = "S", help_heading = "Training")]
    seed: u64 = 1;
    /// Fraction of the documents that are not learned from, but measured by
    #[clap(value_name = "F", help_heading = "Text")]
    held_out: f64 = 0.05;
    /// Share of all tokens that come from --also
    #[clap(value_name = "F", help_heading = "Text")]
    also_share: f64 = 0.5;
    /// How much of TEXT's targets is the teacher's distribution rather than the text
    #[clap(value_name = "F", help_heading = "Teacher")]
    teacher_share: f32 = 0.5;
    /// The same for the texts of --also
    #[clap(value_name = "F", help_heading = "Teacher")]
    also_teacher_share: f32 = 1.0;
}

impl Settings {
    /// The formats that training looks through in the end, and that the image has.
    pub fn rounding(&self) -> Rounding {
        let layers = self.quant.format().unwrap_or(Format::F32);
        Rounding { layers, head: self.head.format().unwrap_or(layers) }
    }

    /// Whether each number makes sense by itself.
    pub fn check(&self) -> Result<(), Failure> {
        let fractions = [
            ("round-from", self.round_from),
            ("also-share", self.also_share),
            ("teacher-share", f64::from(self.teacher_share)),
            ("also-teacher-share", f64::from(self.also_teacher_share)),
            ("final-rate", f64::from(self.final_rate)),
        ];
        for (name, got) in fractions {
            if !(0.0..=1.0).contains(&got) {
                return Err(Failure::usage(format_args!("--{name} {got}: must be from 0 to 1")));
            }
        }
        if !(self.held_out > 0.0 && self.held_out < 1.0) {
            return Err(Failure::usage(format_args!("--held-out {}: must be above 0 and below 1", self.held_out)));
        }
        for (name, got, most) in [("rate", self.rate, 10.0), ("decay", self.decay, 100.0), ("clip", self.clip, 1e30)] {
            let least = if name == "decay" { 0.0 } else { f32::MIN_POSITIVE };
            if !(least..=most).contains(&got) {
                return Err(Failure::usage(format_args!("--{name} {got}: must be above 0 and at most {most}")));
            }
        }
        for (name, got, most) in [("steps", self.steps, 1 << 40), ("step-tokens", self.step_tokens as u64, 1 << 30)] {
            if got == 0 || got > most {
                return Err(Failure::usage(format_args!("--{name} {got}: must be from 1 to {most}")));
            }
        }
        if self.step_tokens < self.ctx as usize {
            return Err(Failure::usage(format_args!(
                "--step-tokens {}: a step needs at least one context of {} tokens",
                self.step_tokens, self.ctx
            )));
        }
        if self.kv_heads == 0 || self.heads == 0 || !self.dim.is_multiple_of(self.heads.max(1)) {
            return Err(Failure::usage(format_args!(
                "--dim {} cannot be shared out over --heads {}",
                self.dim, self.heads
            )));
        }
        Ok(())
    }
}

/// Where texts and models come from, and where results go.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Text to learn from.
    pub text: PathBuf,
    /// More texts.
    pub also: Vec<PathBuf>,
    /// Model to start from.
    pub from: Option<PathBuf>,
    /// Model to learn from.
    pub teacher: Option<PathBuf>,
    /// Tokenizer of a llama2.c model.
    pub tokenizer: Option<PathBuf>,
    /// The packed image.
    pub output: PathBuf,
}

impl Files {
    /// A file beside the image.
    pub fn beside(&self, ending: &str) -> PathBuf {
        self.output.with_extension(ending)
    }
}
