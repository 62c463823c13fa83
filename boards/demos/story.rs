//! Tells a story with the model that is part of the program, in memory that the compiler has planned.
#![no_std]
#![no_main]

use board::Board;
use common::{Error, region, settings::Settings, story};
use pipsqueak::{Plan, PlanOptions, compile_time, include_image, kernels::arena::Line};
use static_cell::ConstStaticCell;

static MODEL: &[u8] = include_image!(env!("PIPSQUEAK_IMAGE"));
const PLAN: Plan = compile_time::plan(MODEL, PlanOptions::small(board::CONTEXT));
const _: () = compile_time::must_fit(&PLAN, board::MODEL_RAM);

static SCRATCH: ConstStaticCell<[Line; PLAN.scratch_lines()]> = ConstStaticCell::new([Line::ZERO; _]);
static KV: ConstStaticCell<[Line; PLAN.kv_lines()]> = ConstStaticCell::new([Line::ZERO; _]);
static WORK: ConstStaticCell<story::Work> = ConstStaticCell::new(story::Work::EMPTY);

board::entry!(demo);

fn demo(board: &mut Board) -> Result<(), Error> {
    let mut line = [0; 160];
    let settings = Settings::new(board::CONTEXT).with(common::Console::arguments(&mut board.console, &mut line));
    let image = region::opened(MODEL)?;
    let (scratch, kv) = SCRATCH.try_take().zip(KV.try_take()).ok_or(Error::Taken)?;
    let work = WORK.try_take().ok_or(Error::Taken)?;
    let memory = story::Memory { plan: &PLAN, scratch, kv, work };
    story::perform(board, &image, &board::KERNELS, memory, &settings)
}
