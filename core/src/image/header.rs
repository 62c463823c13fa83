//! The fixed first 256 bytes of an image.

use super::{ImageError, Part};
use crate::{
    config::{Activation, Arch, Config, ConfigError, RopePairs},
    crc::crc32,
};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 256;
/// Number of sections.
pub const SECTIONS: usize = 5;
const MAGIC: [u8; 4] = *b"PIPS";
const VERSION: u16 = 1;
const ARITHMETIC: u16 = 1;

/// Where a section lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// From the start of the file; a multiple of 64.
    pub offset: u64,
    /// In bytes.
    pub len: u64,
    /// CRC-32 of its bytes.
    pub crc: u32,
}

/// The header's content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// Length of the whole file in bytes.
    pub file_len: u64,
    /// Entries of the directory.
    pub n_tensors: u32,
    /// The model's shape.
    pub config: Config,
    /// Directory, RoPE, vocabulary, text, golden.
    pub sections: [Section; SECTIONS],
}

impl Header {
    /// Reads and checks the header of `bytes`, the start of an image in memory.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let header = Self::read(bytes)?;
        if bytes.as_ptr().addr() & 63 != 0 {
            return Err(ImageError::Misaligned);
        }
        Ok(header)
    }

    /// [`Self::parse`] for the compiler, which knows no addresses: all but the alignment is checked.
    pub const fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let got = bytes.len() as u64;
        let Some((magic, _)) = bytes.split_first_chunk::<4>() else {
            return Err(ImageError::Truncated { need: HEADER_BYTES as u64, got });
        };
        if u32::from_le_bytes(*magic) != u32::from_le_bytes(MAGIC) {
            return Err(ImageError::Magic { got: *magic });
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(ImageError::Truncated { need: HEADER_BYTES as u64, got });
        };
        let mut get = Reader::new(header);
        let _ = get.u32();
        let (version, arithmetic) = (get.u16(), get.u16());
        // The version first: another version may have its checksum elsewhere.
        if version != VERSION {
            return Err(ImageError::Version { got: version });
        }
        let (body, stored) = header.split_at(HEADER_BYTES - 4);
        let (expected, got_crc) = (Reader::new(stored).u32(), crc32(body));
        if expected != got_crc {
            return Err(ImageError::Checksum { part: Part::Header, expected, got: got_crc });
        }
        if arithmetic != ARITHMETIC {
            return Err(ImageError::Arithmetic { got: arithmetic });
        }
        let file_len = get.u64();
        if file_len > got {
            return Err(ImageError::Truncated { need: file_len, got });
        }
        let n_tensors = get.u32();
        let _ = get.u32();
        let config = match read_config(&mut get) {
            Ok(config) => config,
            Err(error) => return Err(ImageError::Config(error)),
        };
        let _: [u8; 16] = get.array();
        let sections = [get.section(), get.section(), get.section(), get.section(), get.section()];
        Ok(Self { file_len, n_tensors, config, sections })
    }

    /// The header as stored.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut put = Writer::new(&mut out);
        put.bytes(&MAGIC);
        put.bytes(&VERSION.to_le_bytes());
        put.bytes(&ARITHMETIC.to_le_bytes());
        put.bytes(&self.file_len.to_le_bytes());
        put.bytes(&self.n_tensors.to_le_bytes());
        put.bytes(&[0; 4]);
        let c = &self.config;
        for value in [
            c.dim,
            c.hidden_dim,
            c.n_layers,
            c.n_heads,
            c.n_kv_heads,
            c.head_dim,
            c.rope_dim,
            c.vocab_size,
            c.seq_len,
            c.norm_eps.to_bits(),
            c.att_scale.to_bits(),
        ] {
            put.bytes(&value.to_le_bytes());
        }
        put.bytes(&[c.rope_pairs as u8, c.activation as u8, c.tied_head as u8, c.arch.code()]);
        let (window, global_every) = match c.arch {
            Arch::Gemma3 { window, global_every } => (window, global_every),
            _ => (0, 0),
        };
        put.bytes(&window.to_le_bytes());
        put.bytes(&global_every.to_le_bytes());
        put.bytes(&[0; 16]);
        for section in self.sections {
            put.bytes(&section.offset.to_le_bytes());
            put.bytes(&section.len.to_le_bytes());
            put.bytes(&section.crc.to_le_bytes());
            put.bytes(&[0; 4]);
        }
        let (body, crc) = out.split_at_mut(HEADER_BYTES - 4);
        Writer::new(crc).bytes(&crc32(body).to_le_bytes());
        out
    }
}

const fn read_config(get: &mut Reader<'_>) -> Result<Config, ConfigError> {
    let [dim, hidden_dim, n_layers, n_heads] = [get.u32(), get.u32(), get.u32(), get.u32()];
    let [n_kv_heads, head_dim, rope_dim, vocab_size, seq_len] = [get.u32(), get.u32(), get.u32(), get.u32(), get.u32()];
    let (norm_eps, att_scale) = (f32::from_bits(get.u32()), f32::from_bits(get.u32()));
    let [pairs, function, tied, arch] = get.array();
    let unknown = ConfigError::Unknown { field: "rope_pairs", got: pairs as u32 };
    let Some(rope_pairs) = RopePairs::from_code(pairs) else { return Err(unknown) };
    let unknown = ConfigError::Unknown { field: "activation", got: function as u32 };
    let Some(activation) = Activation::from_code(function) else { return Err(unknown) };
    let tied_head = match tied {
        0 => false,
        1 => true,
        other => return Err(ConfigError::Unknown { field: "tied_head", got: other as u32 }),
    };
    let unknown = ConfigError::Unknown { field: "architecture", got: arch as u32 };
    let (window, global_every) = (get.u32(), get.u32());
    let Some(arch) = Arch::from_code(arch, window, global_every) else { return Err(unknown) };
    Ok(Config {
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        rope_dim,
        vocab_size,
        seq_len,
        norm_eps,
        att_scale,
        rope_pairs,
        activation,
        tied_head,
        arch,
    })
}

/// Reads little-endian numbers from the front of a slice; zeros after its end.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn array<const N: usize>(&mut self) -> [u8; N] {
        let Some((head, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *head
    }

    pub(crate) const fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) const fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) const fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    const fn section(&mut self) -> Section {
        let section = Section { offset: self.u64(), len: self.u64(), crc: self.u32() };
        let _ = self.u32();
        section
    }
}

/// Writes at the front of a slice; what does not fit is dropped.
pub(crate) struct Writer<'a>(core::slice::IterMut<'a, u8>);

impl<'a> Writer<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes.iter_mut())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for (byte, out) in bytes.iter().zip(&mut self.0) {
            *out = *byte;
        }
    }
}
