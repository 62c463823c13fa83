//! Everything of the `pipsqueak` program that is not argument parsing: importers, the packer, worker threads.
//!
//! It is a library so that a firmware's `build.rs` can import and pack a model too.

pub mod args;
pub mod boards;
pub mod boxed;
pub mod chat;
pub mod cmd;
pub mod corpus;
pub mod digest;
pub mod digits;
pub mod drafted;
pub mod engine;
pub mod failure;
pub mod folder;
pub mod import;
pub mod input;
pub mod machine;
pub mod memory;
pub mod model;
pub mod output;
pub mod pack;
pub mod pages;
pub mod pool;
pub mod score;
pub mod source;
pub mod state;
pub mod stream;
pub mod svg;
pub mod toy;
#[cfg(feature = "train")]
pub mod train;
pub mod twin;
pub mod vocab;
