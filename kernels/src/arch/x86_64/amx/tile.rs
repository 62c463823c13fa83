//! The tile instructions, which have no stable intrinsics: one block at a time, and a known product.

use core::{arch::asm, hint::black_box, marker::PhantomData};

use crate::BLOCK;

/// Rows of weights, and tokens, of a tile.
pub(super) const SIDE: usize = 16;
/// Rows of a block's tile of weights: four neighbouring columns of sixteen rows in each.
const STEPS: usize = BLOCK / 4;

/// Weights of a block: `[STEPS][SIDE][4]`.
pub(super) type Codes = [[u8; 64]; STEPS];
/// Sums of a block: `[token][row]`, on a line of memory each.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Sums(pub [[i32; SIDE]; SIDE]);

impl Sums {
    pub(super) const ZERO: Self = Self([[0; SIDE]; SIDE]);
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Tiles 0 and 3: sums; 1 and 4: activations of `depth` columns; 2 and 5: weights.
    const fn new(depth: usize) -> Self {
        let mut config = Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let (full, depth, steps) = (64, depth as u16, (depth / 4) as u8);
        (config.row_bytes[0], config.rows[0]) = (full, 16);
        (config.row_bytes[1], config.rows[1]) = (depth, 16);
        (config.row_bytes[2], config.rows[2]) = (full, steps);
        (config.row_bytes[3], config.rows[3]) = (full, 16);
        (config.row_bytes[4], config.rows[4]) = (depth, 16);
        (config.row_bytes[5], config.rows[5]) = (full, steps);
        config
    }
}

/// A thread's tiles, configured for blocks while this lives.
pub(super) struct Tiles(PhantomData<*mut ()>);

impl Tiles {
    /// Configures them.
    ///
    /// # Safety
    /// * The CPU has AMX with int8 products, and the operating system has granted it.
    /// * No other value of this type lives on this thread.
    #[inline]
    pub(super) unsafe fn new() -> Self {
        static CONFIG: Config = Config::new(BLOCK);
        // SAFETY: the caller promises tiles; the configuration is one that the processor takes.
        unsafe { configure(&CONFIG) };
        Self(PhantomData)
    }

    /// First third of a product of sixteen tokens with sixteen rows over one block: loads the activations. `SET` is 0 or 1,
    /// so that two products can be on their way.
    ///
    /// # Safety
    /// * From `activations`, sixteen rows of [`BLOCK`] bytes `stride` bytes apart are readable.
    #[inline(always)]
    pub(super) unsafe fn activations<const SET: usize>(&self, activations: *const i8, stride: usize) {
        macro_rules! load {
            ($a:tt) => {
                // SAFETY: tiles are configured as long as `self` lives; the caller promises the rows.
                unsafe {
                    asm!(
                        concat!("tileloadd ", $a, ", [{a} + {stride}*1]"),
                        a = in(reg) activations,
                        stride = in(reg) stride,
                        out($a) _,
                        options(nostack, preserves_flags, readonly),
                    )
                }
            };
        }
        if SET == 0 { load!("tmm1") } else { load!("tmm4") }
    }

    /// Second third: loads the weights, and multiplies.
    #[inline(always)]
    pub(super) fn multiply<const SET: usize>(&self, codes: &Codes) {
        macro_rules! multiply {
            ($sum:tt $a:tt $w:tt) => {
                // SAFETY: tiles are configured as long as `self` lives; `codes` is whole.
                unsafe {
                    asm!(
                        concat!("tileloadd ", $w, ", [{w} + {line}*1]"),
                        concat!("tilezero ", $sum),
                        concat!("tdpbssd ", $sum, ", ", $a, ", ", $w),
                        w = in(reg) codes,
                        line = in(reg) 64usize,
                        out($sum) _, out($w) _,
                        options(nostack, preserves_flags, readonly),
                    )
                }
            };
        }
        if SET == 0 { multiply!("tmm0" "tmm1" "tmm2") } else { multiply!("tmm3" "tmm4" "tmm5") }
    }

    /// Last third: stores the sums.
    #[inline(always)]
    pub(super) fn store<const SET: usize>(&self, sums: &mut Sums) {
        macro_rules! store {
            ($sum:tt) => {
                // SAFETY: tiles are configured as long as `self` lives; `sums` is whole.
                unsafe {
                    asm!(
                        concat!("tilestored [{sums} + {line}*1], ", $sum),
                        sums = in(reg) sums,
                        line = in(reg) 64usize,
                        options(nostack, preserves_flags),
                    )
                }
            };
        }
        if SET == 0 { store!("tmm0") } else { store!("tmm3") }
    }
}

impl Drop for Tiles {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this value was made by `new`, so there are tiles. Released, they cost no switch of threads anything.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// # Safety
/// * The CPU has AMX, and the operating system has granted it.
#[inline]
unsafe fn configure(config: &Config) {
    // SAFETY: the caller promises AMX.
    unsafe { asm!("ldtilecfg [{}]", in(reg) config, options(readonly, nostack, preserves_flags)) };
}

/// Whether a product is what it should be. The CPU must have AMX, and the operating system must have granted it.
pub(super) fn is_right() -> bool {
    let mut activations = [[0i8; BLOCK]; SIDE];
    let mut codes: Codes = [[0; 64]; STEPS];
    let code = |a: usize, b: usize| ((a * 37 + b * 101 + 11) as u8).cast_signed();
    for (t, row) in activations.iter_mut().enumerate() {
        for (k, q) in row.iter_mut().enumerate() {
            *q = code(t, k).max(-127);
        }
    }
    for (step, line) in codes.iter_mut().enumerate() {
        for (at, w) in line.iter_mut().enumerate() {
            *w = code(at / 4 + 7, step * 4 + at % 4).cast_unsigned();
        }
    }
    let mut sums = Sums::ZERO;
    let (activations, codes) = (black_box(activations), black_box(codes));
    // SAFETY: the caller promises tiles. Sixteen rows of a block lie behind each other.
    unsafe {
        let unit = Tiles::new();
        unit.activations::<0>(activations.as_ptr().cast(), BLOCK);
        unit.multiply::<0>(&codes);
        unit.store::<0>(&mut sums);
    }
    sums.0.iter().zip(&activations).all(|(sums, activations)| {
        sums.iter().enumerate().all(|(row, sum)| {
            let products = activations
                .iter()
                .zip(codes.as_flattened().as_chunks::<4>().0.iter().skip(row).step_by(SIDE).flatten());
            *sum == products.map(|(q, w)| i32::from(*q) * i32::from(w.cast_signed())).sum()
        })
    })
}

/// Independent products in flight: a `tdpbssd` takes 52 cycles and starts every 16.
const CHAINS: usize = 4;

/// `rounds` rounds of [`CHAINS`] products of full tiles, twice as deep as a block; returns the number of multiply-adds. The
/// CPU must have AMX, and the operating system must have granted it.
pub(super) fn peak(rounds: usize) -> usize {
    static FULL: Config = Config::new(64);
    let lines = [[1i8; 64]; SIDE];
    // SAFETY: the caller promises AMX; the tiles that are read are sixteen lines of 64 bytes.
    unsafe {
        configure(&FULL);
        asm!(
            "tileloadd tmm1, [{lines} + {line}*1]",
            "tileloadd tmm2, [{lines} + {line}*1]",
            "tilezero tmm0",
            "tilezero tmm3",
            lines = in(reg) &lines,
            line = in(reg) 64usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            options(nostack, readonly),
        );
    }
    for _ in 0..rounds {
        // SAFETY: as above.
        unsafe {
            asm!(
                "tdpbssd tmm0, tmm1, tmm2",
                "tdpbssd tmm3, tmm1, tmm2",
                "tdpbssd tmm0, tmm1, tmm2",
                "tdpbssd tmm3, tmm1, tmm2",
                out("tmm0") _, out("tmm3") _,
                options(nostack, nomem),
            );
        }
    }
    // SAFETY: as above.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    rounds.saturating_mul(CHAINS * SIDE * SIDE * 64)
}
