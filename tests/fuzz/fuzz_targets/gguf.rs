//! Any bytes as a GGUF: refused, or a model that can be packed, or that the packer refuses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipsqueak_cli::import::{check_finite, gguf};
use pipsqueak_tests::engine::try_pack;

fuzz_target!(|data: &[u8]| {
    let _ = gguf::vocab_only(data).map(|vocab| pipsqueak_cli::vocab::build(&vocab));
    let Ok(source) = gguf::open(data) else { return };
    let _ = source.tensors.iter().try_for_each(check_finite);
    try_pack(&source);
});
