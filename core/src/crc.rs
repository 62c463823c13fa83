//! CRC-32 (ISO-HDLC, the one of zip and Ethernet), by nibbles: a table of 64 bytes suits a chip.

const TABLE: [u32; 16] = {
    let mut table = [0u32; 16];
    let mut i = 0;
    while i < 16 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// A CRC-32 in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc32(u32);

impl Crc32 {
    /// Nothing read yet.
    pub const fn new() -> Self {
        Self(u32::MAX)
    }

    /// Reads `bytes`.
    #[must_use]
    pub const fn update(self, mut bytes: &[u8]) -> Self {
        const fn step(crc: u32, nibble: u32) -> u32 {
            crc >> 4 ^ TABLE[((crc ^ nibble) & 15) as usize]
        }
        let mut crc = self.0;
        while let Some((byte, rest)) = bytes.split_first() {
            crc = step(step(crc, *byte as u32), *byte as u32 >> 4);
            bytes = rest;
        }
        Self(crc)
    }

    /// Reads the bits of `values`, little-endian.
    #[must_use]
    pub fn update_f32(self, values: &[f32]) -> Self {
        values.iter().fold(self, |crc, value| crc.update(&value.to_le_bytes()))
    }

    /// The checksum of what was read.
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

/// The CRC-32 of `bytes`.
pub const fn crc32(bytes: &[u8]) -> u32 {
    Crc32::new().update(bytes).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
