//! A small fixed generator (xorshift32), so that a failure is found again from its seed alone.

/// Marsaglia's xorshift with 32 bits of state.
#[derive(Clone, Copy, Debug)]
pub struct Rng(u32);

impl Rng {
    /// A generator; different seeds give unrelated streams.
    pub const fn new(seed: u32) -> Self {
        let mixed = (seed ^ 0x9e37_79b9).wrapping_mul(0x85eb_ca6b);
        Self(mixed ^ mixed >> 15 | 1)
    }

    /// 32 random bits.
    #[inline]
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A number below `limit`; 0 when `limit` is 0.
    #[inline]
    pub fn below(&mut self, limit: usize) -> usize {
        ((self.bits() as u64 * limit as u64) >> 32) as usize
    }

    /// A number from -1 to 1.
    #[inline]
    pub fn unit(&mut self) -> f32 {
        self.bits().cast_signed() as f32 * (1.0 / 2_147_483_648.0)
    }

    /// A number of either sign whose magnitude is spread over `2^low ..= 2^high`.
    #[inline]
    pub fn wide(&mut self, low: i32, high: i32) -> f32 {
        let span = (high - low + 1).max(1) as usize;
        let exponent = (127 + low + self.below(span) as i32).clamp(1, 254) as u32;
        f32::from_bits(self.bits() & 0x807f_ffff | exponent << 23)
    }

    /// One of `values`; the default value when there are none.
    #[inline]
    pub fn pick<T: Copy + Default>(&mut self, values: &[T]) -> T {
        values.get(self.below(values.len())).copied().unwrap_or_default()
    }

    /// The bits of a finite half of either sign between 2^-10 and 2^-1, as scales are.
    #[inline]
    pub fn half(&mut self) -> u16 {
        (0x1400 + self.below(0x2400) as u16) | (self.bits() & 0x8000) as u16
    }
}
