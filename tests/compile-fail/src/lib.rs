//! A firmware's memory; without a feature it compiles, and each feature makes one mistake.
#![no_std]

use pipsqueak::{Plan, PlanOptions, compile_time, include_image};

/// The model in the box, or a file that is no model.
pub static MODEL: &[u8] = if cfg!(feature = "no-model") {
    include_image!("../Cargo.toml")
} else {
    include_image!("../../../host-cli/box/stories.pips")
};

/// Positions of the cache: twice what the model was trained for, or half.
pub const CONTEXT: usize = if cfg!(feature = "long-context") { 1024 } else { 256 };

/// What the model needs: 7,936 bytes of scratch and 69,632 of KV.
pub const PLAN: Plan = compile_time::plan(MODEL, PlanOptions::small(CONTEXT));

const RAM: usize = if cfg!(feature = "little-ram") { 64 << 10 } else { 96 << 10 };
const _: () = compile_time::must_fit(&PLAN, RAM);

const SCRATCH_LINES: usize = if cfg!(feature = "short-scratch") { 100 } else { 124 };
const KV_LINES: usize = if cfg!(feature = "short-kv") { 1000 } else { 1088 };
const _: () = compile_time::must_hold(&PLAN, SCRATCH_LINES, KV_LINES);
