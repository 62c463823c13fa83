//! Whole-system tests of Pipsqueak: tools they share.

pub mod data;
pub mod engine;
pub mod expressions;
pub mod gguf_blocks;
pub mod gguf_writer;
pub mod huggingface_architectures;
pub mod huggingface_writer;
pub mod llama2c_writer;
pub mod reference;
pub mod rng;
pub mod small_vocab;
pub mod tiny_model;
