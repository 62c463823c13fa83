//! Errors for C: a code with a name, and the numbers that belong to it.

use core::ffi::{CStr, c_char};

use pipsqueak::{
    ConfigError, ImageError, SessionError,
    image::Part,
    kernels::{ArenaTooSmall, LayoutError, Panel},
    stage::Stage,
    tensor::TensorKind,
    tokenizer::{DecodeError, EncodeError, Table, VocabError},
};

use crate::{PIPSQUEAK_NONE, memory::Text};

/// What went wrong. The numbers stay as they are; new ones may follow, so a `switch` should have a `default`.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum pipsqueak_error {
    /// Nothing.
    PIPSQUEAK_OK = 0,

    /// A pointer is NULL. `argument`.
    PIPSQUEAK_ERROR_NULL = 1,
    /// A pointer is not a multiple of `need`, but `got` above one. `argument`.
    PIPSQUEAK_ERROR_MISALIGNED = 2,
    /// A length, `got`, does not fit the address space. `argument`.
    PIPSQUEAK_ERROR_LENGTH = 3,
    /// Image, handles and arenas share memory.
    PIPSQUEAK_ERROR_OVERLAP = 4,
    /// A handle is closed, was never opened, or is a copy of one. `argument`.
    PIPSQUEAK_ERROR_NOT_OPEN = 5,
    /// A model has `got` sessions open, and so cannot be closed.
    PIPSQUEAK_ERROR_IN_USE = 6,
    /// A setting, `what`, is `got`; the limit is `need`. `argument`.
    PIPSQUEAK_ERROR_SETTING = 7,
    /// A buffer has `got` bytes (or tokens) and needs `need`. `argument`.
    PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL = 8,
    /// A sampling setting, `what`, is out of its range or not a number; `got` are the bits of the float.
    PIPSQUEAK_ERROR_SAMPLING = 9,

    /// The image has `got` bytes and needs `need`.
    PIPSQUEAK_ERROR_TRUNCATED = 20,
    /// Not a Pipsqueak image: it starts with `got`, little-endian, not with `need`.
    PIPSQUEAK_ERROR_MAGIC = 21,
    /// The image has format version `got`; this library reads `need`.
    PIPSQUEAK_ERROR_VERSION = 22,
    /// The image asks for arithmetic contract `got`; this library computes `need`.
    PIPSQUEAK_ERROR_ARITHMETIC = 23,
    /// Bytes of `what` were changed: its CRC-32 is `got`, stored was `need`.
    PIPSQUEAK_ERROR_CHECKSUM = 24,
    /// `what` ends at byte `need`, the image at `got`; or it is not aligned.
    PIPSQUEAK_ERROR_RANGE = 25,
    /// The model's shape makes no sense: `what` is `got` (for floats the bits), the limit where there is one is `need`.
    PIPSQUEAK_ERROR_SHAPE = 26,
    /// Tensor `what` is missing.
    PIPSQUEAK_ERROR_MISSING_TENSOR = 27,
    /// The tensor directory has an entry with the key `got`, which is unknown, out of order or not needed.
    PIPSQUEAK_ERROR_UNEXPECTED_TENSOR = 28,
    /// Tensor `what` has the shape `got` and must have `need`: rows times 2^32 and columns.
    PIPSQUEAK_ERROR_TENSOR_SHAPE = 29,
    /// Tensor `what` has `got` bytes and needs `need`, or it cannot be laid out as it says.
    PIPSQUEAK_ERROR_LAYOUT = 30,
    /// The vocabulary's table `what` makes no sense: entry or limit `need`, found `got`.
    PIPSQUEAK_ERROR_VOCABULARY = 31,
    /// The vocabulary has `got` tokens and the model `need`.
    PIPSQUEAK_ERROR_VOCABULARY_SIZE = 32,
    /// The content of `what` makes no sense.
    PIPSQUEAK_ERROR_SECTION = 33,
    /// Tensor `what` is packed for other kernels: its panel is `got`, this library's is `need`. It would be read slowly.
    PIPSQUEAK_ERROR_FOREIGN_KERNELS = 34,
    /// The library was built without the code for this: `what` is the cargo feature that links it.
    PIPSQUEAK_ERROR_LEFT_OUT = 35,

    /// The model has no vocabulary and takes token ids only.
    PIPSQUEAK_ERROR_NO_VOCABULARY = 40,
    /// The text is not UTF-8 from byte `got` on.
    PIPSQUEAK_ERROR_NOT_UTF8 = 41,
    /// The text has `got` bytes; at most `need` can be encoded.
    PIPSQUEAK_ERROR_TEXT_TOO_LONG = 42,
    /// The work buffer has `got` words; a word of the text needs `need`.
    PIPSQUEAK_ERROR_WORK_TOO_SMALL = 43,
    /// The vocabulary has no token to begin a text with.
    PIPSQUEAK_ERROR_NO_BOS = 44,

    /// The scratch arena has `got` bytes and needs `need`.
    PIPSQUEAK_ERROR_SCRATCH_TOO_SMALL = 60,
    /// The arena for keys and values has `got` bytes and needs `need`.
    PIPSQUEAK_ERROR_KV_TOO_SMALL = 61,
    /// The context has `got` positions; with these tokens it would need `need`. Nothing was taken.
    PIPSQUEAK_ERROR_CONTEXT_FULL = 62,
    /// There is no token `got`; the vocabulary has `need`.
    PIPSQUEAK_ERROR_TOKEN = 63,
    /// Tokens were fed, and the steps for them are not all done.
    PIPSQUEAK_ERROR_BUSY = 64,
    /// No token can be chosen: none was fed yet, or its steps are not all done, or more of the text is to come.
    PIPSQUEAK_ERROR_NO_LOGITS = 65,
    /// A value became NaN or infinite in stage `what` of layer `layer`: the weights are damaged or overflow.
    PIPSQUEAK_ERROR_NOT_FINITE = 66,
    /// The image changed while it was in use.
    PIPSQUEAK_ERROR_IMAGE_CHANGED = 67,
    /// The library and its engine disagree; a fault of the library.
    PIPSQUEAK_ERROR_INTERNAL = 68,
    /// The model carries no golden vector to compare with.
    PIPSQUEAK_ERROR_NO_GOLDEN = 69,
    /// The residual stream after layer `layer`, or `what`, the logits, is not what the packer computed: its CRC-32 is `got`, not
    /// `need`.
    PIPSQUEAK_ERROR_GOLDEN = 70,
}

// Short words for these, inside the crate.
pub(crate) use pipsqueak_error as Code;
pub(crate) use pipsqueak_failure as Failure;

/// Bytes of `pipsqueak_failure.what`.
pub const PIPSQUEAK_WHAT_BYTES: usize = 28;

/// An error with its numbers. Every function that can fail takes a pointer to one, which may be NULL.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct pipsqueak_failure {
    /// The code that the function returned.
    pub code: pipsqueak_error,
    /// The argument it is about, counted from 1; 0 when it is about none.
    pub argument: u32,
    /// The model's layer it is about, counted from 0; `PIPSQUEAK_NONE` when it is about none.
    pub layer: u32,
    /// The tensor, table, stage or setting it is about, as text; empty when there is none.
    pub what: [c_char; PIPSQUEAK_WHAT_BYTES],
    /// What would have been right; see the code.
    pub need: u64,
    /// What was found; see the code.
    pub got: u64,
}

impl pipsqueak_failure {
    pub(crate) const fn new(code: Code) -> Self {
        Self { code, argument: 0, layer: PIPSQUEAK_NONE, what: [0; PIPSQUEAK_WHAT_BYTES], need: 0, got: 0 }
    }

    pub(crate) const fn argument(self, argument: u32) -> Self {
        Self { argument, ..self }
    }

    pub(crate) const fn numbers(self, need: usize, got: usize) -> Self {
        self.wide(need as u64, got as u64)
    }

    const fn wide(self, need: u64, got: u64) -> Self {
        Self { need, got, ..self }
    }

    /// Names are cut where they would not leave room for the NUL.
    pub(crate) fn what(mut self, name: &str) -> Self {
        for (place, byte) in self.what.iter_mut().take(PIPSQUEAK_WHAT_BYTES - 1).zip(name.bytes()) {
            *place = byte as c_char;
        }
        self
    }

    pub(crate) fn tensor(mut self, kind: TensorKind, layer: u32) -> Self {
        if kind.per_layer() {
            self.layer = layer;
        }
        self.what(kind.name())
    }

    fn part(self, part: Part) -> Self {
        self.what(match part {
            Part::Header => "header",
            Part::Directory => "directory",
            Part::Rope => "rope",
            Part::Vocabulary => "vocabulary",
            Part::Text => "text",
            Part::Golden => "golden",
            Part::Tensor { kind, layer } => return self.tensor(kind, layer),
        })
    }

    fn left_out(feature: &str) -> Self {
        Self::new(Code::PIPSQUEAK_ERROR_LEFT_OUT).what(feature)
    }

    pub(crate) fn foreign(kind: TensorKind, layer: u32, need: Panel, got: Panel) -> Self {
        Self::new(Code::PIPSQUEAK_ERROR_FOREIGN_KERNELS).tensor(kind, layer).wide(need as u64, got as u64)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Truncated { need, got } => Self::new(Code::PIPSQUEAK_ERROR_TRUNCATED).wide(need, got),
            ImageError::Misaligned => Self::new(Code::PIPSQUEAK_ERROR_MISALIGNED).argument(2).wide(64, 0),
            ImageError::Magic { got } => {
                let number = u32::from_le_bytes;
                Self::new(Code::PIPSQUEAK_ERROR_MAGIC).wide(number(*b"PIPS").into(), number(got).into())
            }
            ImageError::Version { got } => Self::new(Code::PIPSQUEAK_ERROR_VERSION).wide(1, got.into()),
            ImageError::Arithmetic { got } => Self::new(Code::PIPSQUEAK_ERROR_ARITHMETIC).wide(1, got.into()),
            ImageError::Checksum { part, expected, got } => {
                Self::new(Code::PIPSQUEAK_ERROR_CHECKSUM).part(part).wide(expected.into(), got.into())
            }
            ImageError::Range { part, offset, len, file } => {
                Self::new(Code::PIPSQUEAK_ERROR_RANGE).part(part).wide(offset.saturating_add(len), file)
            }
            ImageError::Config(error) => error.into(),
            ImageError::MissingTensor { kind, layer } => {
                Self::new(Code::PIPSQUEAK_ERROR_MISSING_TENSOR).tensor(kind, layer)
            }
            ImageError::UnexpectedTensor { key } => {
                Self::new(Code::PIPSQUEAK_ERROR_UNEXPECTED_TENSOR).wide(0, key.into())
            }
            ImageError::Shape { kind, layer, need, got } => {
                let number = |(rows, cols): (u32, u32)| u64::from(rows) << 32 | u64::from(cols);
                let failure = Self::new(Code::PIPSQUEAK_ERROR_TENSOR_SHAPE).tensor(kind, layer);
                failure.wide(number(need), number(got))
            }
            ImageError::Layout { kind, layer, error } => {
                let failure = Self::new(Code::PIPSQUEAK_ERROR_LAYOUT).tensor(kind, layer);
                match error {
                    LayoutError::Size { need, got } => failure.numbers(need, got),
                    LayoutError::LeftOut { feature } => Self::left_out(feature),
                    _ => failure,
                }
            }
            ImageError::Vocab(error) => error.into(),
            ImageError::VocabSize { need, got } => {
                Self::new(Code::PIPSQUEAK_ERROR_VOCABULARY_SIZE).wide(need.into(), got.into())
            }
            ImageError::Section { part } => Self::new(Code::PIPSQUEAK_ERROR_SECTION).part(part),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let (what, need, got) = match error {
            ConfigError::OutOfRange { field, got, max } => (field, max, got),
            ConfigError::Heads { n_heads, n_kv_heads } => ("n_kv_heads", n_heads, n_kv_heads),
            ConfigError::RopeDim { rope_dim, head_dim } => ("rope_dim", head_dim, rope_dim),
            ConfigError::NotANumber { field, got } => (field, 0, got.to_bits()),
            ConfigError::Unknown { field, got } => (field, 0, got),
            ConfigError::LeftOut { feature } => return Self::left_out(feature),
        };
        Self::new(Code::PIPSQUEAK_ERROR_SHAPE).what(what).wide(need.into(), got.into())
    }
}

fn table_name(table: Table) -> &'static str {
    match table {
        Table::Header => "header",
        Table::Offsets => "token offsets",
        Table::Kinds => "token kinds",
        Table::Scores => "scores",
        Table::Sorted => "sorted tokens",
        Table::ByteIds => "byte tokens",
        Table::MergeStarts => "merge starts",
        Table::Merges => "merges",
        Table::Specials => "special tokens",
        Table::Stops => "stop tokens",
        Table::Blob => "token bytes",
        _ => "",
    }
}

impl From<VocabError> for Failure {
    fn from(error: VocabError) -> Self {
        let (table, need, got) = match error {
            VocabError::Truncated { table, need, got } => (table, need, got as u64),
            VocabError::TrailingBytes { got } => (Table::Blob, 0, got as u64),
            VocabError::BadMagic { got } | VocabError::UnknownFlags { got } | VocabError::TokenCount { got } => {
                (Table::Header, 0, got.into())
            }
            VocabError::UnknownVersion { got } => (Table::Header, 0, got.into()),
            VocabError::UnknownModel { got } | VocabError::UnknownPreTokenizer { got } => {
                (Table::Header, 0, got.into())
            }
            VocabError::IdOutOfRange { table, index, id, .. } => (table, index.into(), id.into()),
            VocabError::BadEntry { table, index, got } => (table, index.into(), got.into()),
            VocabError::NotSorted { table, index } => (table, index.into(), 0),
            VocabError::EntryCount { table, need, got } => (table, need.into(), got.into()),
            VocabError::LeftOut { feature } => return Self::left_out(feature),
            VocabError::MergeMismatch { left, merged, .. } => (Table::Merges, left.into(), merged.into()),
            _ => (Table::Header, 0, 0),
        };
        Self::new(Code::PIPSQUEAK_ERROR_VOCABULARY).what(table_name(table)).wide(need, got)
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::OutputTooSmall { need, got } => {
                Self::new(Code::PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL).numbers(need, got)
            }
            EncodeError::ScratchTooSmall { need, got } => {
                Self::new(Code::PIPSQUEAK_ERROR_WORK_TOO_SMALL).numbers(need, got)
            }
            EncodeError::TextTooLong { got, max } => Self::new(Code::PIPSQUEAK_ERROR_TEXT_TOO_LONG).numbers(max, got),
            EncodeError::NoBos => Self::new(Code::PIPSQUEAK_ERROR_NO_BOS),
            _ => Self::new(Code::PIPSQUEAK_ERROR_INTERNAL),
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnknownToken { id, vocab_size } => {
                Self::new(Code::PIPSQUEAK_ERROR_TOKEN).wide(vocab_size.into(), id.into())
            }
            DecodeError::OutputTooSmall { need, got } => {
                Self::new(Code::PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL).numbers(need, got)
            }
            _ => Self::new(Code::PIPSQUEAK_ERROR_INTERNAL),
        }
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Embed => "embed",
        Stage::Angles => "angles",
        Stage::AttNorm => "att_norm",
        Stage::Qkv => "qkv",
        Stage::Rotate => "rotate",
        Stage::Store => "store",
        Stage::Attend => "attend",
        Stage::AttQuantise => "att_quantise",
        Stage::AttOut => "att_out",
        Stage::AttJoin => "att_join",
        Stage::FfnNorm => "ffn_norm",
        Stage::GateUp => "gate_up",
        Stage::Gate => "gate",
        Stage::Down => "down",
        Stage::FfnJoin => "ffn_join",
        Stage::FinalNorm => "final_norm",
        Stage::Head => "head",
        Stage::Check => "check",
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Scratch(ArenaTooSmall { need, got }) => {
                Self::new(Code::PIPSQUEAK_ERROR_SCRATCH_TOO_SMALL).numbers(need, got)
            }
            SessionError::Kv(ArenaTooSmall { need, got }) => {
                Self::new(Code::PIPSQUEAK_ERROR_KV_TOO_SMALL).numbers(need, got)
            }
            SessionError::WrongPlan | SessionError::Logits { .. } => Self::new(Code::PIPSQUEAK_ERROR_INTERNAL),
            SessionError::ImageChanged => Self::new(Code::PIPSQUEAK_ERROR_IMAGE_CHANGED),
            SessionError::ContextFull { context, used, asked } => {
                Self::new(Code::PIPSQUEAK_ERROR_CONTEXT_FULL).numbers(used.saturating_add(asked), context)
            }
            SessionError::Token { id, vocab_size } => {
                Self::new(Code::PIPSQUEAK_ERROR_TOKEN).wide(vocab_size.into(), id.into())
            }
            SessionError::Busy => Self::new(Code::PIPSQUEAK_ERROR_BUSY),
            SessionError::NotFinite { stage, layer } => {
                let failure = Self::new(Code::PIPSQUEAK_ERROR_NOT_FINITE).what(stage_name(stage));
                Self { layer, ..failure }
            }
            SessionError::Positions { context, seq_len } => {
                Self::new(Code::PIPSQUEAK_ERROR_SETTING).what("context").numbers(seq_len as usize, context)
            }
            SessionError::NoLogits => Self::new(Code::PIPSQUEAK_ERROR_NO_LOGITS),
            SessionError::LeftOut { feature } => Self::left_out(feature),
        }
    }
}

/// Hands a result to C. `failure` may be NULL, and needs no alignment.
///
/// # Safety
/// `failure` is NULL or memory of the caller.
pub(crate) unsafe fn report(failure: *mut Failure, result: Result<(), Failure>) -> Code {
    let outcome = match result {
        Ok(()) => Failure::new(Code::PIPSQUEAK_OK),
        Err(failure) => failure,
    };
    if !failure.is_null() {
        // SAFETY: not NULL, so memory of the caller.
        unsafe { failure.write_unaligned(outcome) };
    }
    outcome.code
}

/// The name of a code, `PIPSQUEAK_ERROR_NULL` for instance; `PIPSQUEAK_ERROR_UNKNOWN` for a number that is none.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_error_name(code: i32) -> *const c_char {
    name(code).as_ptr()
}

/// What a code means, in words without numbers.
#[unsafe(no_mangle)]
pub extern "C" fn pipsqueak_error_text(code: i32) -> *const c_char {
    meaning(code).0.as_ptr()
}

/// A buffer of this many bytes holds every message.
pub const PIPSQUEAK_MESSAGE_BYTES: usize = 192;

/// Writes to `text` what went wrong, in words and with the numbers of `failure`, as much as `capacity` bytes hold with the NUL
/// at the end. Returns the length that the whole message has without the NUL, as `snprintf` does; 0 for a NULL `failure`.
/// `text` may be NULL when `capacity` is 0. `PIPSQUEAK_MESSAGE_BYTES` are always enough.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_message(
    failure: *const pipsqueak_failure,
    text: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: the rules.
    let mut out = unsafe { Text::truncated(text, capacity) };
    if failure.is_null() {
        return 0;
    }
    // Field by field, since C may have put anything there, a code that is none for instance. It needs no alignment.
    // SAFETY: not NULL, so initialised memory of the caller; all these types take any bits.
    let (code, argument, layer, what, need, got) = unsafe {
        (
            (&raw const (*failure).code).cast::<i32>().read_unaligned(),
            (&raw const (*failure).argument).read_unaligned(),
            (&raw const (*failure).layer).read_unaligned(),
            (&raw const (*failure).what).read_unaligned(),
            (&raw const (*failure).need).read_unaligned(),
            (&raw const (*failure).got).read_unaligned(),
        )
    };
    let (meaning, numbers) = meaning(code);
    out.push_c(meaning);
    // Byte by byte: searching in text leaves a bounds check, and a panic, in the program.
    let mut template = numbers.bytes();
    while let Some(byte) = template.next() {
        match if byte == b'%' { template.next() } else { None } {
            Some(b'a') => out.push_number(argument.into(), 10),
            Some(b'l') if layer == PIPSQUEAK_NONE => (),
            Some(b'l') => {
                out.push(" in layer ");
                out.push_number(layer.into(), 10);
            }
            Some(b'w') => {
                for byte in what.iter().map(|byte| u8::from_ne_bytes(byte.to_ne_bytes())).take_while(|byte| *byte != 0)
                {
                    out.push_byte(byte);
                }
            }
            Some(b'n') => out.push_number(need, 10),
            Some(b'g') => out.push_number(got, 10),
            Some(b'N') => out.push_number(need, 16),
            Some(b'G') => out.push_number(got, 16),
            _ => out.push_byte(byte),
        }
    }
    out.end()
}

/// Name, meaning and numbers of every code; one that is left out does not compile. Two functions, so that the linker can leave
/// one out. In the numbers %a is the argument, %l the layer, %w what it is about, %n and %g are need and got, %N and %G the
/// same in hexadecimal.
macro_rules! words {
    ($($code:ident: $text:literal $numbers:literal,)*) => {
        const _: fn(Code) = |code| match code { $(Code::$code => (),)* };

        fn name(code: i32) -> &'static CStr {
            $(if code == Code::$code as i32 {
                const NAME: &CStr = c_str(concat!(stringify!($code), "\0"));
                return NAME;
            })*
            c"PIPSQUEAK_ERROR_UNKNOWN"
        }

        fn meaning(code: i32) -> (&'static CStr, &'static str) {
            $(if code == Code::$code as i32 {
                const TEXT: &CStr = c_str(concat!($text, "\0"));
                return (TEXT, $numbers);
            })*
            (c"no such error", "")
        }
    };
}

const fn c_str(text: &str) -> &CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a NUL in the middle"),
    }
}

words! {
    PIPSQUEAK_OK: "no error" "",
    PIPSQUEAK_ERROR_NULL: "a pointer is NULL" ": argument %a",
    PIPSQUEAK_ERROR_MISALIGNED: "a pointer is not aligned" ": argument %a is %g above a multiple of %n",
    PIPSQUEAK_ERROR_LENGTH: "a length does not fit the address space" ": argument %a, %g",
    PIPSQUEAK_ERROR_OVERLAP: "image, handles and buffers share memory" "",
    PIPSQUEAK_ERROR_NOT_OPEN: "a handle is not open" ": argument %a",
    PIPSQUEAK_ERROR_IN_USE: "the model has open sessions" ": %g",
    PIPSQUEAK_ERROR_SETTING: "a setting is out of its range" ": %w is %g, the limit %n",
    PIPSQUEAK_ERROR_OUTPUT_TOO_SMALL: "a buffer is too small" ": argument %a has room for %g and needs %n",
    PIPSQUEAK_ERROR_SAMPLING: "a sampling setting is out of its range or not a number" ": %w has the bits 0x%G",
    PIPSQUEAK_ERROR_TRUNCATED: "the image is cut short" ": %g bytes of %n",
    PIPSQUEAK_ERROR_MAGIC: "not a Pipsqueak image" ": it begins with 0x%G, not with 0x%N",
    PIPSQUEAK_ERROR_VERSION: "the image's format version is not known here" ": %g, known is %n",
    PIPSQUEAK_ERROR_ARITHMETIC: "the image's arithmetic contract is not known here" ": %g, known is %n",
    PIPSQUEAK_ERROR_CHECKSUM: "the image is damaged" ": %w%l, checksum 0x%G, stored 0x%N",
    PIPSQUEAK_ERROR_RANGE: "a part reaches outside the image" ": %w%l ends at %n of %g",
    PIPSQUEAK_ERROR_SHAPE: "the model's shape makes no sense" ": %w is %g, the limit %n",
    PIPSQUEAK_ERROR_MISSING_TENSOR: "a tensor is missing" ": %w%l",
    PIPSQUEAK_ERROR_UNEXPECTED_TENSOR: "a tensor is not expected" ": key 0x%G",
    PIPSQUEAK_ERROR_TENSOR_SHAPE: "a tensor has another shape than its role needs" ": %w%l, 0x%G, needed 0x%N",
    PIPSQUEAK_ERROR_LAYOUT: "a tensor's bytes do not fit its shape" ": %w%l, %g bytes, needed %n",
    PIPSQUEAK_ERROR_VOCABULARY: "the vocabulary makes no sense" ": %w, %n, found %g",
    PIPSQUEAK_ERROR_VOCABULARY_SIZE: "the vocabulary has another number of tokens than the model" ": %g, the model %n",
    PIPSQUEAK_ERROR_SECTION: "a section of the image makes no sense" ": %w",
    PIPSQUEAK_ERROR_FOREIGN_KERNELS: "the image is packed for other kernels" ": %w%l, panel %g, this library's is %n",
    PIPSQUEAK_ERROR_LEFT_OUT: "the library was built without this feature" ": %w",
    PIPSQUEAK_ERROR_NO_VOCABULARY: "the model takes token ids only" "",
    PIPSQUEAK_ERROR_NOT_UTF8: "the text is not UTF-8" ": from byte %g on",
    PIPSQUEAK_ERROR_TEXT_TOO_LONG: "the text is too long" ": %g bytes of at most %n",
    PIPSQUEAK_ERROR_WORK_TOO_SMALL: "the encoder's work buffer is too small" ": %g words, needed %n",
    PIPSQUEAK_ERROR_NO_BOS: "the vocabulary has no token to begin with" "",
    PIPSQUEAK_ERROR_SCRATCH_TOO_SMALL: "the scratch arena is too small" ": %g bytes, needed %n",
    PIPSQUEAK_ERROR_KV_TOO_SMALL: "the arena for keys and values is too small" ": %g bytes, needed %n",
    PIPSQUEAK_ERROR_CONTEXT_FULL: "the tokens do not fit the context" ": %g positions, needed %n",
    PIPSQUEAK_ERROR_TOKEN: "there is no such token" ": %g, the vocabulary has %n",
    PIPSQUEAK_ERROR_BUSY: "steps for the tokens before are not done" "",
    PIPSQUEAK_ERROR_NO_LOGITS: "there is nothing to choose from yet" "",
    PIPSQUEAK_ERROR_NOT_FINITE: "a value became NaN or infinite" ": %w%l",
    PIPSQUEAK_ERROR_IMAGE_CHANGED: "the image changed while it was in use" "",
    PIPSQUEAK_ERROR_INTERNAL: "a fault of the library" "",
    PIPSQUEAK_ERROR_NO_GOLDEN: "the model carries no golden vector" "",
    PIPSQUEAK_ERROR_GOLDEN: "this machine computes something else than the packer's" ": %w%l, checksum 0x%G, expected 0x%N",
}
