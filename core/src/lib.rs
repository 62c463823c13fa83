//! Small language models inside firmware: a `no_std`, no-heap Llama engine.
#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod tensor;
pub mod tokenizer;
