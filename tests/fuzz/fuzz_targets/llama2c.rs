//! Any bytes as a llama2.c model: refused, or a model that can be packed, or that the packer refuses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipsqueak_cli::import::{check_finite, llama2c};
use pipsqueak_tests::engine::try_pack;

fuzz_target!(|data: &[u8]| {
    let Ok(source) = llama2c::open(data) else { return };
    let _ = source.tensors.iter().try_for_each(check_finite);
    try_pack(&source);
});
