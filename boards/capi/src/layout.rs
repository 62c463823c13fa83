//! Sizes and offsets of all structures, for 32-bit and for 64-bit pointers. Rust's are compared with them here; the header's
//! generator reads this table, and the header has a C compiler compare its own.

use core::mem::offset_of;

use crate::{
    handle::{pipsqueak_encoder, pipsqueak_model, pipsqueak_session},
    model::pipsqueak_info,
    plan::{pipsqueak_line, pipsqueak_memory, pipsqueak_options},
    session::pipsqueak_sampling,
};
use crate::{pipsqueak_error, pipsqueak_failure};

macro_rules! layout {
    ($($type:ident: $size32:literal $size64:literal { $($field:ident: $at32:literal $at64:literal,)* })*) => {
        $(
            const _: () = assert!(size_of::<$type>() == either($size32, $size64));
            $(const _: () = assert!(offset_of!($type, $field) == either($at32, $at64));)*
        )*
    };
}

const fn either(on32: usize, on64: usize) -> usize {
    if cfg!(target_pointer_width = "64") { on64 } else { on32 }
}

#[rustfmt::skip]
layout! {
    pipsqueak_error: 4 4 {}
    pipsqueak_failure: 56 56 {
        code: 0 0,
        argument: 4 4,
        layer: 8 8,
        what: 12 12,
        need: 40 40,
        got: 48 48,
    }
    pipsqueak_model: 448 608 {}
    pipsqueak_session: 1088 1728 {}
    pipsqueak_encoder: 288 480 {}
    pipsqueak_info: 56 64 {
        dim: 0 0,
        hidden_dim: 4 4,
        n_layers: 8 8,
        n_heads: 12 12,
        n_kv_heads: 16 16,
        head_dim: 20 20,
        rope_dim: 24 24,
        vocab_size: 28 28,
        seq_len: 32 32,
        bos: 36 36,
        eos: 40 40,
        adds_bos: 44 44,
        has_vocabulary: 45 45,
        text_bytes: 48 48,
        image_bytes: 52 56,
    }
    pipsqueak_line: 64 64 {
        bytes: 0 0,
    }
    pipsqueak_options: 12 12 {
        context: 0 0,
        kv: 4 4,
        batch: 8 8,
    }
    pipsqueak_memory: 12 24 {
        scratch_bytes: 0 0,
        kv_bytes: 4 8,
        alignment: 8 16,
    }
    pipsqueak_sampling: 32 32 {
        temperature: 0 0,
        top_k: 4 4,
        top_p: 8 8,
        min_p: 12 12,
        repeat_penalty: 16 16,
        seed: 24 24,
    }
}
