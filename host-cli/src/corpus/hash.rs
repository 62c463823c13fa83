//! Numbers that look random and are a function of their input alone.

/// All bits of `z` stirred.
///
/// Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64's finaliser).
pub(super) fn stir(z: u64) -> u64 {
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The number of this index in the sequence that a seed names.
pub(super) fn number(seed: u64, index: u64) -> u64 {
    stir(stir(seed).wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// A hash of some bytes.
///
/// Source: Fowler, Noll & Vo, FNV-1a, 64 bits; stirred, because its high bits hardly feel the last bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    stir(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV's own test vectors, before the last stir.
    #[test]
    fn hashes_are_fnv_1a() {
        assert_eq!(of_bytes(b""), stir(0xcbf2_9ce4_8422_2325));
        assert_eq!(of_bytes(b"a"), stir(0xaf63_dc4c_8601_ec8c));
        assert_eq!(of_bytes(b"foobar"), stir(0x8594_4171_f739_67e8));
    }
}
