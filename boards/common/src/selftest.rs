//! Does this board compute what the packer's machine computed?

use pipsqueak::{Session, Want, crc::Crc32, kernels::Kernels};

use crate::Error;

/// Feeds the model's golden prompt to a fresh session and compares the checksums of the residual stream after every
/// layer, and of the logits. Returns how many were compared; the error names the first that differs.
pub fn golden<K: Kernels>(session: &mut Session<'_, K>) -> Result<usize, Error> {
    let (prompt, expected) = session.image().golden(session.kv()).ok_or(Error::NoGolden)?;
    let (last, others) = prompt.split_last().ok_or(Error::NoGolden)?;
    session.truncate(0);
    session.fill(others)?;
    session.feed(&[*last], Want::Last)?;
    let mut sums = expected.iter().enumerate();
    let mut compare = |values: &[f32]| {
        let got = Crc32::new().update_f32(values).finish();
        match sums.next() {
            Some((layer, expected)) if *expected != got => Err(Error::Golden { layer, expected: *expected, got }),
            _ => Ok(()),
        }
    };
    while let Some(done) = session.step_stage()? {
        if done.stage == session.image().config().last_stage() {
            compare(session.residual())?;
        }
    }
    compare(session.logits())?;
    Ok(expected.len())
}
