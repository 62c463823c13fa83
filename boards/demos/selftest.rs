//! Says whether this board computes correctly: every checksum of the model, and its golden vector for each cache type.
#![no_std]
#![no_main]

use core::fmt::Write;

use board::Board;
use common::{Error, region, report::stat, selftest, stack};
use pipsqueak::{
    KvType, Plan, PlanOptions, Session, compile_time, include_image,
    kernels::{Kernels, arena::Line, team::Team},
};
use static_cell::ConstStaticCell;

static MODEL: &[u8] = include_image!(env!("PIPSQUEAK_IMAGE"));
/// Tokens of the packer's golden prompt.
const PROMPT: usize = 8;
/// The largest of the three.
const PLAN: Plan = compile_time::plan(MODEL, PlanOptions { kv: KvType::F32, ..PlanOptions::small(PROMPT) });
const INT8: Plan = compile_time::plan(MODEL, PlanOptions::small(PROMPT));

static SCRATCH: ConstStaticCell<[Line; INT8.scratch_lines()]> = ConstStaticCell::new([Line::ZERO; _]);
static KV: ConstStaticCell<[Line; PLAN.kv_lines()]> = ConstStaticCell::new([Line::ZERO; _]);

board::entry!(demo);

fn demo(board: &mut Board) -> Result<(), Error> {
    let image = region::checked(MODEL, &board::KERNELS)?;
    let _ = writeln!(board.console, "every checksum of the model is right ({} bytes)", image.len());
    let (scratch, kv) = SCRATCH.try_take().zip(KV.try_take()).ok_or(Error::Taken)?;
    let team = Team::alone();
    for cache in KvType::ALL {
        let plan = Plan::new(image.config(), PlanOptions { kv: cache, ..PlanOptions::small(PROMPT) });
        let mut session = Session::new(&image, &board::KERNELS, &team, &plan, scratch, kv)?;
        let count = selftest::golden(&mut session)?;
        let _ = writeln!(board.console, "{} cache: {count} checksums are right", cache.name());
    }
    let _ = writeln!(board.console, "this board computes correctly");
    let _ = writeln!(board.console, "stat kernels {}", board::KERNELS.name());
    stat(&mut board.console, "stack", stack::used() as u64);
    Ok(())
}
