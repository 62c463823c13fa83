//! A session kept: the cache's rows and the tokens they belong to, as bytes that another session goes on from.
//!
//! A prompt that many texts begin with is computed once; a chip that loses power goes on where it stood. The session
//! that restores may have other kernels, threads, batch and context: what follows has the same bits. Bytes come and go
//! in order and in pieces, through functions of the caller, so that nothing needs memory for the whole. Firmware that
//! calls nothing of this links nothing of it.
//!
//! All numbers are little-endian.
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | `[u8; 4]` | `PIPK` |
//! | 4 | u16 | format version, 1 |
//! | 6 | u16 | arithmetic contract, 1 |
//! | 8 | u64 | length of the state |
//! | 16 | u32 | digest of the model; see [`crate::digest`] |
//! | 20 | u32 | positions of the cache, `P` |
//! | 24 | u32 | tokens, `T`; at least `P` |
//! | 28 | u32 | bytes of the note, `N` |
//! | 32 | u8 | type of the cache: 0 f32, 1 f16, 2 int8 |
//! | 33 | 27 x u8 | 0 |
//! | 60 | u32 | CRC-32 of bytes 0 to 59 |
//! | 64 | `T` x u32 | token ids; the first `P` are in the cache, the rest not yet |
//! | | `N` x u8 | the caller's note |
//! | | | keys: `[layer][kv_head][P][head_dim]`; of int8 then their f16 scales, `[layer][group][P]` |
//! | | | values, likewise |
//! | | u32 | CRC-32 of all from byte 64 on |
//!
//! A group is as many heads as fill a block of 32, at least one. With SmolLM2-135M a position of an f16 cache is 23,040
//! bytes.
//!
//! ```
//! use pipsqueak::{Session, kernels::Kernels, state::{StateError, Stopped}};
//!
//! /// Keeps a session in a page of flash (or wherever `page` is).
//! fn keep<K: Kernels + ?Sized>(
//!     session: &Session<'_, K>,
//!     model: u32,
//!     tokens: &[u32],
//!     page: &mut [u8],
//! ) -> Result<(), StateError> {
//!     let mut rest = page;
//!     session.save(model, tokens, &[], &mut |bytes| {
//!         let (out, after) = core::mem::take(&mut rest).split_at_mut_checked(bytes.len()).ok_or(Stopped)?;
//!         out.copy_from_slice(bytes);
//!         rest = after;
//!         Ok(())
//!     })
//! }
//!
//! /// Goes on from there; `tokens` takes the history, whose length is returned.
//! fn go_on<K: Kernels + ?Sized>(
//!     session: &mut Session<'_, K>,
//!     model: u32,
//!     tokens: &mut [u32],
//!     page: &[u8],
//! ) -> Result<usize, StateError> {
//!     let mut rest = page;
//!     let header = session.restore(model, tokens, &mut [], &mut |out| {
//!         let count = out.len().min(rest.len());
//!         let (bytes, after) = rest.split_at(count);
//!         out[..count].copy_from_slice(bytes);
//!         rest = after;
//!         count
//!     })?;
//!     Ok(header.tokens)
//! }
//! ```

mod error;
mod rows;

pub use error::{StateError, Stopped};
use pipsqueak_kernels::Kernels;

use crate::{
    config::Config,
    crc::Crc32,
    image::{ARITHMETIC, Reader, Writer},
    kv_cache::{KvType, groups},
    session::Session,
};

/// Bytes of the header.
pub const STATE_HEADER_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"PIPK";
const VERSION: u16 = 1;

/// What a state says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StateHeader {
    /// Bytes of the whole state.
    pub len: u64,
    /// Digest of the model.
    pub model: u32,
    /// Positions of the cache.
    pub position: usize,
    /// Tokens, at least as many.
    pub tokens: usize,
    /// Bytes of the note.
    pub note: usize,
    /// Type of the cache.
    pub kv: KvType,
}

impl StateHeader {
    /// Reads and checks the header of a state; what the counts stand for is compared with a session by
    /// [`Session::restore`].
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        let got = bytes.len() as u64;
        let short = StateError::Truncated { need: STATE_HEADER_BYTES as u64, got };
        let magic = bytes.first_chunk::<4>().ok_or(short)?;
        if *magic != MAGIC {
            return Err(StateError::Magic { got: *magic });
        }
        let header = bytes.first_chunk::<STATE_HEADER_BYTES>().ok_or(short)?;
        let mut get = Reader::new(header);
        let _ = get.u32();
        let (version, arithmetic) = (get.u16(), get.u16());
        // The version first: another version may have its checksum elsewhere.
        if version != VERSION {
            return Err(StateError::Version { got: version });
        }
        let (body, stored) = header.split_at_checked(STATE_HEADER_BYTES - 4).unwrap_or_default();
        let (expected, crc) = (Reader::new(stored).u32(), Crc32::new().update(body).finish());
        if expected != crc {
            return Err(StateError::Checksum { expected, got: crc });
        }
        if arithmetic != ARITHMETIC {
            return Err(StateError::Arithmetic { got: arithmetic });
        }
        let len = get.u64();
        let model = get.u32();
        let [position, tokens, note] = [get.u32(), get.u32(), get.u32()];
        let [code] = get.array();
        let unknown = StateError::Header { field: "the type of the cache", got: code.into() };
        let kv = KvType::ALL.get(code as usize).copied().ok_or(unknown)?;
        if position > tokens {
            return Err(StateError::Tokens { need: position as usize, got: tokens as usize });
        }
        Ok(Self { len, model, position: position as usize, tokens: tokens as usize, note: note as usize, kv })
    }

    /// The header as stored.
    fn to_bytes(self) -> [u8; STATE_HEADER_BYTES] {
        let mut out = [0; STATE_HEADER_BYTES];
        let mut put = Writer::new(&mut out);
        put.bytes(&MAGIC);
        put.bytes(&VERSION.to_le_bytes());
        put.bytes(&ARITHMETIC.to_le_bytes());
        put.bytes(&self.len.to_le_bytes());
        for number in [self.model, self.position as u32, self.tokens as u32, self.note as u32] {
            put.bytes(&number.to_le_bytes());
        }
        put.bytes(&[self.kv as u8]);
        let (body, crc) = out.split_at_mut_checked(STATE_HEADER_BYTES - 4).unwrap_or_default();
        Writer::new(crc).bytes(&Crc32::new().update(body).finish().to_le_bytes());
        out
    }
}

/// Bytes of a state: what a chip must have room for. Saturates.
pub const fn state_bytes(config: &Config, kv: KvType, position: usize, tokens: usize, note: usize) -> u64 {
    let layers = config.n_layers as u64;
    let elements = layers.saturating_mul(config.kv_dim() as u64);
    let one = match kv {
        KvType::F32 => elements.saturating_mul(4),
        KvType::F16 => elements.saturating_mul(2),
        KvType::I8 => elements.saturating_add(layers.saturating_mul(groups(config) as u64).saturating_mul(2)),
    };
    let rows = one.saturating_mul(2).saturating_mul(position as u64);
    let rest = (STATE_HEADER_BYTES as u64 + 4).saturating_add((tokens as u64).saturating_mul(4));
    rows.saturating_add(rest).saturating_add(note as u64)
}

/// Where a state's bytes go.
struct Target<'s> {
    sink: &'s mut dyn FnMut(&[u8]) -> Result<(), Stopped>,
    crc: Crc32,
}

impl Target<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.crc = self.crc.update(bytes);
        (self.sink)(bytes).map_err(|Stopped| StateError::Stopped)
    }
}

/// Where a state's bytes come from.
struct Source<'s> {
    source: &'s mut dyn FnMut(&mut [u8]) -> usize,
    crc: Crc32,
    /// Bytes of the whole state, and those that came.
    need: u64,
    got: u64,
}

impl Source<'_> {
    fn get(&mut self, bytes: &mut [u8]) -> Result<(), StateError> {
        let count = (self.source)(bytes).min(bytes.len());
        self.got = self.got.saturating_add(count as u64);
        if count < bytes.len() {
            return Err(StateError::Truncated { need: self.need, got: self.got });
        }
        self.crc = self.crc.update(bytes);
        Ok(())
    }

    fn word(&mut self) -> Result<u32, StateError> {
        let mut bytes = [0; 4];
        self.get(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

impl<K: Kernels + ?Sized> Session<'_, K> {
    /// Hands the session as bytes to `sink`, piece by piece: [`state_bytes`] of them.
    ///
    /// `model` is the image's [digest](crate::Image::digest). `tokens` is the text so far: first the tokens of the
    /// cache, then those that were chosen and not yet fed. `note` is the caller's own.
    ///
    /// # Errors
    /// [`StateError::Busy`], [`StateError::Tokens`] when `tokens` is shorter than the cache, [`StateError::Token`],
    /// [`StateError::TooLarge`], [`StateError::Stopped`] when the sink gave up.
    pub fn save(
        &self,
        model: u32,
        tokens: &[u32],
        note: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Stopped>,
    ) -> Result<(), StateError> {
        if self.n != 0 {
            return Err(StateError::Busy);
        }
        if tokens.len() < self.pos {
            return Err(StateError::Tokens { need: self.pos, got: tokens.len() });
        }
        let config = self.image().config();
        let vocab_size = config.vocab_size;
        if let Some(id) = tokens.iter().copied().find(|id| *id >= vocab_size) {
            return Err(StateError::Token { id, vocab_size });
        }
        for got in [tokens.len(), note.len()] {
            if u32::try_from(got).is_err() {
                return Err(StateError::TooLarge { got });
            }
        }
        let (position, tokens_len, kv) = (self.pos, tokens.len(), self.kv());
        let len = state_bytes(config, kv, position, tokens_len, note.len());
        let header = StateHeader { len, model, position, tokens: tokens_len, note: note.len(), kv };
        let mut target = Target { sink, crc: Crc32::new() };
        target.put(&header.to_bytes())?;
        target.crc = Crc32::new();
        for id in tokens {
            target.put(&id.to_le_bytes())?;
        }
        target.put(note)?;
        rows::write(&self.cache, position, &mut target)?;
        let crc = target.crc.finish();
        target.put(&crc.to_le_bytes())
    }

    /// Takes the place of this session's tokens by those of a state, whose bytes `source` gives in order: it fills as
    /// much of the slice as it can and returns how much that is, less than all only at the end.
    ///
    /// `model` is this image's [digest](crate::Image::digest). `tokens` takes the text that was saved, `note` as much
    /// of the note as it has room for; the header says how long both are, and how many of the tokens are in the cache.
    /// There are no logits: the next come with the next token that is fed. Where there is none,
    /// [`truncate`](Self::truncate) by one and feed the last one again.
    ///
    /// # Errors
    /// After an error that the header shows (all that [`StateHeader::parse`] returns, another model, another type of
    /// cache, a longer context than this session's, too little room for the tokens, a wrong length) the session is as
    /// it was; after any other ([`StateError::Truncated`], [`StateError::Checksum`], [`StateError::Token`]) it is
    /// empty.
    pub fn restore(
        &mut self,
        model: u32,
        tokens: &mut [u32],
        note: &mut [u8],
        source: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Result<StateHeader, StateError> {
        let mut header = [0; STATE_HEADER_BYTES];
        let count = source(&mut header).min(STATE_HEADER_BYTES);
        let header = StateHeader::parse(header.get(..count).unwrap_or(&header))?;
        let config = self.image().config();
        let (vocab_size, context) = (config.vocab_size, self.plan().options.context);
        if header.model != model {
            return Err(StateError::Model { need: model, got: header.model });
        }
        if header.kv != self.kv() {
            return Err(StateError::Cache { need: self.kv(), got: header.kv });
        }
        if header.position > context {
            return Err(StateError::Context { context, need: header.position });
        }
        let need = state_bytes(config, header.kv, header.position, header.tokens, header.note);
        if header.len != need {
            return Err(StateError::Length { need, got: header.len });
        }
        let got = tokens.len();
        let Some(tokens) = tokens.get_mut(..header.tokens) else {
            return Err(StateError::Tokens { need: header.tokens, got });
        };
        self.truncate(0);
        let mut source = Source { source, crc: Crc32::new(), need, got: STATE_HEADER_BYTES as u64 };
        for token in tokens {
            let id = source.word()?;
            if id >= vocab_size {
                return Err(StateError::Token { id, vocab_size });
            }
            *token = id;
        }
        let mut room = note.iter_mut();
        for _ in 0..header.note {
            let mut byte = [0];
            source.get(&mut byte)?;
            if let Some(place) = room.next() {
                [*place] = byte;
            }
        }
        rows::read(&mut self.cache, header.position, &mut source)?;
        let got = source.crc.finish();
        let expected = source.word()?;
        if expected != got {
            return Err(StateError::Checksum { expected, got });
        }
        self.pos = header.position;
        Ok(header)
    }
}
