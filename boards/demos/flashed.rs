//! Tells a story with the model in a flash region of its own, which is looked at before use: another model is a write to
//! that region, and the program stays. Its memory cannot be planned by the compiler, so a model that needs more than the
//! board sets aside is a named error.
#![no_std]
#![no_main]

use board::Board;
use common::{Console as _, Error, region, settings::Settings, story};
use pipsqueak::{Plan, PlanOptions, kernels::arena::Line};
use static_cell::ConstStaticCell;

static ARENA: ConstStaticCell<[Line; board::MODEL_RAM / Line::BYTES]> = ConstStaticCell::new([Line::ZERO; _]);
static WORK: ConstStaticCell<story::Work> = ConstStaticCell::new(story::Work::EMPTY);

board::entry!(demo);

fn demo(board: &mut Board) -> Result<(), Error> {
    let mut line = [0; 160];
    let settings = Settings::new(board::CONTEXT).with(board.console.arguments(&mut line));
    let image = region::checked(board::MODEL.bytes(), &board::KERNELS)?;
    let options = PlanOptions { kv: settings.kv, ..PlanOptions::small(settings.context) };
    let plan = Plan::new(image.config(), options);
    let arena = ARENA.try_take().ok_or(Error::Taken)?;
    let too_small = Error::Memory { need: plan.total_bytes(), got: size_of_val(arena) };
    let (scratch, kv) = arena.split_at_mut_checked(plan.scratch_lines()).ok_or(too_small)?;
    if kv.len() < plan.kv_lines() {
        return Err(too_small);
    }
    let work = WORK.try_take().ok_or(Error::Taken)?;
    let memory = story::Memory { plan: &plan, scratch, kv, work };
    Ok(story::perform(board, &image, &board::KERNELS, memory, &settings)?)
}
