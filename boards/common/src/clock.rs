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
    mask: u32,
    /// Of a tick: nanoseconds, and picoseconds beyond them.
    tick: (u32, u32),
    nanoseconds: u64,
    /// Picoseconds beyond those, below 1000.
    rest: u32,
}

impl Ticks {
    /// For a timer that counts up to `mask` and then from 0 again, a tick of so many picoseconds, standing at `now`.
    pub const fn new(mask: u32, picoseconds: u32, now: u32) -> Self {
        Self { last: now, mask, tick: (picoseconds / 1000, picoseconds % 1000), nanoseconds: 0, rest: 0 }
    }

    /// Nanoseconds up to the reading `now`.
    pub fn nanoseconds(&mut self, now: u32) -> u64 {
        let ticks = now.wrapping_sub(self.last) & self.mask;
        self.last = now;
        // In 32 bits, as far as may be: a chip links a kilobyte for dividing 64.
        let (whole, part) = self.tick;
        let rest = ticks % 1000 * part + self.rest;
        self.rest = rest % 1000;
        let beyond = u64::from(ticks / 1000) * u64::from(part) + u64::from(rest / 1000);
        self.nanoseconds = self.nanoseconds.wrapping_add(u64::from(ticks) * u64::from(whole)).wrapping_add(beyond);
        self.nanoseconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_those_of_the_picoseconds_so_far() {
        for picoseconds in [40_000, 31_250, 5_952, 8_333, 999] {
            let mut ticks = Ticks::new(0x00ff_ffff, picoseconds, 7);
            let (mut now, mut all) = (7u32, 0u64);
            for step in [0, 1, 999, 1000, 0x00ff_fffe, 12_345_678, 3] {
                now = now.wrapping_add(step) & 0x00ff_ffff;
                all += u64::from(step);
                assert_eq!(ticks.nanoseconds(now), all * u64::from(picoseconds) / 1000);
            }
        }
    }
}
