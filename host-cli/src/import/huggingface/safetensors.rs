//! The container: safetensors files and the index of shards.
//!
//! A file is a `u64` length, a JSON header of that many bytes, and the tensors' data without gaps. The crate `safetensors` checks
//! the header; where it refuses one, this module finds the numbers.

use std::collections::{BTreeSet, HashMap};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::json;
use crate::{
    import::{ImportError, cursor::Cursor, shape::bad},
    source::Encoding,
};

/// The longest header, as the format has it.
const MAX_HEADER: u64 = 100_000_000;
const HEADER: &str = "a safetensors header";

/// A file taken apart.
pub(super) struct File<'a> {
    metadata: Metadata,
    data: &'a [u8],
}

/// A tensor where it lies.
pub(super) struct View<'a> {
    /// Outermost first.
    pub(super) shape: Vec<u64>,
    pub(super) dtype: Dtype,
    pub(super) data: &'a [u8],
}

impl<'a> File<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let mut cursor = Cursor::new(bytes);
        let len = cursor.u64("a safetensors header's length")?;
        if len > MAX_HEADER {
            return Err(bad("the length of the safetensors header", len, format!("at most {MAX_HEADER}")));
        }
        let header = cursor.take(len, HEADER)?;
        let metadata: Metadata = json(header, HEADER).map_err(|error| find_numbers(header).unwrap_or(error))?;
        let (have, want) = (cursor.remaining(), metadata.data_len() as u64);
        if have != want {
            let before = cursor.offset();
            let need = before.saturating_add(want);
            return Err(ImportError::Length { what: "the file", need, have: before + have });
        }
        let data = cursor.take(have, "the tensors")?;
        Ok(Self { metadata, data })
    }

    /// The names of all tensors, in the order of their data.
    pub(super) fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    pub(super) fn get(&self, name: &str) -> Option<View<'a>> {
        let info = self.metadata.info(name)?;
        let data = self.data.get(info.data_offsets.0..info.data_offsets.1)?;
        Some(View { shape: info.shape.iter().map(|n| *n as u64).collect(), dtype: info.dtype, data })
    }
}

impl View<'_> {
    /// The encoding, or an error that calls the type by name.
    pub(super) fn encoding(&self, tensor: &str) -> Result<Encoding, ImportError> {
        match self.dtype {
            Dtype::F32 => Ok(Encoding::F32),
            Dtype::F16 => Ok(Encoding::F16),
            Dtype::BF16 => Ok(Encoding::BF16),
            other => Err(ImportError::TensorType { tensor: tensor.into(), found: other.to_string() }),
        }
    }
}

/// What is wrong with the places of a header's tensors, with the numbers; `None` where that is not what is wrong.
fn find_numbers(header: &[u8]) -> Option<ImportError> {
    let entries: HashMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let infos = entries.into_iter().filter(|(name, _)| name != "__metadata__");
    let infos: Option<Vec<(String, TensorInfo)>> =
        infos.map(|(name, value)| Some((name, serde_json::from_value(value).ok()?))).collect();
    let mut infos = infos?;
    infos.sort_by(|(a_name, a), (b_name, b)| (a.data_offsets, a_name).cmp(&(b.data_offsets, b_name)));
    let mut want = 0;
    for (tensor, info) in infos {
        let (start, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        if start != want || end < start {
            return Some(ImportError::Offsets { tensor, start, end, want });
        }
        let values = info.shape.iter().try_fold(1u64, |n, dim| n.checked_mul(*dim as u64));
        let bits = values.and_then(|values| values.checked_mul(info.dtype.bitsize() as u64));
        let Some(bits) = bits else { return Some(ImportError::Overflow { what: format!("tensor {tensor:?}") }) };
        let (have, need) = (end - start, bits.div_ceil(8));
        if have != need || !bits.is_multiple_of(8) {
            return Some(ImportError::TensorBytes { tensor, have, need });
        }
        want = end;
    }
    None
}

/// Which shard has which tensor.
pub(super) struct Index(Vec<(String, String)>);

impl Index {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImportError> {
        #[derive(Deserialize)]
        struct Raw {
            weight_map: Pairs<String>,
        }
        let raw: Raw = json(bytes, "an index of shards")?;
        let mut pairs = raw.weight_map.0;
        for (tensor, shard) in &pairs {
            // A file of the folder, not a path to anywhere.
            if !shard.ends_with(".safetensors") || shard.contains(['/', '\\']) || shard.starts_with('.') {
                let what = format!("the shard of tensor {tensor:?}");
                return Err(bad(
                    &what,
                    format!("{shard:?}"),
                    "the name of a .safetensors file beside the index".into(),
                ));
            }
        }
        pairs.sort();
        let twice = pairs.iter().zip(pairs.iter().skip(1)).find(|(a, b)| a.0 == b.0);
        if let Some(((name, _), _)) = twice {
            return Err(ImportError::Duplicate { what: "tensor", name: name.clone() });
        }
        Ok(Self(pairs))
    }

    /// The files' names, sorted.
    pub(super) fn shards(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.iter().map(|(_, shard)| shard).collect();
        names.into_iter().cloned().collect()
    }

    /// The shard of a tensor.
    pub(super) fn shard(&self, tensor: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(name, _)| name.as_str().cmp(tensor)).ok()?;
        self.0.get(at).map(|(_, shard)| shard.as_str())
    }

    /// All tensors with their shards.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(tensor, shard)| (tensor.as_str(), shard.as_str()))
    }
}

/// A JSON object with all its pairs, those of the same key too.
pub(super) struct Pairs<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Reader(std::marker::PhantomData))
    }
}
