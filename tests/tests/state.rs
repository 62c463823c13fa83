//! A session that was saved goes on with the same bits, in any other session of the same model; and what is no such
//! state is refused.

use pipsqueak::{
    Config, Image, KvType, Plan, PlanOptions, Session, SessionError,
    crc::crc32,
    digest,
    kernels::{Format, Kernels, Panel, select, team::Team},
    state::{STATE_HEADER_BYTES, StateError, StateHeader, Stopped, state_bytes},
    tensor::TensorKind,
};
use pipsqueak_cli::{
    pack::{ModelParts, PackOptions, Packed, Quant, pack},
    pool::with_team,
};
use pipsqueak_tests::{
    engine::{Aligned, Arenas, TinyFile, bits, some_ids},
    rng::Rng,
    tiny_model::{TinyModel, tiny_config},
};

/// Small, with a tail everywhere, and heads that share a scale.
fn odd_config() -> Config {
    Config {
        dim: 40,
        hidden_dim: 76,
        n_heads: 6,
        n_kv_heads: 3,
        head_dim: 12,
        rope_dim: 12,
        vocab_size: 67,
        seq_len: 256,
        att_scale: 0.3,
        tied_head: false,
        ..tiny_config()
    }
}

fn save<K: Kernels + ?Sized>(session: &Session<'_, K>, model: u32, tokens: &[u32], note: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let sink = &mut |piece: &[u8]| {
        bytes.extend(piece);
        Ok(())
    };
    session.save(model, tokens, note, sink).unwrap();
    bytes
}

/// What restoring `bytes` gives: the header, the tokens and the note.
fn restore<K: Kernels + ?Sized>(
    session: &mut Session<'_, K>,
    model: u32,
    bytes: &[u8],
) -> Result<(StateHeader, Vec<u32>, Vec<u8>), StateError> {
    let (mut tokens, mut note) = (vec![0; 300], vec![0; 40]);
    let mut rest = bytes;
    let header = session.restore(model, &mut tokens, &mut note, &mut |out| {
        let (piece, after) = rest.split_at(out.len().min(rest.len()));
        out[..piece.len()].copy_from_slice(piece);
        rest = after;
        piece.len()
    })?;
    tokens.truncate(header.tokens);
    note.truncate(header.note);
    Ok((header, tokens, note))
}

/// One way to run a model.
#[derive(Clone, Copy, Debug)]
struct Way {
    kernels: &'static str,
    threads: usize,
    batch: usize,
    context: usize,
}

/// Runs `job` with a session of a model that is laid out for the kernels.
fn with<R>(file: &TinyFile, format: Format, kv: KvType, way: Way, job: impl FnOnce(u32, &mut Session<'_>) -> R) -> R {
    let kernels = select::by_name(way.kernels).unwrap();
    let packed = file.pack(format, if format.is_quantised() { kernels.panel(format) } else { Panel::R1 });
    let image = Image::open(packed.bytes()).unwrap();
    let Way { threads, batch, context, .. } = way;
    let plan = Plan::new(image.config(), PlanOptions { context, kv, batch, logits: batch, threads });
    let mut arenas = Arenas::new(&plan);
    with_team(threads, |team| {
        let mut session = arenas.session(&image, kernels, team, &plan);
        job(digest::of(&image), &mut session)
    })
}

#[test]
fn goes_on_with_the_same_bits() {
    let file = TinyFile::new(TinyModel::random(odd_config(), 5));
    let ids = some_ids(90, 67, 6);
    let names: Vec<_> = select::all().map(|kernels| kernels.name()).collect();
    let ways: Vec<Way> = names
        .iter()
        .flat_map(|kernels| {
            [(1, 1, 90), (2, 32, 200), (1, 7, 131)].map(|(threads, batch, context)| Way {
                kernels,
                threads,
                batch,
                context,
            })
        })
        .collect();
    let mut compared = 0;
    for kv in KvType::ALL {
        for format in [Format::F32, Format::Q8, Format::Q4M] {
            let plain = Way { kernels: "scalar", threads: 1, batch: 1, context: 90 };
            let expected = with(&file, format, kv, plain, |_, session| {
                let mut logits = Vec::new();
                session.score(&ids, |_, row| logits.extend(bits(row))).unwrap();
                logits
            });
            let row = |at: usize| &expected[at * 67..][..67];
            let mut first: Option<Vec<u8>> = None;
            for (i, one) in ways.iter().enumerate() {
                let cut = 61;
                let bytes = with(&file, format, kv, *one, |model, session| {
                    session.prefill(&ids[..cut]).unwrap();
                    // Some of the cache is not filled any more.
                    session.fill(&ids[cut..80]).unwrap();
                    session.truncate(cut);
                    save(session, model, &ids[..cut + 2], b"a note")
                });
                // The same bytes whoever saves them.
                assert!(first.get_or_insert_with(|| bytes.clone()) == &bytes, "{kv:?} {format:?} {one:?}");
                assert_eq!(bytes.len() as u64, state_bytes(&odd_config(), kv, cut, cut + 2, 6));
                let other = ways[(i + 4) % ways.len()];
                with(&file, format, kv, other, |model, session| {
                    // What the session held before does not matter.
                    session.prefill(&some_ids(80, 67, 99)).unwrap();
                    let (header, tokens, note) = restore(session, model, &bytes).unwrap();
                    assert_eq!((header.position, &tokens[..], &note[..]), (cut, &ids[..cut + 2], &b"a note"[..]));
                    assert_eq!((session.position(), session.logits()), (cut, &[][..]));
                    let mut at = cut;
                    session
                        .score(&ids[cut..], |i, logits| {
                            assert!(bits(logits) == row(cut + i), "{kv:?} {format:?} {one:?} {other:?} at {}", cut + i);
                            at += 1;
                        })
                        .unwrap();
                    assert_eq!(at, 90);
                    // Where nothing is to follow, the last token gives the logits.
                    restore(session, model, &bytes).unwrap();
                    session.truncate(cut - 1);
                    session.decode(ids[cut - 1]).unwrap();
                    assert!(bits(session.logits()) == row(cut - 1));
                    compared += 1;
                });
            }
        }
    }
    assert_eq!(compared, 9 * ways.len());
    // Nothing at all, and a cache that is full to the last place.
    for (count, context) in [(0, 30), (30, 30)] {
        let way = Way { kernels: "scalar", threads: 1, batch: 8, context };
        with(&file, Format::Q8, KvType::I8, way, |model, session| {
            session.fill(&ids[..count]).unwrap();
            let bytes = save(session, model, &ids[..count], &[]);
            assert_eq!(restore(session, model, &bytes).unwrap().1, ids[..count]);
            assert_eq!(session.position(), count);
        });
    }
}

/// A model, and a state of it with eleven tokens in the cache, one to be fed, and a note.
struct Saved {
    packed: Packed,
    kv: KvType,
    bytes: Vec<u8>,
}

impl Saved {
    fn new(kv: KvType) -> Self {
        let packed = TinyFile::new(TinyModel::random(tiny_config(), 5)).pack(Format::Q8, Panel::R1);
        let mut saved = Self { packed, kv, bytes: Vec::new() };
        saved.bytes = saved.with(16, |model, session| {
            session.fill(&some_ids(11, 300, 1)).unwrap();
            save(session, model, &some_ids(12, 300, 1), b"note")
        });
        saved
    }

    /// Runs `job` with the model's digest and a session of `context` positions.
    fn with<R>(&self, context: usize, job: impl FnOnce(u32, &mut Session<'_>) -> R) -> R {
        let image = Image::open(self.packed.bytes()).unwrap();
        let options = PlanOptions { context, kv: self.kv, batch: 4, logits: 1, threads: 1 };
        let plan = Plan::new(image.config(), options);
        let mut arenas = Arenas::new(&plan);
        let team = Team::alone();
        let mut session = arenas.session(&image, select::best(), &team, &plan);
        job(digest::of(&image), &mut session)
    }

    /// What restoring other bytes says, and how many positions the session, which had three, then has.
    fn refused(&self, bytes: &[u8]) -> (StateError, usize) {
        self.with(16, |model, session| {
            session.fill(&[1, 2, 3]).unwrap();
            let error = restore(session, model, bytes).expect_err("an error");
            (error, session.position())
        })
    }

    /// The bytes with another value in the header, and its checksum made right.
    fn forged(&self, at: usize, value: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let crc = crc32(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

#[test]
fn is_laid_out_as_documented() {
    let saved = Saved::new(KvType::F16);
    let bytes = &saved.bytes;
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(bytes[..8], *b"PIPK\x01\0\x01\0");
    assert_eq!((word(8), word(12)), (bytes.len() as u32, 0));
    assert_eq!([word(20), word(24), word(28), word(32)], [11, 12, 4, 1]);
    assert!(bytes[36..60].iter().all(|byte| *byte == 0));
    assert_eq!(word(60), crc32(&bytes[..60]));
    let ids: Vec<u32> = (0..12).map(|i| word(64 + 4 * i)).collect();
    assert_eq!(ids, some_ids(12, 300, 1));
    assert_eq!(&bytes[112..116], b"note");
    // Two layers of two heads of 16 halves, keys and values.
    assert_eq!(bytes.len(), 116 + 11 * 2 * 2 * 16 * 2 * 2 + 4);
    assert_eq!(word(bytes.len() - 4), crc32(&bytes[64..bytes.len() - 4]));
    let header = StateHeader::parse(bytes).unwrap();
    assert_eq!((header.len, header.kv), (bytes.len() as u64, KvType::F16));
    saved.with(16, |model, _| assert_eq!((header.model, word(16)), (model, model)));
}

/// Three tokens in the cache.
fn three(session: &mut Session<'_>) {
    if session.position() != 3 {
        session.truncate(0);
        session.fill(&[1, 2, 3]).unwrap();
    }
}

#[test]
fn every_truncation_and_every_byte() {
    for kv in KvType::ALL {
        let saved = Saved::new(kv);
        let full = saved.bytes.len();
        saved.with(16, |model, session| {
            for len in 0..full {
                three(session);
                let error = restore(session, model, &saved.bytes[..len]).unwrap_err();
                let need = if len < STATE_HEADER_BYTES { STATE_HEADER_BYTES } else { full } as u64;
                assert_eq!(error, StateError::Truncated { need, got: len as u64 }, "{kv:?} {len}");
                // The header has been looked at before anything was lost.
                assert_eq!(session.position(), if len < STATE_HEADER_BYTES { 3 } else { 0 });
            }
            for at in 0..full {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bytes = saved.bytes.clone();
                    bytes[at] ^= flip;
                    three(session);
                    let error = restore(session, model, &bytes).unwrap_err();
                    let right = match error {
                        StateError::Magic { .. } => at < 4,
                        StateError::Version { .. } => at == 4 || at == 5,
                        StateError::Checksum { .. } => at >= 6,
                        StateError::Token { id, vocab_size: 300 } => (64..112).contains(&at) && id >= 300,
                        _ => false,
                    };
                    assert!(right, "{kv:?} byte {at}: {error}");
                    assert_eq!(session.position(), if at < STATE_HEADER_BYTES { 3 } else { 0 }, "{kv:?} byte {at}");
                }
            }
            // More is fine: flash is larger.
            let longer = [&saved.bytes[..], &[0xff; 50]].concat();
            restore(session, model, &longer).unwrap();
        });
    }
}

#[test]
fn says_what_does_not_fit() {
    let saved = Saved::new(KvType::I8);
    let model = saved.with(16, |model, _| model);
    let say = |bytes: &[u8]| saved.refused(bytes);
    let words = |error: StateError, words: &[&str]| {
        let line = error.to_string();
        assert!(words.iter().all(|word| line.contains(word)) && !line.contains('\n'), "{line}");
    };
    for (bytes, want, said) in [
        (b"GGUF".to_vec(), StateError::Magic { got: *b"GGUF" }, &["47 47 55 46", "50 49 50 4b"][..]),
        (saved.forged(4, &[2]), StateError::Version { got: 2 }, &["version 2", "version 1"]),
        (saved.forged(6, &[9]), StateError::Arithmetic { got: 9 }, &["contract 9", "contract 1"]),
        (
            saved.forged(16, &(model ^ 1).to_le_bytes()),
            StateError::Model { need: model, got: model ^ 1 },
            &[&format!("{model:08x}"), &format!("{:08x}", model ^ 1)],
        ),
        (saved.forged(32, &[0]), StateError::Cache { need: KvType::I8, got: KvType::F32 }, &["f32", "i8"]),
        (
            saved.forged(32, &[3]),
            StateError::Header { field: "the type of the cache", got: 3 },
            &["the type of the cache is 3"],
        ),
        (
            saved.forged(8, &(saved.bytes.len() as u64 - 1).to_le_bytes()),
            StateError::Length { need: saved.bytes.len() as u64, got: saved.bytes.len() as u64 - 1 },
            &[&saved.bytes.len().to_string()],
        ),
        (saved.forged(20, &[13]), StateError::Tokens { need: 13, got: 12 }, &["12 tokens", "13"]),
        (
            saved.forged(20, &[12]),
            StateError::Length { need: saved.bytes.len() as u64 + 2 * 2 * 2 * 17, got: saved.bytes.len() as u64 },
            &[],
        ),
        (saved.forged(24, &[0xff, 0xff, 0xff, 0xff]), StateError::Length { need: 0, got: 0 }, &[]),
    ] {
        let (error, position) = say(&bytes);
        match want {
            StateError::Length { need: 0, .. } => assert!(matches!(error, StateError::Length { .. }), "{error}"),
            _ => assert_eq!(error, want),
        }
        words(error, said);
        assert_eq!(position, 3, "{error}");
    }
    // Another context; too little room; a batch under way; too short a history; a sink that is full.
    saved.with(10, |model, session| {
        let error = restore(session, model, &saved.bytes).unwrap_err();
        assert_eq!(error, StateError::Context { context: 10, need: 11 });
        words(error, &["11 positions", "10"]);
    });
    saved.with(11, |model, session| {
        restore(session, model, &saved.bytes).unwrap();
        let mut rest = &saved.bytes[..];
        let mut source = |out: &mut [u8]| {
            let (piece, after) = rest.split_at(out.len());
            out.copy_from_slice(piece);
            rest = after;
            out.len()
        };
        let error = session.restore(model, &mut [0; 11], &mut [], &mut source).unwrap_err();
        assert_eq!(error, StateError::Tokens { need: 12, got: 11 });
        assert_eq!(session.position(), 11);
        let mut refuse = |_: &[u8]| Err(Stopped);
        let mut save = |session: &Session<'_>, tokens: &[u32]| session.save(model, tokens, &[], &mut refuse);
        assert_eq!(save(session, &[1; 10]), Err(StateError::Tokens { need: 11, got: 10 }));
        assert_eq!(save(session, &[300; 11]), Err(StateError::Token { id: 300, vocab_size: 300 }));
        assert_eq!(save(session, &[1; 11]), Err(StateError::Stopped));
        session.truncate(5);
        session.feed(&[1, 2], pipsqueak::Want::Last).unwrap();
        assert_eq!(save(session, &[1; 11]), Err(StateError::Busy));
    });
    // A source that says more than it was asked for is not believed.
    saved.with(16, |model, session| {
        assert!(session.restore(model, &mut [0; 20], &mut [], &mut |_| usize::MAX).is_err());
    });
}

/// Rows that no session has written, under a right checksum: numbers, or `NotFinite`; and the same for all kernels.
#[test]
fn forged_rows_are_only_numbers() {
    let mut rng = Rng::new(3);
    let (mut ran, mut not_finite) = (0, 0);
    for kv in KvType::ALL {
        let saved = Saved::new(kv);
        for round in 0..300 {
            let mut bytes = saved.bytes.clone();
            let end = bytes.len() - 4;
            for _ in 0..1 + rng.below(60) {
                let at = 116 + rng.below(end - 116 - 4);
                let value = match rng.below(3) {
                    0 => rng.next_u64() as u32,
                    1 => [0x7fc0_0000, 0x7f80_0000, 0x7e00_7c00, 0xfc00_0001, 0x8080_8080][rng.below(5)],
                    _ => 0x8000_0080,
                };
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            let crc = crc32(&bytes[64..end]);
            bytes[end..].copy_from_slice(&crc.to_le_bytes());
            let image = Image::open(saved.packed.bytes()).unwrap();
            let plan = Plan::new(image.config(), PlanOptions { context: 16, kv, batch: 4, logits: 1, threads: 1 });
            let mut results = select::all().map(|kernels| {
                let mut arenas = Arenas::new(&plan);
                let team = Team::alone();
                let mut session = arenas.session(&image, kernels, &team, &plan);
                restore(&mut session, digest::of(&image), &bytes).unwrap();
                session.prefill(&[4, 5, 6]).map(|()| {
                    assert!(session.logits().iter().all(|x| x.is_finite()));
                    bits(session.logits())
                })
            });
            let first = results.next().unwrap();
            for other in results {
                match (&first, &other) {
                    (Ok(first), Ok(other)) => assert!(first == other, "{kv:?} round {round}"),
                    (Err(SessionError::NotFinite { .. }), Err(SessionError::NotFinite { .. })) => {}
                    other => panic!("{kv:?} round {round}: {other:?}"),
                }
            }
            match first {
                Ok(_) => ran += 1,
                Err(SessionError::NotFinite { .. }) => not_finite += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    println!("{ran} ran, {not_finite} became NaN or infinite");
    assert!(ran > 100 && not_finite > 100);
}

#[test]
fn the_digest_tells_models_and_not_panels() {
    let config = Config { dim: 40, hidden_dim: 76, n_layers: 1, head_dim: 10, rope_dim: 10, ..tiny_config() };
    let file = TinyFile::new(TinyModel::random(config, 5));
    let of = |packed: &Packed| digest::of(&Image::open(packed.bytes()).unwrap());
    let mut all = Vec::new();
    for format in Format::ALL {
        let panels = if format.is_quantised() { &Panel::ALL[..] } else { &[Panel::R1] };
        let digests: Vec<_> = panels.iter().map(|panel| of(&file.pack(format, *panel))).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{}: {digests:x?}", format.name());
        all.push(digests[0]);
    }
    all.push(of(&TinyFile::new(TinyModel::random(config, 6)).pack(Format::Q8, Panel::R1)));
    let mut other_base = TinyFile::new(TinyModel::random(config, 5));
    other_base.rope_base = 10_001.0;
    all.push(of(&other_base.pack(Format::Q8, Panel::R1)));
    let longer = TinyModel { config: Config { seq_len: 127, ..config }, ..TinyModel::random(config, 5) };
    all.push(of(&TinyFile::new(longer).pack(Format::Q8, Panel::R1)));
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);

    // One bit anywhere in any tensor.
    for (format, panel) in [(Format::F32, Panel::R1), (Format::BF16, Panel::R1), (Format::Q4M, Panel::R8)] {
        let packed = file.pack(format, panel);
        let image = Image::open(packed.bytes()).unwrap();
        let right = digest::of(&image);
        for entry in image.entries() {
            let (rows, cols) = (entry.rows as usize, entry.cols as usize);
            // The last value of the last row, and the first of the first.
            let mut changed = Aligned::new(packed.bytes());
            let at = entry.offset as usize;
            let last = if entry.kind.is_vector() || !format.is_quantised() {
                at + rows * cols * if entry.kind.is_vector() { 4 } else { format.element_bytes() } - 1
            } else {
                at
            };
            for place in [at, last] {
                changed.bytes_mut()[place] ^= 1;
                let other = digest::of(&Image::open(changed.bytes()).unwrap());
                assert_ne!(other, right, "{} {}", format.name(), TensorKind::name(entry.kind));
                changed.bytes_mut()[place] ^= 1;
            }
        }
        // Which tensor has which values matters too: two that change places.
        if format == Format::F32 {
            let mut swapped = Aligned::new(packed.bytes());
            let find = |kind| image.entries().find(|entry| entry.kind == kind).unwrap();
            let (wk, wv) = (find(TensorKind::Wk), find(TensorKind::Wv));
            let (k, v) = (image.tensor_bytes(&wk), image.tensor_bytes(&wv));
            swapped.bytes_mut()[wk.offset as usize..][..v.len()].copy_from_slice(v);
            swapped.bytes_mut()[wv.offset as usize..][..k.len()].copy_from_slice(k);
            assert_ne!(digest::of(&Image::open(swapped.bytes()).unwrap()), right);
        }
    }
}

/// The packer stores it in an image that is to be kept, and it goes along while the weights stay as they are.
#[test]
fn an_image_carries_its_digest() {
    let file = TinyFile::new(TinyModel::random(odd_config(), 5));
    let parts = ModelParts::from_source(&file.source()).unwrap();
    let packed = |parts: &ModelParts<'_>, quant: Quant, panel: Panel, golden: bool| {
        let panel = move |_: Format| panel;
        let golden = golden.then(select::best);
        pack(parts, &PackOptions { quant, head: quant, golden, ..PackOptions::keep(&panel, 2) }).unwrap()
    };
    let first = packed(&parts, Quant::To(Format::Q8), Panel::R4, true);
    let first = Image::open(first.bytes()).unwrap();
    let digest = digest::of(&first);
    assert_eq!(first.digest(), Some(digest));
    for threads in 1..4 {
        assert_eq!(pipsqueak_cli::digest::compute(&first, threads), digest);
    }
    let parts = ModelParts::from_image(&first);
    for (quant, panel, golden, want) in [
        (Quant::Keep, Panel::R8, false, Some(digest)),
        (Quant::Keep, Panel::R1, true, Some(digest)),
        (Quant::To(Format::Q8), Panel::R1, false, Some(digest)),
        (Quant::To(Format::Q4), Panel::R8, false, None),
    ] {
        let again = packed(&parts, quant, panel, golden);
        let again = Image::open(again.bytes()).unwrap();
        assert_eq!(again.digest(), want);
        assert_eq!(pipsqueak_cli::digest::of(&again, 2), digest::of(&again));
        assert_eq!(want.is_some(), digest::of(&again) == digest);
    }
}
