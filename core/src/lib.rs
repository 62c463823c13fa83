//! Small language models inside firmware: a `no_std`, no-heap engine for the Llama family, Qwen 2 and 3, Gemma 3 and GPT-2.
//!
//! A packed model ([`Image`]) is read in place, from flash or a mapped file. A [`Plan`] says to the byte, at compile time
//! if you like, how much memory a model needs. A [`Session`] takes tokens and gives logits, in slices of work as small
//! as the caller wants; a [`Sampler`] picks the next token. The results are the same bits on every machine.
//!
//! ```
//! use pipsqueak::{
//!     Image, Plan, PlanOptions, Sampler, Sampling, Session,
//!     kernels::{Scalar, arena::Line, team::Team},
//!     tokenizer::{Decoder, EncodeOptions},
//! };
//!
//! /// Tells a story. `None` when the model is damaged or the arenas are too small for it.
//! fn tell(model: &[u8], scratch: &mut [Line], kv: &mut [Line], mut print: impl FnMut(&str)) -> Option<()> {
//!     let image = Image::open(model).ok()?; // every length, offset and checksum is looked at, no weight is
//!     let vocab = image.vocab()?;
//!     let team = Team::alone(); // one core
//!     let plan = Plan::new(image.config(), PlanOptions::small(256)); // int8 cache of 256 positions
//!     let mut session = Session::new(&image, &Scalar, &team, &plan, scratch, kv).ok()?;
//!     let mut sampler = Sampler::new(Sampling::default());
//!     let mut decoder = Decoder::new(vocab, false);
//!
//!     let (mut tokens, mut work) = ([0; 64], [0; 128]);
//!     let options = EncodeOptions { add_bos: true, parse_special: false };
//!     let count = vocab.encode("Once upon a time", options, &mut tokens, &mut work).ok()?;
//!     session.prefill(tokens.get(..count)?).ok()?;
//!     while session.remaining() > 0 {
//!         let token = session.sample(&mut sampler).ok()?;
//!         if vocab.is_stop(token) {
//!             break;
//!         }
//!         decoder.push(token, &mut print).ok()?;
//!         session.decode(token).ok()?; // or feed() and step(budget), to leave the core to others in between
//!     }
//!     Some(())
//! }
//! # assert_eq!(tell(&[], &mut [], &mut [], |_| {}), None);
//! ```
//!
//! # Modules, from the outside in
//!
//! * [`session`]: the conversation; [`stage`] is the table of stages it walks, `forward` what each stage does, `attention` the
//!   inner part of it.
//! * [`image`]: the packed model; [`config`] its shape, [`tensor`] its parts.
//! * [`plan`]: the memory, and [`compile_time`] how a firmware has it checked by the compiler; the KV cache comes in three number formats ([`KvType`]).
//! * [`classifier`]: pictures to classes, a small network on the same kernels.
//! * [`tokenizer`]: text to tokens and back; [`sampler`]: logits to a token; [`draft`]: tokens guessed from the text, several
//!   a pass, the same text sooner.
//! * [`kernels`]: the arithmetic, a crate of its own and the only one with `unsafe`.
#![no_std]
#![forbid(unsafe_code)]

/// `?` for functions that the compiler runs too.
macro_rules! tri {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Err(error),
        }
    };
}

mod attention;
mod buffers;
pub mod classifier;
pub mod compile_time;
pub mod config;
pub mod crc;
pub mod draft;
mod fault;
mod forward;
pub mod image;
mod kv_cache;
pub mod plan;
pub mod sampler;
pub mod session;
pub mod stage;
pub mod tensor;
pub mod tokenizer;

pub use classifier::Classifier;
pub use config::{Config, ConfigError};
pub use image::{Image, ImageError};
pub use kv_cache::KvType;
pub use pipsqueak_kernels as kernels;
pub use plan::{Plan, PlanOptions};
pub use sampler::{Sampler, Sampling};
pub use session::{Progress, Session, SessionError, Want};
pub use tensor::TensorKind;
pub use tokenizer::Vocab;
