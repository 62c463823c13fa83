//! What targets and seeds share.

use pipsqueak::Config;
use pipsqueak_tests::{
    engine::TinyFile,
    tiny_model::{TinyModel, tiny_config},
};

/// The model whose saved sessions are read.
pub fn state_model() -> TinyFile {
    let config = Config {
        dim: 32,
        hidden_dim: 32,
        n_layers: 2,
        n_heads: 2,
        n_kv_heads: 1,
        vocab_size: 7,
        seq_len: 16,
        ..tiny_config()
    };
    TinyFile::new(TinyModel::random(config, 1))
}
