//! Counting instructions, or what a board has instead.

/// A counter of work. Under QEMU with `-icount shift=0` an instruction takes a nanosecond of the emulated time, so that
/// any timer counts instructions, exactly and repeatably. On silicon the same timer counts time.
pub trait Clock {
    /// Nanoseconds (under `-icount shift=0`: instructions) since the clock was made. To be asked more often than the
    /// timer wraps.
    fn now(&mut self) -> u64;
}

/// Makes nanoseconds of the ticks of a timer of few bits that may wrap. Without a division, which in software takes longer
/// than many a slice of what is measured.
#[derive(Debug)]
pub struct Ticks {
    last: u32,
    mask: u32,
    /// A tick: nanoseconds, and a fraction of one in 2^-32.
    tick: (u32, u32),
    nanoseconds: u64,
    fraction: u32,
}

impl Ticks {
    /// For a timer that counts up to `mask` and then from 0 again, a tick of so many picoseconds, standing at `now`.
    pub const fn new(mask: u32, picoseconds: u32, now: u32) -> Self {
        let fraction = ((picoseconds % 1000) as u64 * (1 << 32)) / 1000;
        Self { last: now, mask, tick: (picoseconds / 1000, fraction as u32), nanoseconds: 0, fraction: 0 }
    }

    /// Nanoseconds up to the reading `now`.
    pub fn nanoseconds(&mut self, now: u32) -> u64 {
        let ticks = u64::from(now.wrapping_sub(self.last) & self.mask);
        self.last = now;
        let (whole, fraction) = self.tick;
        let fraction = ticks * u64::from(fraction) + u64::from(self.fraction);
        self.fraction = fraction as u32;
        self.nanoseconds = self.nanoseconds.wrapping_add(ticks * u64::from(whole) + (fraction >> 32));
        self.nanoseconds
    }
}
