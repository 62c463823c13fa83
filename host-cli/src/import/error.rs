//! What can be wrong with a model file, said in one plain line.

use std::fmt;

use super::gguf::PRE_TOKENIZERS;

/// Why a file could not be imported. `Display` is one line: what, where, the numbers, and what would work.
#[derive(Clone, Debug, PartialEq)]
pub enum ImportError {
    /// Neither a magic nor a believable llama2.c header.
    Unrecognised {
        /// The first bytes of the file (fewer where it is shorter).
        first: Vec<u8>,
        /// Length of the file in bytes.
        len: u64,
    },
    /// A GGUF file written on a big-endian machine.
    BigEndian,
    /// A version of a known format that this importer does not read.
    Version {
        /// The format.
        format: &'static str,
        /// The version found.
        found: u32,
        /// The versions that are read.
        supported: &'static str,
    },
    /// The file ends inside something.
    Truncated {
        /// Inside what.
        what: &'static str,
        /// Where that starts.
        offset: u64,
        /// Bytes wanted there.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// The file's length is not what its header asks for.
    Length {
        /// Which file.
        what: &'static str,
        /// Bytes the header asks for.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// A type number the format does not define.
    UnknownType {
        /// Type of what.
        what: &'static str,
        /// Where.
        offset: u64,
        /// The number found.
        code: u32,
    },
    /// Arrays nested more deeply than any real file has them.
    TooDeep {
        /// Where the array starts.
        offset: u64,
        /// Depth allowed.
        limit: u32,
    },
    /// A name or text that is not UTF-8.
    NotUtf8 {
        /// Which text.
        what: String,
    },
    /// A key or tensor that is there twice.
    Duplicate {
        /// "metadata key" or "tensor".
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A metadata key that is needed and not there.
    MissingKey {
        /// The key.
        key: String,
    },
    /// A metadata value of another type than needed.
    WrongType {
        /// The key.
        key: String,
        /// Type found.
        found: &'static str,
        /// Type needed.
        want: &'static str,
    },
    /// A number out of range.
    BadValue {
        /// Which value.
        what: String,
        /// The value found.
        found: String,
        /// What would be right.
        want: String,
    },
    /// An architecture the engine does not run.
    Architecture {
        /// Its name in the file.
        found: String,
    },
    /// Something this architecture can have and the engine cannot do.
    Unsupported {
        /// What.
        what: String,
        /// What would work.
        hint: &'static str,
    },
    /// A tensor in an encoding that is not read.
    TensorType {
        /// The tensor.
        tensor: String,
        /// The encoding's name.
        found: String,
    },
    /// A tensor the engine has no use for: leaving it out would change the results.
    UnexpectedTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor that is needed and not there.
    MissingTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor of another shape than the metadata asks for.
    Shape {
        /// The tensor.
        tensor: String,
        /// Shape found, outermost first.
        found: Vec<u64>,
        /// Rows needed.
        rows: u64,
        /// Columns needed.
        cols: u64,
    },
    /// Columns that do not fill whole blocks.
    Columns {
        /// The tensor.
        tensor: String,
        /// Its columns.
        cols: u64,
        /// Values in a block.
        block: u64,
    },
    /// A tensor whose bytes are not all inside the file.
    OutOfFile {
        /// The tensor.
        tensor: String,
        /// Where its bytes start.
        offset: u64,
        /// How many they are.
        bytes: u64,
        /// Length of the file.
        len: u64,
    },
    /// A tensor that does not start at the file's alignment.
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Its offset in the data section.
        offset: u64,
        /// The alignment.
        alignment: u64,
    },
    /// A size that does not fit in 64 bits.
    Overflow {
        /// Size of what.
        what: String,
    },
    /// A NaN or an infinity among weights or their scales.
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Its row.
        row: u64,
        /// Its column; of a block's scale, the block's first column.
        col: u64,
        /// "value", "scale" or "minimum".
        what: &'static str,
    },
    /// Text that is not the JSON it should be.
    Json {
        /// What is written in it.
        what: &'static str,
        /// What is wrong, and at which line and column.
        why: String,
    },
    /// A tensor of a safetensors file that overlaps another, leaves a gap, or ends before it starts.
    Offsets {
        /// The tensor.
        tensor: String,
        /// Where its bytes start in the data.
        start: u64,
        /// Where they end.
        end: u64,
        /// Where they must start: at the end of the tensor before.
        want: u64,
    },
    /// A tensor of a safetensors file with more or fewer bytes than its shape and type ask for.
    TensorBytes {
        /// The tensor.
        tensor: String,
        /// Bytes it has.
        have: u64,
        /// Bytes its shape and type ask for.
        need: u64,
    },
    /// A tensor that is not in the shard where the index has it.
    NotInShard {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A folder without weights that can be read.
    NoWeights {
        /// Weights of another kind that are there, or an empty string.
        instead: &'static str,
    },
    /// A kind of tokenizer that is not implemented.
    Tokenizer {
        /// Its name in the file, with its pre-tokenizer where it has one.
        found: String,
    },
    /// Vocabulary and embedding disagree.
    VocabSize {
        /// Tokens in the vocabulary.
        tokens: u64,
        /// Rows of the embedding.
        rows: u64,
    },
    /// A token that is not what its kind asks for.
    BadToken {
        /// Its id.
        id: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecognised { first, len } => {
                write!(f, "not a model file: {len} bytes starting with")?;
                for byte in first {
                    write!(f, " {byte:02x}")?;
                }
                write!(
                    f,
                    "; GGUF (version 2 or 3), llama2.c .bin (version 0, 1 or 2) and a Hugging Face model, named by its folder, can be read"
                )
            }
            Self::BigEndian => write!(f, "this GGUF is big-endian; convert it to little-endian"),
            Self::Version { format, found, supported } => {
                write!(f, "{format} version {found} cannot be read; {supported} can")
            }
            Self::Truncated { what, offset, need, have } => write!(
                f,
                "the file ends inside {what}: {need} bytes wanted at offset {offset}, {have} there; is it complete?"
            ),
            Self::Length { what, need, have } => {
                write!(f, "{what} should be {need} bytes long by its header and is {have}; is it complete?")
            }
            Self::UnknownType { what, offset, code } => write!(f, "unknown {what} {code} at offset {offset}"),
            Self::TooDeep { offset, limit } => {
                write!(f, "array at offset {offset} is nested more than {limit} deep")
            }
            Self::NotUtf8 { what } => write!(f, "{what} is not UTF-8"),
            Self::Duplicate { what, name } => write!(f, "{what} {name:?} is there twice"),
            Self::MissingKey { key } => write!(f, "metadata key {key} is missing"),
            Self::WrongType { key, found, want } => {
                write!(f, "metadata key {key} is of type {found}; {want} is needed")
            }
            Self::BadValue { what, found, want } => write!(f, "{what} is {found}; it must be {want}"),
            Self::Architecture { found } => write!(
                f,
                "architecture {found:?} is not supported; llama (Llama 2 and 3, SmolLM2, TinyLlama, Mistral), qwen2, qwen3, \
                 gemma3 and gpt2 are; in Hugging Face's words LlamaForCausalLM, MistralForCausalLM, \
                 Qwen2ForCausalLM, Qwen3ForCausalLM, Gemma3ForCausalLM and GPT2LMHeadModel"
            ),
            Self::Unsupported { what, hint } => write!(f, "{what} not supported; {hint}"),
            Self::TensorType { tensor, found } => write!(
                f,
                "tensor {tensor:?} is {found}, which cannot be read; F32, F16, BF16, Q2_K to Q6_K, Q4_0 to Q8_0, IQ4_NL and IQ4_XS can"
            ),
            Self::UnexpectedTensor { tensor } => {
                write!(
                    f,
                    "tensor {tensor:?} is not part of a plain model of this architecture, and leaving it out would change results"
                )
            }
            Self::MissingTensor { tensor } => write!(f, "tensor {tensor:?} is missing"),
            Self::Shape { tensor, found, rows, cols } => {
                write!(f, "tensor {tensor:?} has shape {found:?}; [{rows}, {cols}] is needed")
            }
            Self::Columns { tensor, cols, block } => {
                write!(f, "tensor {tensor:?} has {cols} columns; its encoding needs a multiple of {block}")
            }
            Self::OutOfFile { tensor, offset, bytes, len } => write!(
                f,
                "tensor {tensor:?} has {bytes} bytes at offset {offset}, but the file is {len} bytes long; is it complete?"
            ),
            Self::Misaligned { tensor, offset, alignment } => {
                write!(f, "tensor {tensor:?} starts at {offset} of the data, not a multiple of {alignment}")
            }
            Self::Overflow { what } => write!(f, "the size of {what} does not fit in 64 bits"),
            Self::NotFinite { tensor, row, col, what } => {
                write!(f, "tensor {tensor}: the {what} at row {row}, column {col} is not a finite number")
            }
            Self::Json { what, why } => write!(f, "not the JSON of {what}: {why}"),
            Self::Offsets { tensor, start, end, want } => write!(
                f,
                "tensor {tensor:?} is said to have bytes {start} to {end} of the data; the tensor before ends at {want}"
            ),
            Self::TensorBytes { tensor, have, need } => {
                write!(f, "tensor {tensor:?} has {have} bytes; its shape and type ask for {need}")
            }
            Self::NotInShard { tensor, shard } => {
                write!(f, "tensor {tensor:?} should be in {shard} by the index, and is not there")
            }
            Self::NoWeights { instead: "" } => {
                write!(f, "no weights: neither model.safetensors nor model.safetensors.index.json is there")
            }
            Self::NoWeights { instead } => {
                write!(f, "no weights but {instead}, which cannot be read; convert them to model.safetensors")
            }
            Self::Tokenizer { found } => write!(
                f,
                "tokenizer {found} is not supported; gpt2 (pre-tokenizers {PRE_TOKENIZERS}) llama (SentencePiece) and gemma4 are"
            ),
            Self::VocabSize { tokens, rows } => {
                write!(f, "the vocabulary has {tokens} tokens, the embedding {rows} rows; they must be equal")
            }
            Self::BadToken { id, why } => write!(f, "token {id} {why}"),
        }
    }
}

impl std::error::Error for ImportError {}
