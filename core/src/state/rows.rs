//! The filled rows of a KV cache as bytes.

use pipsqueak_kernels::slice::{part, part_mut};

use super::{Source, StateError, Target};
use crate::kv_cache::{KvCache, KvType, Values};

/// Bytes handed on at once.
const PIECE: usize = 64;

/// A number of the cache, `N` bytes little-endian.
trait Stored<const N: usize>: Copy {
    fn to_bytes(self) -> [u8; N];
    fn from_bytes(bytes: [u8; N]) -> Self;
}

impl Stored<4> for f32 {
    fn to_bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl Stored<2> for u16 {
    fn to_bytes(self) -> [u8; 2] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 2]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl Stored<1> for i8 {
    fn to_bytes(self) -> [u8; 1] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 1]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

/// The first `len` elements of every `stride`.
fn put<T: Stored<N>, const N: usize>(
    target: &mut Target<'_>,
    data: &[T],
    stride: usize,
    len: usize,
) -> Result<(), StateError> {
    let mut bytes = [0; PIECE];
    for row in data.chunks_exact(stride.max(1)) {
        for piece in part(row, 0, len).chunks(PIECE / N) {
            for (out, x) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(piece) {
                *out = x.to_bytes();
            }
            target.put(part(&bytes, 0, piece.len() * N))?;
        }
    }
    Ok(())
}

/// Reads them back.
fn get<T: Stored<N>, const N: usize>(
    source: &mut Source<'_>,
    data: &mut [T],
    stride: usize,
    len: usize,
) -> Result<(), StateError> {
    let mut bytes = [0; PIECE];
    for row in data.chunks_exact_mut(stride.max(1)) {
        for piece in part_mut(row, 0, len).chunks_mut(PIECE / N) {
            source.get(part_mut(&mut bytes, 0, piece.len() * N))?;
            for (x, bytes) in piece.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *x = T::from_bytes(*bytes);
            }
        }
    }
    Ok(())
}

/// Writes the first `pos` positions: keys, then values.
pub(super) fn write(cache: &KvCache<'_>, pos: usize, target: &mut Target<'_>) -> Result<(), StateError> {
    let (stride, len) = (cache.context * cache.head_dim, pos * cache.head_dim);
    for half in [&cache.keys, &cache.values] {
        match half {
            Values::F32(data) if KvType::F32.is_linked() => put(target, data, stride, len)?,
            Values::F16(data) if KvType::F16.is_linked() => put(target, data, stride, len)?,
            Values::I8 { q, scale } if KvType::I8.is_linked() => {
                put(target, q, stride, len)?;
                put(target, scale, cache.context, pos)?;
            }
            // What is left out has been refused.
            _ => {}
        }
    }
    Ok(())
}

/// Reads the first `pos` positions.
pub(super) fn read(cache: &mut KvCache<'_>, pos: usize, source: &mut Source<'_>) -> Result<(), StateError> {
    let (stride, len, context) = (cache.context * cache.head_dim, pos * cache.head_dim, cache.context);
    for half in [&mut cache.keys, &mut cache.values] {
        match half {
            Values::F32(data) if KvType::F32.is_linked() => get(source, data, stride, len)?,
            Values::F16(data) if KvType::F16.is_linked() => get(source, data, stride, len)?,
            Values::I8 { q, scale } if KvType::I8.is_linked() => {
                get(source, q, stride, len)?;
                get(source, scale, context, pos)?;
            }
            // What is left out has been refused.
            _ => {}
        }
    }
    Ok(())
}
