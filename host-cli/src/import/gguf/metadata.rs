//! GGUF's metadata: keys and typed values, borrowed from the file.

use std::collections::HashMap;

use crate::import::{ImportError, cursor::Cursor};

/// Arrays inside arrays inside arrays: more than any known file has.
const MAX_DEPTH: u32 = 4;

/// A type number of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Str,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Str,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ImportError> {
        let offset = cursor.offset();
        let code = cursor.u32("a value's type")?;
        Self::from_code(code).ok_or(ImportError::UnknownType { what: "metadata type", offset, code })
    }

    /// Bytes of a value; `None` for strings and arrays, which say their length themselves.
    fn fixed_bytes(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Str | Self::Array => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::Str => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }
}

/// A value: its type and its bytes, which are known to be complete.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    kind: ValueType,
    bytes: &'a [u8],
}

/// An array of numbers, strings or arrays; `bytes` holds exactly its elements.
#[derive(Clone)]
pub(super) struct Array<'a> {
    kind: ValueType,
    len: u64,
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// Takes one value of a known type off the file.
    fn read(kind: ValueType, cursor: &mut Cursor<'a>) -> Result<Self, ImportError> {
        let start = cursor.clone();
        skip(kind, cursor, 0)?;
        let bytes = start.clone().take(cursor.offset() - start.offset(), "a value")?;
        Ok(Self { kind, bytes })
    }

    fn cursor(&self) -> Cursor<'a> {
        Cursor::new(self.bytes)
    }

    /// Any integer type.
    fn int(&self) -> Option<i128> {
        let (bytes, signed) = match self.kind {
            ValueType::U8 | ValueType::U16 | ValueType::U32 | ValueType::U64 => (self.bytes, false),
            ValueType::I8 | ValueType::I16 | ValueType::I32 | ValueType::I64 => (self.bytes, true),
            _ => return None,
        };
        let negative = signed && bytes.last().is_some_and(|top| *top >= 128);
        let magnitude = bytes.iter().rev().fold(0i128, |n, byte| n << 8 | i128::from(*byte));
        Some(if negative { magnitude - (1 << (8 * bytes.len())) } else { magnitude })
    }

    fn float(&self) -> Option<f64> {
        match self.kind {
            ValueType::F32 => self.cursor().f32("a value").ok().map(f64::from),
            ValueType::F64 => self.cursor().u64("a value").ok().map(f64::from_bits),
            _ => None,
        }
    }

    fn flag(&self) -> Option<bool> {
        match (self.kind, self.bytes) {
            (ValueType::Bool, [0]) => Some(false),
            (ValueType::Bool, [1]) => Some(true),
            _ => None,
        }
    }

    fn array(&self) -> Option<Array<'a>> {
        if self.kind != ValueType::Array {
            return None;
        }
        let mut cursor = self.cursor();
        let kind = ValueType::read(&mut cursor).ok()?;
        let len = cursor.u64("an array").ok()?;
        let bytes = cursor.take(cursor.remaining(), "an array").ok()?;
        Some(Array { kind, len, bytes })
    }

    fn text(&self) -> Option<&'a [u8]> {
        if self.kind == ValueType::Str { string(&mut self.cursor(), "a string").ok() } else { None }
    }
}

/// A length and that many bytes.
fn string<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> Result<&'a [u8], ImportError> {
    let len = cursor.u64(what)?;
    cursor.take(len, what)
}

/// A name: a string that must be UTF-8.
pub(super) fn name<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> Result<&'a str, ImportError> {
    let offset = cursor.offset();
    let bytes = string(cursor, what)?;
    std::str::from_utf8(bytes).map_err(|_| ImportError::NotUtf8 { what: format!("{what} at offset {offset}") })
}

/// Moves over one value. Recursion ends at `MAX_DEPTH`; every element moves forward, so the file's length bounds the work.
fn skip(kind: ValueType, cursor: &mut Cursor<'_>, depth: u32) -> Result<(), ImportError> {
    match kind {
        ValueType::Str => string(cursor, "a metadata string").map(|_| ()),
        ValueType::Array => {
            let offset = cursor.offset();
            if depth >= MAX_DEPTH {
                return Err(ImportError::TooDeep { offset, limit: MAX_DEPTH });
            }
            let element = ValueType::read(cursor)?;
            let len = cursor.u64("an array's length")?;
            match element.fixed_bytes() {
                Some(bytes) => {
                    let bytes = len.checked_mul(bytes);
                    let bytes =
                        bytes.ok_or_else(|| ImportError::Overflow { what: format!("the array at {offset}") })?;
                    cursor.take(bytes, "an array").map(|_| ())
                }
                None => (0..len).try_for_each(|_| skip(element, cursor, depth + 1)),
            }
        }
        fixed => cursor.take(fixed.fixed_bytes().unwrap_or(0), "a metadata value").map(|_| ()),
    }
}

impl<'a> Array<'a> {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The elements. Values of a checked array are complete, so the iterator ends where the array does.
    fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (kind, mut cursor) = (self.kind, Cursor::new(self.bytes));
        (0..self.len).map_while(move |_| Value::read(kind, &mut cursor).ok())
    }

    pub(super) fn strings(&self) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        (self.kind == ValueType::Str).then(|| self.values().filter_map(|value| value.text()))
    }

    pub(super) fn ints(&self) -> Option<impl Iterator<Item = i128> + use<'a>> {
        let whole =
            !matches!(self.kind, ValueType::Str | ValueType::Array | ValueType::Bool | ValueType::F32 | ValueType::F64);
        whole.then(|| self.values().filter_map(|value| value.int()))
    }

    pub(super) fn floats(&self) -> Option<impl Iterator<Item = f64> + use<'a>> {
        matches!(self.kind, ValueType::F32 | ValueType::F64).then(|| self.values().filter_map(|value| value.float()))
    }
}

/// All keys of a file.
pub(super) struct Metadata<'a> {
    values: HashMap<&'a str, Value<'a>>,
}

impl<'a> Metadata<'a> {
    /// Reads `count` pairs.
    pub(super) fn read(cursor: &mut Cursor<'a>, count: u64) -> Result<Self, ImportError> {
        let mut values = HashMap::new();
        for _ in 0..count {
            let key = name(cursor, "a metadata key")?;
            let kind = ValueType::read(cursor)?;
            if values.insert(key, Value::read(kind, cursor)?).is_some() {
                return Err(ImportError::Duplicate { what: "metadata key", name: key.into() });
            }
        }
        Ok(Self { values })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// What `get` finds in the value, or the error that names the type it should have.
    fn typed<T>(
        &self,
        key: &str,
        want: &'static str,
        get: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, ImportError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let found = get(value);
        found.map(Some).ok_or(ImportError::WrongType { key: key.into(), found: value.kind.name(), want })
    }

    /// An integer of any width that fits in `u32`.
    pub(super) fn u32(&self, key: &str) -> Result<Option<u32>, ImportError> {
        let Some(value) = self.typed(key, "an integer", Value::int)? else { return Ok(None) };
        to_u32(key, value).map(Some)
    }

    /// An integer, or an array of equal integers (some converters write one a layer).
    pub(super) fn u32_or_equal_array(&self, key: &str) -> Result<Option<u32>, ImportError> {
        let Some(array) = self.values.get(key).and_then(Value::array) else { return self.u32(key) };
        let want = "an integer or an array of integers";
        let wrong = || ImportError::WrongType { key: key.into(), found: array.kind.name(), want };
        let mut values = array.ints().ok_or_else(wrong)?;
        let Some(first) = values.next() else {
            return Err(ImportError::BadValue {
                what: key.into(),
                found: "an empty array".into(),
                want: "one number".into(),
            });
        };
        if let Some(other) = values.find(|value| *value != first) {
            return Err(ImportError::Unsupported {
                what: format!("{key} that differs between layers ({first} and {other}) is"),
                hint: "all layers must have the same shape",
            });
        }
        to_u32(key, first).map(Some)
    }

    /// A float of either width, or an integer that stands for one.
    pub(super) fn f64(&self, key: &str) -> Result<Option<f64>, ImportError> {
        self.typed(key, "a number", |value| value.float().or_else(|| value.int().map(|n| n as f64)))
    }

    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>, ImportError> {
        self.typed(key, "a bool that is 0 or 1", Value::flag)
    }

    pub(super) fn str(&self, key: &str) -> Result<Option<&'a str>, ImportError> {
        let Some(bytes) = self.typed(key, "a string", Value::text)? else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).map_err(|_| ImportError::NotUtf8 { what: format!("the value of {key}") })
    }

    /// A text that only informs: empty where it is missing or no text.
    pub(super) fn note(&self, key: &str) -> &'a str {
        self.str(key).ok().flatten().unwrap_or("")
    }

    pub(super) fn array(&self, key: &str) -> Result<Option<Array<'a>>, ImportError> {
        self.typed(key, "an array", Value::array)
    }

    /// An array of bools; `None` where the key is missing or its value no array.
    pub(super) fn flags(&self, key: &str) -> Result<Option<Vec<bool>>, ImportError> {
        let Some(array) = self.values.get(key).and_then(Value::array) else { return Ok(None) };
        let flags: Option<Vec<bool>> = array.values().map(|value| value.flag()).collect();
        flags.map(Some).ok_or_else(|| Self::wrong_elements(key, &array, "an array of bools that are 0 or 1"))
    }

    /// For errors about an array's elements.
    pub(super) fn wrong_elements(key: &str, array: &Array<'_>, want: &'static str) -> ImportError {
        ImportError::WrongType { key: key.into(), found: array.kind.name(), want }
    }
}

fn to_u32(key: &str, value: i128) -> Result<u32, ImportError> {
    u32::try_from(value).map_err(|_| ImportError::BadValue {
        what: key.into(),
        found: value.to_string(),
        want: format!("from 0 to {}", u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: ValueType, bytes: &[u8]) -> Value<'_> {
        Value { kind, bytes }
    }

    #[test]
    fn integers_of_every_width() {
        assert_eq!(value(ValueType::U8, &[255]).int(), Some(255));
        assert_eq!(value(ValueType::I8, &[255]).int(), Some(-1));
        assert_eq!(value(ValueType::U16, &[1, 2]).int(), Some(0x201));
        assert_eq!(value(ValueType::I16, &[0, 0x80]).int(), Some(-32768));
        assert_eq!(value(ValueType::U32, &[0, 0, 0, 0x80]).int(), Some(1 << 31));
        assert_eq!(value(ValueType::I32, &[0xfe, 255, 255, 255]).int(), Some(-2));
        assert_eq!(value(ValueType::U64, &[255; 8]).int(), Some(i128::from(u64::MAX)));
        assert_eq!(value(ValueType::I64, &[0, 0, 0, 0, 0, 0, 0, 0x80]).int(), Some(i128::from(i64::MIN)));
        assert_eq!(value(ValueType::F32, &[0; 4]).int(), None);
    }

    #[test]
    fn deep_arrays_are_refused() {
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            bytes.extend(9u32.to_le_bytes());
            bytes.extend(1u64.to_le_bytes());
        }
        let result = Value::read(ValueType::Array, &mut Cursor::new(&bytes));
        assert!(matches!(result.err(), Some(ImportError::TooDeep { .. })));
    }

    #[test]
    fn huge_arrays_are_refused() {
        for element in [0u32, 4, 8, 9, 12] {
            // The products of the large ones by 4 and 8 wrap around to 0.
            for len in [1 << 20, 1 << 61, 1 << 62, u64::MAX] {
                let mut bytes = element.to_le_bytes().to_vec();
                bytes.extend(len.to_le_bytes());
                bytes.extend([0; 64]);
                assert!(Value::read(ValueType::Array, &mut Cursor::new(&bytes)).is_err());
            }
        }
    }
}
