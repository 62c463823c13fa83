//! Tells a story with the model that is part of the program, in memory that the compiler has planned.
#![no_std]
#![no_main]

use board::Board;
use common::{Error, settings::Settings, story};
use pipsqueak::{
    Image, Plan, PlanOptions, Session, compile_time, include_image,
    kernels::{arena::Line, team::Team},
};
use static_cell::ConstStaticCell;

static MODEL: &[u8] = include_image!(env!("PIPSQUEAK_IMAGE"));
const PLAN: Plan = compile_time::plan(MODEL, PlanOptions::small(board::CONTEXT));
const _: () = compile_time::must_fit(&PLAN, board::MODEL_RAM);

static SCRATCH: ConstStaticCell<[Line; PLAN.scratch_lines()]> = ConstStaticCell::new([Line::ZERO; _]);
static KV: ConstStaticCell<[Line; PLAN.kv_lines()]> = ConstStaticCell::new([Line::ZERO; _]);

board::entry!(demo);

fn demo(board: &mut Board) -> Result<(), Error> {
    let mut line = [0; 256];
    let settings = Settings::new(board::CONTEXT).with(common::Console::arguments(&mut board.console, &mut line));
    let image = Image::open(MODEL)?;
    let team = Team::alone();
    let (scratch, kv) = SCRATCH.try_take().zip(KV.try_take()).ok_or(Error::Taken)?;
    let mut session = Session::new(&image, &board::KERNELS, &team, &PLAN, scratch, kv)?;
    let report = story::tell(&mut session, board, &settings)?;
    report.write(&mut board.console);
    Ok(())
}
