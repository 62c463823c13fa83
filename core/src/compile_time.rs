//! What a firmware asks the compiler: is this a model, and does its memory fit?
//!
//! The functions here are for `const` items. Each answers a wrong question by a panic, which stops the build with the
//! numbers in its message; in a function that runs they would link a panic.
//!
//! ```
//! use pipsqueak::{Image, Plan, PlanOptions, compile_time, include_image, kernels::arena::Line};
//!
//! // The model, on a line of 64 bytes, and its memory: known before anything runs.
//! static MODEL: &[u8] = include_image!("../../host-cli/box/stories.pips");
//! const PLAN: Plan = compile_time::plan(MODEL, PlanOptions::small(256));
//! static IMAGE: Image = compile_time::image(MODEL);
//! // Does not compile when 96 KiB are too few for the two arenas.
//! const _: () = compile_time::must_fit(&PLAN, 96 << 10);
//!
//! static SCRATCH: [Line; PLAN.scratch_lines()] = [Line::ZERO; PLAN.scratch_lines()];
//! static KV: [Line; PLAN.kv_lines()] = [Line::ZERO; PLAN.kv_lines()];
//! # assert_eq!((size_of_val(&SCRATCH), size_of_val(&KV)), (PLAN.scratch_bytes(), PLAN.kv_bytes()));
//! ```
//!
//! With 64 KiB in place of 96 the build ends in
//! `the model needs 77568 bytes of RAM with 256 positions (KV 69632, scratch 7936): short by 12032 bytes of 65536`.

use pipsqueak_kernels::{LayoutError, arena::Line};

use crate::{
    config::{Config, ConfigError},
    image::{ENTRY_BYTES, Entry, Header, Image, ImageError},
    plan::{Plan, PlanOptions},
    tokenizer::{PreTokenizer, VocabError, layout},
};

/// A packed model or classifier, aligned for the kernels that read it in place; [`crate::include_image`] makes one.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Included<const N: usize>([u8; N]);

impl<const N: usize> Included<N> {
    /// Takes the bytes in.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes, at a line's start.
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A packed model or classifier as `&'static [u8]`, part of the program, on a line of 64 bytes. The path is relative to
/// the source file, as for [`include_bytes!`]; `env!("NAME")` may stand for it.
///
/// Nothing is checked here: [`plan`] checks the header when compiling, [`crate::Image::open`] everything when running.
#[macro_export]
macro_rules! include_image {
    ($($path:tt)+) => {{
        static IMAGE: $crate::compile_time::Included<{ ::core::include_bytes!($($path)+).len() }> =
            $crate::compile_time::Included::new(*::core::include_bytes!($($path)+));
        IMAGE.bytes()
    }};
}

/// The shape of the model `image`.
///
/// # Panics
/// When it is no image that this version reads.
pub const fn config(image: &[u8]) -> Config {
    let config = match Header::read(image) {
        Ok(header) => header.config,
        Err(ImageError::Truncated { need, .. }) => {
            panic!("{}", Text::new().add("the image is cut short: it has ").cut_short(image.len(), need).as_str())
        }
        Err(ImageError::Magic { .. }) => panic!("not a packed model: `pipsqueak pack` makes one"),
        Err(ImageError::Version { .. }) => panic!("the image has a format version that this build does not read"),
        Err(ImageError::Arithmetic { .. }) => {
            panic!("the image needs an arithmetic contract that this build does not compute")
        }
        Err(ImageError::Checksum { .. }) => panic!("the image's header is damaged: its checksum is wrong"),
        Err(_) => panic!("the image's shape has a code that this build does not know"),
    };
    match config.check() {
        Ok(()) => config,
        Err(ConfigError::LeftOut { feature }) => left_out(feature),
        Err(_) => panic!("the model's shape makes no sense"),
    }
}

const fn left_out(feature: &str) -> ! {
    panic!("{}", Text::new().add("the model needs the feature ").add(feature).add(", which is left out").as_str())
}

/// Whether this build has the code for every matrix and the vocabulary of `image`.
const fn must_be_linked(image: &[u8], header: &Header) {
    let [directory, _, vocab, ..] = header.sections;
    let (_, from_directory) = image.split_at(directory.offset as usize);
    let mut rest = from_directory.split_at(header.n_tensors as usize * ENTRY_BYTES).0.as_chunks::<ENTRY_BYTES>().0;
    while let [entry, others @ ..] = rest {
        // What is damaged is found when the image is opened.
        if let Ok(Entry { kind, format, panel, .. }) = Entry::from_bytes(entry)
            && !kind.is_vector()
        {
            if !format.is_linked() {
                left_out(format.feature());
            }
            if format.is_quantised() && !panel.is_linked() {
                left_out(panel.feature());
            }
        }
        rest = others;
    }
    if vocab.len > 6 {
        match image[vocab.offset as usize + 6] {
            layout::MODEL_BPE if !cfg!(feature = "vocab-bpe") => left_out("vocab-bpe"),
            layout::MODEL_BPE if vocab.len > 7 => match PreTokenizer::from_code(image[vocab.offset as usize + 7]) {
                Some(pre) if !pre.is_linked() => left_out(pre.feature()),
                _ => {}
            },
            layout::MODEL_SENTENCEPIECE if !cfg!(feature = "vocab-sentencepiece") => left_out("vocab-sentencepiece"),
            _ => {}
        }
    }
}

/// The model `image`, opened by the compiler: what [`Image::open`] looks at has been looked at, so that neither the code for
/// it nor what its errors say is part of the program. At start-up [`Image::intact`] then finds what has happened to the
/// flash. `image` comes from [`crate::include_image`], which puts it on a line.
///
/// Of more than 64 KB of vocabulary, say `#![allow(long_running_const_eval)]`.
///
/// # Panics
/// As [`config`] and [`plan`], and when anything else of the image is not as it should be.
pub const fn image(image: &'static [u8]) -> Image<'static> {
    config(image);
    match Image::read(image) {
        Ok(image) => image,
        Err(ImageError::Checksum { .. }) => panic!("the image is damaged: a section's checksum is wrong"),
        Err(ImageError::Layout { error: LayoutError::LeftOut { feature }, .. })
        | Err(ImageError::Vocab(VocabError::LeftOut { feature })) => left_out(feature),
        Err(ImageError::Vocab(_) | ImageError::VocabSize { .. }) => panic!("the image's vocabulary makes no sense"),
        Err(_) => panic!("the image's tables make no sense: `pipsqueak inspect` says more"),
    }
}

/// The memory plan for the model `image`.
///
/// # Panics
/// As [`config`], when the context is zero or longer than the model was trained for, and when a cargo feature that the
/// model or the cache needs is left out.
pub const fn plan(image: &[u8], options: PlanOptions) -> Plan {
    let config = config(image);
    if let Ok(header) = Header::read(image) {
        must_be_linked(image, &header);
    }
    if !options.kv.is_linked() {
        left_out(options.kv.feature());
    }
    if options.context == 0 || options.context > config.seq_len as usize {
        let text = Text::new().add("the model has been trained for 1 to ").number(config.seq_len as usize);
        panic!("{}", text.add(" positions, not ").number(options.context).as_str());
    }
    Plan::new(&config, options)
}

/// Whether both arenas of a plan fit `ram_bytes`: what the board has, less stack and other statics.
///
/// # Panics
/// When they do not; the message says how many bytes are missing.
pub const fn must_fit(plan: &Plan, ram_bytes: usize) {
    let need = plan.total_bytes();
    if need > ram_bytes {
        let text = Text::new().add("the model needs ").number(need).add(" bytes of RAM with ");
        let text = text.number(plan.options.context).add(" positions (KV ").number(plan.kv_bytes());
        let text = text.add(", scratch ").number(plan.scratch_bytes()).add("): short by ").number(need - ram_bytes);
        panic!("{}", text.add(" bytes of ").number(ram_bytes).as_str());
    }
}

/// Whether arenas of these lengths hold what a plan needs.
///
/// # Panics
/// When one does not; the message says which, and how many bytes are missing.
pub const fn must_hold(plan: &Plan, scratch_lines: usize, kv_lines: usize) {
    let mut rest: &[(&str, usize, usize)] =
        &[("scratch", plan.scratch_lines(), scratch_lines), ("KV", plan.kv_lines(), kv_lines)];
    while let [(name, need, got), others @ ..] = rest {
        if *need > *got {
            let (need, got) = (need.saturating_mul(Line::BYTES), got.saturating_mul(Line::BYTES));
            let text = Text::new().add("the ").add(name).add(" arena has ").number(got).add(" bytes of ");
            panic!("{}", text.number(need).add(": short by ").number(need - got).add(" bytes").as_str());
        }
        rest = others;
    }
}

/// A message put together by the compiler.
struct Text {
    bytes: [u8; 160],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [b' '; 160], len: 0 }
    }

    const fn add(mut self, text: &str) -> Self {
        let mut rest = text.as_bytes();
        while let [byte, others @ ..] = rest {
            self.bytes[self.len] = *byte;
            self.len += 1;
            rest = others;
        }
        self
    }

    const fn number(self, value: usize) -> Self {
        let text = if value > 9 { self.number(value / 10) } else { self };
        let digit = [b'0' + (value % 10) as u8];
        match core::str::from_utf8(&digit) {
            Ok(digit) => text.add(digit),
            Err(_) => text,
        }
    }

    const fn cut_short(self, got: usize, need: u64) -> Self {
        self.number(got).add(" bytes of ").number(need as usize)
    }

    const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static MODEL: &[u8] = include_image!("../../host-cli/box/stories.pips");
    const PLAN: Plan = plan(MODEL, PlanOptions::small(256));
    const _: () = must_fit(&PLAN, PLAN.total_bytes());
    const _: () = must_hold(&PLAN, PLAN.scratch_lines(), PLAN.kv_lines());

    #[test]
    fn the_compiler_plans_as_the_program_does() {
        let image = crate::Image::open(MODEL).unwrap();
        assert_eq!(PLAN, Plan::new(image.config(), PlanOptions::small(256)));
        assert_eq!(MODEL.as_ptr().addr() % 64, 0);
    }

    #[test]
    #[should_panic = "the model needs 77568 bytes of RAM with 256 positions (KV 69632, scratch 7936): short by 1 bytes of \
                      77567"]
    fn says_how_much_ram_is_missing() {
        must_fit(&PLAN, PLAN.total_bytes() - 1);
    }

    #[test]
    #[should_panic = "the KV arena has 69568 bytes of 69632: short by 64 bytes"]
    fn says_which_arena_is_short() {
        must_hold(&PLAN, PLAN.scratch_lines(), PLAN.kv_lines() - 1);
    }

    #[test]
    #[should_panic = "the image is cut short: it has 1000 bytes of 199296"]
    fn says_that_an_image_is_cut_short() {
        config(&MODEL[..1000]);
    }

    #[test]
    #[should_panic = "the model has been trained for 1 to 512 positions, not 513"]
    fn says_that_the_context_is_too_long() {
        plan(MODEL, PlanOptions::small(513));
    }

    #[test]
    #[should_panic = "not a packed model"]
    fn says_that_this_is_no_model() {
        config(b"GGUF");
    }
}
