//! A firmware's memory; without a feature it compiles, and each feature makes one mistake.
#![no_std]

use pipsqueak::{Image, KvType, Plan, PlanOptions, compile_time, include_image};

/// The model in the box, or a file that is no model.
pub static MODEL: &[u8] = if cfg!(feature = "no-model") {
    include_image!("../Cargo.toml")
} else if cfg!(feature = "damaged-model") {
    DAMAGED.bytes()
} else {
    include_image!("../../../host-cli/box/stories.pips")
};

const BYTES: usize = include_bytes!("../../../host-cli/box/stories.pips").len();
/// With one bit of the vocabulary flipped.
static DAMAGED: compile_time::Included<BYTES> = {
    let mut bytes = *include_bytes!("../../../host-cli/box/stories.pips");
    // The low byte of its offset is 0, as sections start on a line; it lies within the first 64 KB.
    let at = u16::from_le_bytes([bytes[144], bytes[145]]) as usize;
    bytes[at + 1000] ^= 1;
    compile_time::Included::new(bytes)
};

/// The model, opened by the compiler.
pub static IMAGE: Image = compile_time::image(MODEL);

/// Positions of the cache: twice what the model was trained for, or half.
pub const CONTEXT: usize = if cfg!(feature = "long-context") { 1024 } else { 256 };

/// What the model needs: 7,936 bytes of scratch and 69,632 of KV.
pub const PLAN: Plan = compile_time::plan(MODEL, PlanOptions { kv: KV, ..PlanOptions::small(CONTEXT) });

/// The cache's numbers: those whose code is part of the build, or others.
const KV: KvType = if cfg!(feature = "float-cache") { KvType::F16 } else { KvType::I8 };

const RAM: usize = if cfg!(feature = "little-ram") { 64 << 10 } else { 96 << 10 };
const _: () = compile_time::must_fit(&PLAN, RAM);

const SCRATCH_LINES: usize = if cfg!(feature = "short-scratch") { 100 } else { 124 };
const KV_LINES: usize = if cfg!(feature = "short-kv") { 1000 } else { 1088 };
const _: () = compile_time::must_hold(&PLAN, SCRATCH_LINES, KV_LINES);
