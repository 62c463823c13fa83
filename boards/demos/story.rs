//! Tells a story with the model that is part of the program, in memory that the compiler has planned.
#![no_std]
#![no_main]

use board::Board;
use common::{TellError, settings::Settings, story};
use pipsqueak::{Image, Plan, PlanOptions, compile_time, include_image, kernels::arena::Line};
use static_cell::ConstStaticCell;

static MODEL: &[u8] = include_image!(env!("PIPSQUEAK_IMAGE"));
static IMAGE: Image = compile_time::image(MODEL);
const PLAN: Plan = compile_time::plan(MODEL, PlanOptions::small(board::CONTEXT));
const _: () = compile_time::must_fit(&PLAN, board::MODEL_RAM);

static SCRATCH: ConstStaticCell<[Line; PLAN.scratch_lines()]> = ConstStaticCell::new([Line::ZERO; _]);
static KV: ConstStaticCell<[Line; PLAN.kv_lines()]> = ConstStaticCell::new([Line::ZERO; _]);
static WORK: ConstStaticCell<story::Work> = ConstStaticCell::new(story::Work::EMPTY);

board::entry!(demo);

fn demo(board: &mut Board) -> Result<(), TellError> {
    let mut line = [0; 160];
    let settings = Settings::new(board::CONTEXT).with(common::Console::arguments(&mut board.console, &mut line));
    IMAGE.intact()?;
    let (scratch, kv) = SCRATCH.try_take().zip(KV.try_take()).ok_or(TellError::Taken)?;
    let work = WORK.try_take().ok_or(TellError::Taken)?;
    let memory = story::Memory { plan: &PLAN, scratch, kv, work };
    story::perform(board, &IMAGE, &board::KERNELS, memory, &settings)
}
