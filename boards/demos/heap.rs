//! The same story in memory from a heap, for firmware that has one: the plan says how much to ask for.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use core::mem::MaybeUninit;

use board::Board;
use common::{Console as _, Error, region, settings::Settings, story};
use embedded_alloc::LlffHeap;
use pipsqueak::{Plan, PlanOptions, include_image, kernels::arena::Line};
use static_cell::ConstStaticCell;

static MODEL: &[u8] = include_image!(env!("PIPSQUEAK_IMAGE"));

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();
static mut MEMORY: [MaybeUninit<u8>; board::MODEL_RAM] = [MaybeUninit::uninit(); board::MODEL_RAM];
static WORK: ConstStaticCell<story::Work> = ConstStaticCell::new(story::Work::EMPTY);

board::entry!(demo);

fn demo(board: &mut Board) -> Result<(), Error> {
    // SAFETY: called once, before anything is allocated, with memory that nothing else uses.
    unsafe { HEAP.init((&raw mut MEMORY).addr(), board::MODEL_RAM) };
    let mut line = [0; 160];
    let settings = Settings::new(board::CONTEXT).with(board.console.arguments(&mut line));
    let image = region::opened(MODEL)?;
    let plan = Plan::new(image.config(), PlanOptions { kv: settings.kv, ..PlanOptions::small(settings.context) });
    // A vector that cannot be had would end in a panic, so it is asked for first.
    let free = HEAP.free();
    if free < plan.total_bytes().saturating_add(4 * Line::BYTES) {
        return Err(Error::Memory { need: plan.total_bytes(), got: free });
    }
    let mut scratch = vec![Line::ZERO; plan.scratch_lines()];
    let mut kv = vec![Line::ZERO; plan.kv_lines()];
    let work = WORK.try_take().ok_or(Error::Taken)?;
    let memory = story::Memory { plan: &plan, scratch: &mut scratch, kv: &mut kv, work };
    Ok(story::perform(board, &image, &board::KERNELS, memory, &settings)?)
}
