//! Everything of the `pipsqueak` program that is not argument parsing: importers, the packer, worker threads.
//!
//! It is a library so that a firmware's `build.rs` can import and pack a model too.

pub mod import;
pub mod source;
pub mod vocab;
