//! Any bytes as a Hugging Face folder's configuration and weights: refused, or a model that can be packed, or that the packer
//! refuses. The first two bytes say how long the configuration is; what follows is one file of weights, or an index.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipsqueak_cli::import::{
    check_finite,
    huggingface::{self, Files, names},
};
use pipsqueak_tests::engine::try_pack;

fuzz_target!(|data: &[u8]| {
    let [low, high, rest @ ..] = data else { return };
    let len = usize::from(u16::from_le_bytes([*low, *high]));
    let Some((config, weights)) = rest.split_at_checked(len) else { return };
    let _ = huggingface::shards(weights);
    let files = Files { config, weights: vec![(names::WEIGHTS, weights)], ..Files::default() };
    let Ok(source) = huggingface::open(&files) else { return };
    let _ = source.tensors.iter().try_for_each(check_finite);
    try_pack(&source);
});
