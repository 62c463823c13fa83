//! Training of small models, with Candle.

pub mod digits;
