//! Memory, before anything is opened over it.

use pipsqueak::{KvType, Plan, PlanOptions, kernels::arena::Line};

use crate::{
    error::{Code, Failure, pipsqueak_error, pipsqueak_failure, report},
    handle::{get, pipsqueak_model},
    memory::{input, output},
    model::Model,
};

/// Keys and values as 32-bit floats: 8 bytes a pair, nothing lost.
pub const PIPSQUEAK_KV_F32: u32 = 0;
/// Keys and values as 16-bit floats: 4 bytes a pair.
pub const PIPSQUEAK_KV_F16: u32 = 1;
/// Keys and values as 8-bit integers with a scale: 2 bytes a pair and a little.
pub const PIPSQUEAK_KV_I8: u32 = 2;

/// Bytes of a line: the alignment of images and arenas.
pub const PIPSQUEAK_LINE_BYTES: usize = 64;
const _: () = assert!(PIPSQUEAK_LINE_BYTES == Line::BYTES);

/// A line of an arena, aligned as arenas must be: `static pipsqueak_line scratch[PIPSQUEAK_SCRATCH_LINES(...)];`
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct pipsqueak_line {
    /// Any bytes.
    pub bytes: [u8; PIPSQUEAK_LINE_BYTES],
}

/// What the user chooses before memory can be planned.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pipsqueak_options {
    /// Positions of the cache, prompt and answer together: from 1 to the model's `seq_len`.
    pub context: u32,
    /// `PIPSQUEAK_KV_I8`, `PIPSQUEAK_KV_F16` or `PIPSQUEAK_KV_F32`.
    pub kv: u32,
    /// Tokens of a prompt that are worked on at once, at least 1. More is faster and takes more scratch.
    pub batch: u32,
}

/// The memory a session needs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pipsqueak_memory {
    /// Bytes of the scratch arena.
    pub scratch_bytes: usize,
    /// Bytes of the arena for keys and values.
    pub kv_bytes: usize,
    /// Where both must start: at a multiple of this.
    pub alignment: usize,
}

/// The plan for these options; an error when one is out of its range.
pub(crate) fn plan(model: &Model, options: &pipsqueak_options) -> Result<Plan, Failure> {
    let config = model.image.config();
    let setting = |what, need: u32, got: u32| {
        let failure = Failure::new(Code::PIPSQUEAK_ERROR_SETTING).argument(2).what(what);
        Err(failure.numbers(need as usize, got as usize))
    };
    let pipsqueak_options { context, kv, batch } = *options;
    if context == 0 || context > config.seq_len {
        return setting("context", config.seq_len, context);
    }
    let Some(kv) = KvType::ALL.into_iter().find(|known| *known as u32 == kv) else {
        return setting("kv", PIPSQUEAK_KV_I8, kv);
    };
    if batch == 0 || batch > context {
        return setting("batch", context, batch);
    }
    let options = PlanOptions { context: context as usize, kv, batch: batch as usize, logits: 1, threads: 1 };
    Ok(Plan::new(config, options))
}

/// Writes to `memory` what a session with these options needs, to the byte. The header's macros `PIPSQUEAK_SCRATCH_LINES` and
/// `PIPSQUEAK_KV_LINES` give the same when compiling.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `SETTING` names the option that is out of its range.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_plan(
    model: *const pipsqueak_model,
    options: *const pipsqueak_options,
    memory: *mut pipsqueak_memory,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (model, options, memory) = unsafe { (get(model, 1)?, input(options, 2)?, output(memory, 3)?) };
        let plan = plan(model, options)?;
        memory.write(pipsqueak_memory {
            scratch_bytes: plan.scratch_bytes(),
            kv_bytes: plan.kv_bytes(),
            alignment: PIPSQUEAK_LINE_BYTES,
        });
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}
