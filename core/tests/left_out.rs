//! What a build leaves out it refuses by name, and what is left computes the same. Runs with the features of the model in the
//! box alone:
//!
//! `cargo test -p pipsqueak --no-default-features --features
//! weights-q4,panel-r1,cache-i8,gate-silu,rope-interleaved,vocab-sentencepiece --test left_out`
#![cfg(not(any(feature = "weights-q8", feature = "panel-r4", feature = "cache-f16", feature = "vocab-bpe")))]

use pipsqueak::{
    ConfigError, Image, ImageError, KvType, Plan, PlanOptions, Session, SessionError, Want, compile_time,
    crc::{Crc32, crc32},
    include_image,
    kernels::{
        LayoutError, Scalar,
        arena::{Line, bytes_of, bytes_of_mut},
        team::Team,
    },
    tokenizer::VocabError,
};

static MODEL: &[u8] = include_image!("../../host-cli/box/stories.pips");
static IMAGE: Image = compile_time::image(MODEL);

/// Where the header has the offset of a section, its length, and its checksum.
const DIRECTORY: usize = 96;
const VOCABULARY: usize = 96 + 2 * 24;

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// What opening says of the model with one byte changed, and the checksums above it made right.
fn opened(section: Option<usize>, at: usize, value: u8) -> Result<(), ImageError> {
    let mut lines = vec![Line::ZERO; MODEL.len().div_ceil(Line::BYTES)];
    let bytes = &mut bytes_of_mut(&mut lines)[..MODEL.len()];
    bytes.copy_from_slice(MODEL);
    if let Some(section) = section {
        let (offset, len) = (word(bytes, section), word(bytes, section + 8));
        bytes[offset + at] = value;
        let crc = crc32(&bytes[offset..offset + len]);
        bytes[section + 16..section + 20].copy_from_slice(&crc.to_le_bytes());
    } else {
        bytes[at] = value;
    }
    let crc = crc32(&bytes[..252]);
    bytes[252..256].copy_from_slice(&crc.to_le_bytes());
    Image::open(&bytes_of(&lines)[..MODEL.len()]).map(|_| ())
}

#[test]
fn a_model_that_needs_more_is_refused_by_name() {
    assert_eq!(opened(None, 8, MODEL[8]), Ok(()));
    for (at, value, feature) in
        [(4, 3, "weights-q8"), (4, 5, "weights-q4m"), (4, 1, "weights-float"), (5, 1, "panel-r4")]
    {
        let error = opened(Some(DIRECTORY), at, value).unwrap_err();
        let ImageError::Layout { error: LayoutError::LeftOut { feature: named }, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(named, feature);
        assert!(error.to_string().ends_with(&format!("this build leaves out the feature {feature}")), "{error}");
    }
    for (at, value, feature) in [
        (68, 2, "rope-half-split"),
        (69, 1, "gate-gelu"),
        (69, 2, "gate-relu"),
        (71, 1, "arch-qwen2"),
        (71, 2, "arch-qwen3"),
        (71, 3, "arch-gemma3"),
        (71, 4, "arch-gpt2"),
    ] {
        assert_eq!(opened(None, at, value), Err(ImageError::Config(ConfigError::LeftOut { feature })));
    }
    let unknown = ConfigError::Unknown { field: "architecture", got: 5 };
    assert_eq!(opened(None, 71, 5), Err(ImageError::Config(unknown)));
    let feature = "vocab-bpe";
    assert_eq!(opened(Some(VOCABULARY), 6, 0), Err(ImageError::Vocab(VocabError::LeftOut { feature })));
}

#[test]
fn a_cache_that_is_left_out_is_refused_by_name() {
    for kv in [KvType::F32, KvType::F16] {
        let plan = Plan::new(IMAGE.config(), PlanOptions { kv, ..PlanOptions::small(8) });
        let (mut scratch, mut cache) = (vec![Line::ZERO; plan.scratch_lines()], vec![Line::ZERO; plan.kv_lines()]);
        let team = Team::alone();
        let session = Session::new(&IMAGE, &Scalar, &team, &plan, &mut scratch, &mut cache);
        assert_eq!(session.err(), Some(SessionError::LeftOut { feature: kv.feature() }));
    }
}

#[test]
fn what_is_left_computes_what_the_packer_did() {
    assert_eq!(IMAGE.intact(), Ok(()));
    let (prompt, expected) = IMAGE.golden(KvType::I8).unwrap();
    let (last, others) = prompt.split_last().unwrap();
    let plan = Plan::new(IMAGE.config(), PlanOptions::small(prompt.len()));
    let (mut scratch, mut cache) = (vec![Line::ZERO; plan.scratch_lines()], vec![Line::ZERO; plan.kv_lines()]);
    let team = Team::alone();
    let mut session = Session::new(&IMAGE, &Scalar, &team, &plan, &mut scratch, &mut cache).unwrap();
    session.fill(others).unwrap();
    session.feed(&[*last], Want::Last).unwrap();
    let mut sums = vec![];
    while let Some(done) = session.step_stage().unwrap() {
        if done.stage == IMAGE.config().last_stage() {
            sums.push(Crc32::new().update_f32(session.residual()).finish());
        }
    }
    sums.push(Crc32::new().update_f32(session.logits()).finish());
    assert_eq!(sums, expected);
}
