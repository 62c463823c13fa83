//! A writer of GGUF files, right or wrong as the test asks.

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Type 4.
    U32(u32),
    /// Type 5.
    I32(i32),
    /// Type 6.
    F32(f32),
    /// Type 7.
    Bool(bool),
    /// Type 8.
    Str(String),
    /// Type 10.
    U64(u64),
    /// An array of type 4.
    U32s(Vec<u32>),
    /// An array of type 5.
    I32s(Vec<i32>),
    /// An array of type 6.
    F32s(Vec<f32>),
    /// An array of type 8.
    Strs(Vec<String>),
    /// Any type number with any bytes.
    Raw(u32, Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        let code: u32 = match self {
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Str(_) => 8,
            Self::U64(_) => 10,
            Self::U32s(_) | Self::I32s(_) | Self::F32s(_) | Self::Strs(_) => 9,
            Self::Raw(code, _) => *code,
        };
        out.extend(code.to_le_bytes());
        match self {
            Self::U32(n) => out.extend(n.to_le_bytes()),
            Self::I32(n) => out.extend(n.to_le_bytes()),
            Self::F32(x) => out.extend(x.to_le_bytes()),
            Self::Bool(b) => out.push(u8::from(*b)),
            Self::Str(text) => string(text, out),
            Self::U64(n) => out.extend(n.to_le_bytes()),
            Self::U32s(all) => array(4, all, |n, out| out.extend(n.to_le_bytes()), out),
            Self::I32s(all) => array(5, all, |n, out| out.extend(n.to_le_bytes()), out),
            Self::F32s(all) => array(6, all, |x, out| out.extend(x.to_le_bytes()), out),
            Self::Strs(all) => array(8, all, |text, out| string(text, out), out),
            Self::Raw(_, bytes) => out.extend(bytes),
        }
    }
}

fn array<T>(code: u32, all: &[T], write: impl Fn(&T, &mut Vec<u8>), out: &mut Vec<u8>) {
    out.extend(code.to_le_bytes());
    out.extend((all.len() as u64).to_le_bytes());
    all.iter().for_each(|one| write(one, out));
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.bytes());
}

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Dimensions, innermost first.
    pub dims: Vec<u64>,
    /// ggml's type number.
    pub type_code: u32,
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its offset in the data section; `None` puts it behind the one before, aligned.
    pub offset: Option<u64>,
}

/// A file in parts, so that a test can change one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufWriter {
    /// The version to claim.
    pub version: u32,
    /// Where tensors may start; named in the metadata unless it is the usual 32.
    pub alignment: u64,
    /// Keys and values, in order.
    pub metadata: Vec<(String, Value)>,
    /// Tensors, in order.
    pub tensors: Vec<TensorEntry>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self { version: 3, alignment: 32, metadata: Vec::new(), tensors: Vec::new() }
    }
}

impl GgufWriter {
    /// Sets a key, in its old place where it has one.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        match self.metadata.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.into(), value)),
        }
        self
    }

    /// Takes a key out.
    pub fn unset(&mut self, key: &str) -> &mut Self {
        self.metadata.retain(|(name, _)| name != key);
        self
    }

    /// Adds a tensor.
    pub fn tensor(&mut self, name: &str, dims: &[u64], type_code: u32, data: Vec<u8>) -> &mut Self {
        self.tensors.push(TensorEntry { name: name.into(), dims: dims.into(), type_code, data, offset: None });
        self
    }

    /// The tensor of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn tensor_mut(&mut self, name: &str) -> &mut TensorEntry {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("a tensor of this name")
    }

    /// The file. It ends with the last tensor's last byte.
    pub fn bytes(&self) -> Vec<u8> {
        let mut metadata = self.metadata.clone();
        if self.alignment != 32 {
            metadata.push(("general.alignment".into(), Value::U32(self.alignment as u32)));
        }
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in &metadata {
            string(key, &mut out);
            value.write(&mut out);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            string(&tensor.name, &mut out);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(tensor.type_code.to_le_bytes());
            data.resize(data.len().next_multiple_of(self.alignment as usize), 0);
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
        }
        if !data.is_empty() {
            out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
        }
        out.extend(data);
        out
    }
}
