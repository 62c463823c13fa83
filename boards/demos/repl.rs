//! A prompt, a continuation, the next prompt: lines over the console, with an editor of 80 characters.
#![no_std]
#![no_main]

use core::fmt::Write;

use board::Board;
use common::{TellError, line_editor::read_line, settings::Settings, story};
use heapless::String;
use pipsqueak::{
    Image, Plan, PlanOptions, Session, compile_time, include_image,
    kernels::{arena::Line, team::Team},
};
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
    IMAGE.intact()?;
    let team = Team::alone();
    let (scratch, kv) = SCRATCH.try_take().zip(KV.try_take()).ok_or(TellError::Taken)?;
    let work = WORK.try_take().ok_or(TellError::Taken)?;
    let mut session = Session::new(&IMAGE, &board::KERNELS, &team, &PLAN, scratch, kv)?;
    let _ =
        writeln!(board.console, "How does the story begin? Settings before it, as in: n=50 temp=80 Once upon a time");
    let mut line = String::<80>::new();
    let defaults = Settings { tokens: 50, ..Settings::new(board::CONTEXT) };
    loop {
        let _ = board.console.write_str("> ");
        if !read_line(&mut board.console, &mut line, board::ECHO) {
            break Ok(());
        }
        // Every story is a new one.
        session.truncate(0);
        // What is wrong with one line does not end the conversation.
        if let Err(error) = story::tell(&mut session, board, &defaults.with(&line), work) {
            let _ = writeln!(board.console, "\nerror: {error}");
        }
    }
}
