//! Training: a text becomes a tokenizer, a small model of the Llama family, and a packed image.
//!
//! Products and the graph that gradients flow through are candle's; what surrounds them (attention, norms, the loss, the
//! rounding that the packed image will do) are operations of our own with their backward passes beside them, in `ops`.

pub mod batches;
pub mod checkpoint;
pub mod digits;
pub mod export;
mod net;
mod ops;
pub mod optimiser;
pub mod rounding;
pub mod run;
pub mod settings;
mod sources;
pub mod trainer;
mod watch;
pub mod weights;
