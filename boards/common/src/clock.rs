//! Counting instructions, or what a board has instead.

/// A counter of work. Under QEMU with `-icount shift=0` an instruction takes a nanosecond of the emulated time, so that
/// any timer counts instructions, exactly and repeatably. On silicon the same timer counts time.
pub trait Clock {
    /// Nanoseconds (under `-icount shift=0`: instructions) since the clock was made. To be asked more often than the
    /// timer wraps.
    fn now(&mut self) -> u64;
}

/// Makes nanoseconds of the ticks of a timer of few bits that may wrap.
#[derive(Debug)]
pub struct Ticks {
    last: u32,
    ticks: u64,
    mask: u32,
    /// Nanoseconds of a tick, times 1024: a product and a shift, where a division would cost more than what is counted.
    step: u32,
}

impl Ticks {
    /// For a timer that counts up to `mask` and then from 0 again, a tick of so many picoseconds, standing at `now`.
    pub const fn new(mask: u32, picoseconds: u32, now: u32) -> Self {
        let step = (picoseconds as u64 * 1024 + 500) / 1000;
        Self { last: now, ticks: 0, mask, step: step as u32 }
    }

    /// Nanoseconds up to the reading `now`.
    pub fn nanoseconds(&mut self, now: u32) -> u64 {
        self.ticks = self.ticks.wrapping_add(u64::from(now.wrapping_sub(self.last) & self.mask));
        self.last = now;
        self.ticks.wrapping_mul(u64::from(self.step)) >> 10
    }
}
