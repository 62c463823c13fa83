//! The transcendental functions of the contract: `f32` polynomials, every operation in a fixed order, so that each
//! instruction set gives the same bits. Multiplications and additions are never fused.

/// Adding and subtracting it rounds to an integer, ties to even, for magnitudes below 2^22.
pub const ROUND_MAGIC: f32 = 12_582_912.0;

/// Constants of [`exp`]. Coefficients: S. Moshier, Cephes `expf`, |error| below 2 ulp on the reduced range.
pub mod exp_constants {
    /// Smaller arguments are taken for this one; the result stays a normal number.
    pub const MIN: f32 = -87.0;
    /// Larger arguments are taken for this one; the result stays finite.
    pub const MAX: f32 = 88.0;
    /// 1 / ln 2.
    pub const LOG2_E: f32 = core::f32::consts::LOG2_E;
    /// ln 2, upper part: its product with the exponent is exact.
    pub const LN2_HI: f32 = 0.693_359_4;
    /// ln 2, the rest.
    pub const LN2_LO: f32 = -2.121_944_4e-4;
    /// From the highest power down; the last is that of r^2.
    pub const POLY: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
}

/// `e^x`, the argument clamped to `-87 ..= 88`.
///
/// NaN gives an unspecified finite number: callers look for NaN before they come here.
#[inline]
pub fn exp(x: f32) -> f32 {
    use exp_constants::*;
    // Comparisons in the form of minps/maxps: NaN takes the constant, on every instruction set.
    let x = if x > MIN { x } else { MIN };
    let x = if x < MAX { x } else { MAX };
    let shifted = x * LOG2_E + ROUND_MAGIC;
    let n = shifted - ROUND_MAGIC;
    let exponent = shifted.to_bits().wrapping_sub(ROUND_MAGIC.to_bits());
    let r = x - n * LN2_HI;
    let r = r - n * LN2_LO;
    let [c0, c1, c2, c3, c4, c5] = POLY;
    let p = c0 * r + c1;
    let p = p * r + c2;
    let p = p * r + c3;
    let p = p * r + c4;
    let p = p * r + c5;
    let p = p * (r * r) + r;
    let p = p + 1.0;
    p * f32::from_bits(exponent.wrapping_add(127) << 23)
}

/// Attention weights `exp(x)` below this argument are zero: they are less than 2^-72 of the largest, far under one unit
/// in the last place of any sum, and their products stay clear of subnormal numbers.
pub const SOFTMAX_CUT: f32 = -50.0;

/// `e^x` for `x <= 0`, and exactly 0 below [`SOFTMAX_CUT`].
#[inline]
pub fn exp_cut(x: f32) -> f32 {
    if x > SOFTMAX_CUT { exp(x) } else { 0.0 }
}

/// Cosine and sine of an angle given in turns times 2^32, so that reducing it to a quadrant is exact.
///
/// Coefficients: S. Moshier, Cephes `sinf` and `cosf`, for |x| <= pi/4.
pub fn cos_sin(turns: u32) -> (f32, f32) {
    let quadrant = turns.wrapping_add(1 << 29) >> 30;
    let rest = turns.wrapping_sub(quadrant << 30).cast_signed();
    // 2 pi / 2^32
    let x = rest as f32 * 1.462_918_1e-9;
    let z = x * x;
    let s = -1.951_529_6e-4 * z + 8.332_161e-3;
    let s = s * z + -1.666_665_5e-1;
    let s = s * (z * x) + x;
    let c = 2.443_315_7e-5 * z + -1.388_731_6e-3;
    let c = c * z + 4.166_664_6e-2;
    let c = c * (z * z) + (1.0 - 0.5 * z);
    match quadrant & 3 {
        0 => (c, s),
        1 => (-s, c),
        2 => (-c, -s),
        _ => (s, -c),
    }
}

/// IEEE square root.
#[inline]
pub fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}

/// The contract's sum of a vector: eight partial sums by `i % 8`, each from +0.0, then this tree.
#[inline(always)]
pub fn tree(s: [f32; 8]) -> f32 {
    let [a, b, c, d, e, f, g, h] = s;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// The contract's sum of `terms`.
#[inline(always)]
pub fn sum(terms: impl Iterator<Item = f32>) -> f32 {
    let mut partial = [0.0f32; 8];
    let mut lane = 0usize;
    for term in terms {
        if let Some(partial) = partial.get_mut(lane & 7) {
            *partial += term;
        }
        lane = lane.wrapping_add(1);
    }
    tree(partial)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let mut worst = 0.0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let exact = (x as f64).exp();
            let ulp = 2f64.powi(exact.log2().floor() as i32 - 23);
            worst = worst.max((exp(x) as f64 - exact).abs() / ulp);
        }
        assert!(worst < 2.0, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e9), exp(-87.0));
        assert!(exp(1e9).is_finite() && exp(-87.0).is_normal());
        assert_eq!(exp_cut(-50.0), 0.0);
        assert!(exp_cut(-49.9) > 0.0);
    }

    #[test]
    fn cos_sin_is_within_three_units_of_2_to_the_minus_24() {
        let mut worst = 0.0f64;
        for i in 0..2_000_000u32 {
            let turns = i.wrapping_mul(2_147_483).wrapping_add(i);
            let angle = turns as f64 / 4_294_967_296.0 * core::f64::consts::TAU;
            let (c, s) = cos_sin(turns);
            worst = worst.max((c as f64 - angle.cos()).abs()).max((s as f64 - angle.sin()).abs());
        }
        assert!(worst < 3.0 * 2f64.powi(-24), "{worst:e}");
        assert_eq!(cos_sin(0), (1.0, 0.0));
    }
}
