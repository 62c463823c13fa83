//! The model as one of two tasks of an embassy executor: it talks in slices and gives way after each, and the lamp's task has
//! its turn between them. How late that task was at worst is told at the end: by a slice, which the budget bounds.
#![no_std]
#![no_main]

use core::{
    fmt::Write,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use board::Board;
use common::{TellError, report::stat, settings::Settings, stack};
use cortex_m::peripheral::SYST;
use embassy_executor::{Executor, Spawner};
use embassy_futures::yield_now;
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, signal::Signal};
use pipsqueak::{
    Image, Plan, PlanOptions, Progress, Sampler, Session, Want, compile_time, include_image,
    kernels::{Kernels, arena::Line, team::Team},
    tokenizer::{Decoder, EncodeOptions, Encoder, Progress as Encoding, scratch_len},
};
use static_cell::{ConstStaticCell, StaticCell};

static MODEL: &[u8] = include_image!(env!("PIPSQUEAK_IMAGE"));
static IMAGE: Image = compile_time::image(MODEL);
const PLAN: Plan = compile_time::plan(MODEL, PlanOptions::small(board::CONTEXT));
const _: () = compile_time::must_fit(&PLAN, board::MODEL_RAM);

static SCRATCH: ConstStaticCell<[Line; PLAN.scratch_lines()]> = ConstStaticCell::new([Line::ZERO; _]);
static KV: ConstStaticCell<[Line; PLAN.kv_lines()]> = ConstStaticCell::new([Line::ZERO; _]);
static EXECUTOR: StaticCell<Executor> = StaticCell::new();

const PROMPT: &str = "Once upon a time";
/// Tokens of the answer.
const TOKENS: usize = 40;

/// Ticks of the core's clock from one interrupt to the next.
const PERIOD: u32 = 25_000;
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
static TICK: Signal<CriticalSectionRawMutex, u32> = Signal::new();
static CHANGES: AtomicU32 = AtomicU32::new(0);
static LATEST: AtomicU32 = AtomicU32::new(0);

board::entry!(forever {
    let board = board::board();
    EXECUTOR.init(Executor::new()).run(|spawner| start(spawner, board))
});

fn start(spawner: Spawner, board: Board) {
    stack::paint();
    // Each is spawned once, so there is a place for it.
    if let (Ok(lamp), Ok(talk)) = (lamp(), talk(board)) {
        spawner.spawn(lamp);
        spawner.spawn(talk);
    }
}

#[cortex_m_rt::exception]
fn SysTick() {
    let count = INTERRUPTS.load(Relaxed).wrapping_add(1);
    INTERRUPTS.store(count, Relaxed);
    TICK.signal(count);
}

/// Changes the lamp at every interrupt, as soon as it has its turn.
#[embassy_executor::task]
async fn lamp() {
    loop {
        let asked = TICK.wait().await;
        board::toggle_lamp();
        // The timer counts down, and from the period again after 0.
        let since = PERIOD.wrapping_sub(SYST::get_current()) % PERIOD;
        let missed = INTERRUPTS.load(Relaxed).wrapping_sub(asked);
        let late = since.saturating_add(missed.saturating_mul(PERIOD));
        LATEST.store(LATEST.load(Relaxed).max(late), Relaxed);
        CHANGES.store(CHANGES.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

#[embassy_executor::task]
async fn talk(mut board: Board) {
    let result = story(&mut board).await;
    if let Err(error) = &result {
        let _ = writeln!(board.console, "error: {error}");
    }
    let (changes, latest) = (CHANGES.load(Relaxed), LATEST.load(Relaxed));
    let in_time = latest < PERIOD / 10 && changes == INTERRUPTS.load(Relaxed);
    let _ = writeln!(board.console, "the lamp has blinked {}", if in_time { "on time" } else { "late" });
    stat(&mut board.console, "changes", u64::from(changes));
    stat(&mut board.console, "latest_ticks", u64::from(latest));
    stat(&mut board.console, "stack", stack::used() as u64);
    common::Console::exit(&mut board.console, result.is_ok())
}

async fn story(board: &mut Board) -> Result<(), TellError> {
    // The whole model is read: before the lamp counts.
    IMAGE.intact()?;
    board::interrupt_every(PERIOD);
    let vocab = IMAGE.vocab().ok_or(TellError::NoVocabulary)?;
    let team = Team::alone();
    let (scratch, kv) = SCRATCH.try_take().zip(KV.try_take()).ok_or(TellError::Taken)?;
    let mut session = Session::new(&IMAGE, &board::KERNELS, &team, &PLAN, scratch, kv)?;
    let settings = Settings::new(board::CONTEXT, board::BUDGET);

    let (mut tokens, mut work) = ([0; PROMPT.len() + 2], [0; scratch_len(PROMPT.len())]);
    let options = EncodeOptions { add_bos: vocab.add_bos(), parse_special: false };
    let mut encoder = Encoder::new(vocab, PROMPT, options, &mut tokens, &mut work)?;
    while encoder.step(64)? != Encoding::Done {
        yield_now().await;
    }
    let count = encoder.len();
    forward(&mut session, tokens.get(..count).unwrap_or(&[])).await?;
    let _ = board.console.write_str(PROMPT);

    let mut sampler = Sampler::new(settings.sampling);
    let mut decoder = Decoder::continuing(vocab, false);
    for _ in 0..TOKENS {
        let id = session.sample(&mut sampler)?;
        sampler.accept(id);
        if vocab.is_stop(id) {
            break;
        }
        decoder.push(id, |text| board.console.write_str(text).unwrap_or(()))?;
        forward(&mut session, &[id]).await?;
    }
    decoder.flush(|text| board.console.write_str(text).unwrap_or(()));
    let _ = writeln!(board.console);
    Ok(())
}

/// Tokens through the model, giving way after each slice.
async fn forward<K: Kernels>(session: &mut Session<'_, K>, mut tokens: &[u32]) -> Result<(), TellError> {
    while !tokens.is_empty() {
        let taken = session.feed(tokens, Want::Last)?;
        while session.step(board::BUDGET)? != Progress::Done {
            yield_now().await;
        }
        yield_now().await;
        tokens = tokens.get(taken..).unwrap_or(&[]);
    }
    Ok(())
}
