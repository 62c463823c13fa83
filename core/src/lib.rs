//! Small language models inside firmware: a `no_std`, no-heap engine for the Llama family.
//!
//! * [`image`]: the packed model, checked and read in place.
//! * [`plan`]: the memory a model needs, to the byte, at compile time.
//! * [`tokenizer`]: text to tokens and back.
//! * [`session`]: tokens in, logits out, in slices of work; [`sampler`] picks the next token.
#![no_std]
#![forbid(unsafe_code)]

mod buffers;
pub mod config;
pub mod crc;
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

pub use config::{Config, ConfigError};
pub use image::{Image, ImageError};
pub use kv_cache::KvType;
pub use pipsqueak_kernels as kernels;
pub use plan::{Plan, PlanOptions};
pub use sampler::{Sampler, Sampling};
pub use session::{Progress, Session, SessionError, Want};
pub use tensor::TensorKind;
pub use tokenizer::Vocab;
