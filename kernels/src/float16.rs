//! f16 and bf16 to `f32` and back, by integer operations alone: the same bits with and without conversion instructions,
//! and with flush-to-zero units.

/// The `f32` with the value of an IEEE half. NaN stays NaN.
// Where kernels convert by an instruction, the rest is not worth the bytes of more copies.
#[cfg_attr(not(all(target_arch = "arm", feature = "dsp")), inline)]
#[cfg_attr(all(target_arch = "arm", feature = "dsp"), inline(never))]
pub const fn f16_to_f32(half: u16) -> f32 {
    let sign = (half as u32 & 0x8000) << 16;
    let magnitude = half as u32 & 0x7fff;
    let bits = if magnitude >= 0x7c00 {
        // Infinity and NaN: the exponent of all ones widens; a NaN becomes quiet, as conversion instructions make it.
        let quiet = if magnitude > 0x7c00 { 0x0040_0000 } else { 0 };
        0x7f80_0000 | ((magnitude & 0x03ff) << 13) | quiet
    } else if magnitude >= 0x0400 {
        (magnitude << 13) + (112 << 23)
    } else if magnitude == 0 {
        0
    } else {
        // Subnormal: value is magnitude * 2^-24. Move the leading one to bit 10 and lower the exponent as far.
        let shift = magnitude.leading_zeros() - 21;
        ((113 - shift) << 23) | (((magnitude << shift) & 0x03ff) << 13)
    };
    f32::from_bits(sign | bits)
}

/// The IEEE half nearest to `x`, ties to even; overflow gives infinity.
#[inline]
pub const fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude > 0x7f80_0000 {
        0x7e00 | (magnitude >> 13 & 0x03ff)
    } else if magnitude >= 0x477f_f000 {
        0x7c00
    } else if magnitude >= 0x3880_0000 {
        // Normal: rebias, then round the 13 dropped bits to even.
        let rebased = magnitude - (112 << 23);
        (rebased + 0x0fff + (rebased >> 13 & 1)) >> 13
    } else if magnitude >= 0x3300_0000 {
        // Subnormal half: shift the mantissa with its leading one until the unit is 2^-24, rounding to even.
        let exponent = magnitude >> 23;
        let mantissa = magnitude & 0x007f_ffff | 0x0080_0000;
        let shift = 126 - exponent;
        let half_unit = 1u32 << (shift - 1);
        let kept = mantissa >> shift;
        let rest = mantissa & ((1 << shift) - 1);
        kept + (rest > half_unit || (rest == half_unit && kept & 1 == 1)) as u32
    } else {
        0
    };
    sign | half as u16
}

/// The `f32` with the value of a bfloat16.
#[inline]
pub const fn bf16_to_f32(bf16: u16) -> f32 {
    f32::from_bits((bf16 as u32) << 16)
}

/// The bfloat16 nearest to `x`, ties to even.
#[inline]
pub const fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        return (bits >> 16) as u16 | 0x0040;
    }
    ((bits as u64 + 0x7fff + (bits >> 16 & 1) as u64) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_widens_as_half_says() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            assert_eq!(f16_to_f32(bits).to_bits(), expected.to_bits(), "{bits:#06x}");
        }
    }

    #[test]
    fn every_bf16_widens_as_half_says() {
        for bits in 0..=u16::MAX {
            let (ours, expected) = (bf16_to_f32(bits), half::bf16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == expected.to_bits() || (ours.is_nan() && expected.is_nan()), "{bits:#06x}");
        }
    }

    #[test]
    fn narrowing_rounds_as_half_says() {
        // A prime stride visits every exponent and, over the run, every pattern of dropped bits.
        for bits in (0..=u32::MAX).step_by(8191) {
            let x = f32::from_bits(bits);
            let (f16, bf16) = (half::f16::from_f32(x), half::bf16::from_f32(x));
            if x.is_nan() {
                assert!(f16_to_f32(f32_to_f16(x)).is_nan() && bf16_to_f32(f32_to_bf16(x)).is_nan());
            } else {
                assert_eq!(f32_to_f16(x), f16.to_bits(), "{x:e}");
                assert_eq!(f32_to_bf16(x), bf16.to_bits(), "{x:e}");
            }
        }
        // Every half, its neighbours in f32, and the ties between two halves.
        for half_bits in 0..0x7c00u16 {
            let tie = (f16_to_f32(half_bits) as f64 + f16_to_f32(half_bits + 1) as f64) / 2.0;
            for x in [f16_to_f32(half_bits), tie as f32, (tie as f32).next_up(), (tie as f32).next_down()] {
                if half_bits < 0x7bff {
                    assert_eq!(f32_to_f16(x), half::f16::from_f32(x).to_bits(), "{x:e}");
                }
            }
        }
    }
}
