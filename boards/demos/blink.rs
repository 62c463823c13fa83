//! A lamp blinks on time while the model talks: the timer's interrupt comes every 25,000 cycles, and
//! how late it was at worst is told at the end. Nothing in the engine turns interrupts off.
#![no_std]
#![no_main]

use core::{
    fmt::Write,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use board::Board;
use common::{Clock, TellError, report::stat, settings::Settings, stack, story};
use cortex_m::peripheral::SYST;
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

/// Ticks of the core's clock from one interrupt to the next.
const PERIOD: u32 = 25_000;
/// Interrupts from one change of the lamp to the next.
const BLINK: u32 = 10;
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
static CHANGES: AtomicU32 = AtomicU32::new(0);
static LATEST: AtomicU32 = AtomicU32::new(0);
static WORK: ConstStaticCell<story::Work> = ConstStaticCell::new(story::Work::EMPTY);

board::entry!(demo);

#[cortex_m_rt::exception]
fn SysTick() {
    // The timer counts down, and from the period again after 0: so long ago it came to its end.
    let late = PERIOD.wrapping_sub(SYST::get_current()) % PERIOD;
    LATEST.store(LATEST.load(Relaxed).max(late), Relaxed);
    let count = INTERRUPTS.load(Relaxed).wrapping_add(1);
    INTERRUPTS.store(count, Relaxed);
    if count.is_multiple_of(BLINK) {
        CHANGES.store(CHANGES.load(Relaxed).wrapping_add(1), Relaxed);
        board::toggle_lamp();
    }
}

/// The clock of this demo: interrupts that have come.
struct Interrupts;

impl Clock for Interrupts {
    fn now(&mut self) -> u64 {
        u64::from(INTERRUPTS.load(Relaxed)) * u64::from(PERIOD)
    }
}

fn demo(board: &mut Board) -> Result<(), TellError> {
    IMAGE.intact()?;
    let team = Team::alone();
    let (scratch, kv) = SCRATCH.try_take().zip(KV.try_take()).ok_or(TellError::Taken)?;
    let work = WORK.try_take().ok_or(TellError::Taken)?;
    let mut session = Session::new(&IMAGE, &board::KERNELS, &team, &PLAN, scratch, kv)?;
    board::interrupt_every(PERIOD);
    let settings = Settings { tokens: 40, ..Settings::new(board::CONTEXT) };
    let mut talking = common::Board { console: &mut board.console, clock: Interrupts };
    story::tell(&mut session, &mut talking, &settings, work)?;
    let changes = CHANGES.load(Relaxed);
    let in_time = LATEST.load(Relaxed) < PERIOD / 100;
    let _ = writeln!(board.console, "the lamp has blinked {}", if changes > 0 && in_time { "on time" } else { "late" });
    stat(&mut board.console, "changes", u64::from(changes));
    stat(&mut board.console, "latest_ticks", u64::from(LATEST.load(Relaxed)));
    stat(&mut board.console, "stack", stack::used() as u64);
    Ok(())
}
