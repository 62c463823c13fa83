//! Attention: [`chunk`] of one query.

pub(super) mod chunk;
