//! Which model it is: one number for shape, rotary frequencies and weights, the same for every panel the weights may
//! lie in.
//!
//! What a session has in its cache is of use only to the very model that computed it. An image's own checksums cannot
//! say whether it is that model: they change when a host lays the weights out for other kernels. The digest is the
//! CRC-32 of the header's bytes 24 to 95 (the shape), of the RoPE section, and for each tensor, in directory order, of
//! its key (u32), its format (u8) and the CRC-32 of its values (u32) as [`contents`] gives them. Vocabulary, texts and
//! chat pieces do not count. A result of 0 is stored as 1, as 0 means that no digest was stored.

use crate::{
    crc::Crc32,
    image::{Entry, Image},
};

/// Hands the values of a tensor to `sink`, row by row, whatever the panel: floats little-endian; of a quantised row
/// each block's scale and minimum (u16 each) and a byte a code.
pub fn contents(image: &Image<'_>, entry: &Entry, sink: &mut dyn FnMut(&[u8])) {
    let Some(matrix) = image.matrix(entry.kind, entry.layer) else { return };
    for row in 0..matrix.rows() {
        matrix.row_f32(row).iter().for_each(|x| sink(&x.to_le_bytes()));
        matrix.row_16(row).iter().for_each(|x| sink(&x.to_le_bytes()));
        let mut left = matrix.cols();
        for index in 0..matrix.blocks() {
            let Some(block) = matrix.block(row, index) else { break };
            let [[a, b], [c, d]] = block.scales.map(u16::to_le_bytes);
            sink(&[a, b, c, d]);
            // What fills the last block is no value.
            sink(block.codes.get(..left).unwrap_or(&block.codes));
            left = left.saturating_sub(block.codes.len());
        }
    }
}

/// The digest, from the CRC-32 of every tensor's [`contents`] in directory order: for a host that shares them out over
/// threads.
pub fn combine(image: &Image<'_>, sums: impl IntoIterator<Item = u32>) -> u32 {
    let mut crc = Crc32::new().update(image.shape_bytes());
    for turns in image.rope() {
        crc = crc.update(&turns.to_le_bytes());
    }
    for (entry, sum) in image.entries().zip(sums) {
        crc = crc.update(&Entry::key(entry.kind, entry.layer).to_le_bytes());
        crc = crc.update(&[entry.format as u8]).update(&sum.to_le_bytes());
    }
    crc.finish().max(1)
}

/// The digest, computed: reads all weights. [`Image::digest`] has it for nothing where the packer has stored it.
pub fn of(image: &Image<'_>) -> u32 {
    combine(
        image,
        image.entries().map(|entry| {
            let mut crc = Crc32::new();
            contents(image, &entry, &mut |bytes| crc = crc.update(bytes));
            crc.finish()
        }),
    )
}
