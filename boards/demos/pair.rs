//! Two cores tell one story: the second takes its share of every matrix and every head, and changes no bit of it.
#![no_std]
#![no_main]

use core::{
    fmt::Write,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use board::Board;
use common::{TellError, cores, report::stat, settings::Settings, stack, story};
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

static TEAM: Team<'static> = Team::new(Some(&cores::wake));
/// Jobs in which the second core took part.
static HELPED: AtomicU32 = AtomicU32::new(0);

board::entry!(demo);

/// The second core, for ever.
fn help() -> ! {
    let worker = TEAM.join();
    loop {
        if worker.work() {
            // One writer.
            HELPED.store(HELPED.load(Relaxed).wrapping_add(1), Relaxed);
        } else {
            cores::wait();
        }
    }
}

fn demo(board: &mut Board) -> Result<(), TellError> {
    let mut line = [0; 160];
    let settings =
        Settings::new(board::CONTEXT, board::BUDGET).with(common::Console::arguments(&mut board.console, &mut line));
    IMAGE.intact()?;
    let (scratch, kv) = SCRATCH.try_take().zip(KV.try_take()).ok_or(TellError::Taken)?;
    let work = WORK.try_take().ok_or(TellError::Taken)?;
    board::start_second(help);
    while TEAM.size() < 2 {
        core::hint::spin_loop();
    }
    let mut session = Session::new(&IMAGE, &board::KERNELS, &TEAM, &PLAN, scratch, kv)?;
    story::tell(&mut session, board, &settings, work)?;
    let helped = HELPED.load(Relaxed);
    let _ = writeln!(board.console, "the second core has {}", if helped > 0 { "helped" } else { "only looked on" });
    stat(&mut board.console, "helped", u64::from(helped));
    stat(&mut board.console, "stack", stack::used() as u64);
    Ok(())
}
