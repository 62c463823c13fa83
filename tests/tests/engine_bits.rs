//! The first promise: the same bits whatever the kernels, panels, threads, batches and slices of work.

use pipsqueak::{
    Config, Image, KvType, Plan, PlanOptions, Progress, Session, Want,
    config::{Activation, RopePairs},
    kernels::{Format, Kernels, Panel, select, team::Team},
};
use pipsqueak_cli::pool::with_team;
use pipsqueak_tests::{
    engine::{Arenas, TinyFile, bits, logits, some_ids},
    rng::Rng,
    tiny_model::{self, TinyModel, tiny_config},
};
use proptest::prelude::*;

/// Small, with a tail everywhere: panels of rows, blocks of columns, groups of heads.
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

/// The same in every architecture, with a window that is no multiple of anything.
fn architectures() -> impl Iterator<Item = (&'static str, Config)> {
    tiny_model::architectures(odd_config(), 21).into_iter()
}

const FLOATS: [Format; 3] = [Format::F32, Format::F16, Format::BF16];

fn panels(format: Format) -> &'static [Panel] {
    if FLOATS.contains(&format) { &[Panel::R1] } else { &Panel::ALL }
}

/// What everything is compared with: scalar code, one token at a time, one thread, rows as they come.
fn plain(file: &TinyFile, format: Format, kv: KvType, ids: &[u32]) -> Vec<u32> {
    let packed = file.pack(format, Panel::R1);
    let image = Image::open(packed.bytes()).unwrap();
    let options = PlanOptions { context: ids.len(), kv, batch: 1, logits: 1, threads: 1 };
    let scalar = select::by_name("scalar").unwrap();
    bits(&logits(&image, scalar, &Team::alone(), options, ids))
}

fn first_difference(expected: &[u32], got: &[u32], vocab: u32) -> Option<usize> {
    assert_eq!(expected.len(), got.len());
    expected.iter().zip(got).position(|(a, b)| a != b).map(|at| at / vocab as usize)
}

/// Compares every kernel set, panel, number of threads and batch size of these.
fn check(file: &TinyFile, format: Format, ids: &[u32], threads: &[usize], batches: &[usize]) -> usize {
    let mut compared = 0;
    for kv in KvType::ALL {
        let expected = plain(file, format, kv, ids);
        for panel in panels(format) {
            let packed = file.pack(format, *panel);
            let image = Image::open(packed.bytes()).unwrap();
            for &threads in threads {
                with_team(threads, |team| {
                    for kernels in select::all() {
                        for &batch in batches {
                            let options = PlanOptions { context: ids.len(), kv, batch, logits: batch, threads };
                            let got = bits(&logits(&image, kernels, team, options, ids));
                            let differs = first_difference(&expected, &got, image.config().vocab_size);
                            let (format, panel, kernels) = (format.name(), panel.name(), kernels.name());
                            assert_eq!(
                                differs,
                                None,
                                "position: {format} {panel} {kernels}, {} cache, {threads} threads, batch {batch}",
                                kv.name()
                            );
                            compared += 1;
                        }
                    }
                });
            }
        }
    }
    compared
}

#[test]
fn any_kernels_panels_threads_and_batches() {
    let mut compared = 0;
    for format in Format::ALL {
        let file = TinyFile::new(TinyModel::random(odd_config(), 5));
        // Beyond one chunk of attention, and beyond two.
        compared += check(&file, format, &some_ids(70, 67, 1), &[1, 2, 3], &[1, 2, 5, 7, 32]);
        compared += check(&file, format, &some_ids(139, 67, 2), &[2], &[32]);
        // So many at once that each thread has tokens of its own.
        compared += check(&file, format, &some_ids(139, 67, 2), &[2, 3], &[139]);
    }
    println!("{compared} sequences compared");
}

#[test]
fn every_architecture() {
    let mut compared = 0;
    for (name, config) in architectures() {
        println!("{name}");
        let file = TinyFile::new(TinyModel::random(config, 5));
        for format in Format::ALL {
            compared += check(&file, format, &some_ids(139, 67, 2), &[1, 3], &[7]);
        }
        compared += check(&file, Format::F32, &some_ids(139, 67, 2), &[1, 2], &[1, 32]);
    }
    println!("{compared} sequences compared");
}

/// Windows that begin inside a chunk of positions, at its start, and inside a group of queries that are taken together.
#[test]
fn windows() {
    let mut compared = 0;
    for (window, head_dim) in [(1, 16), (5, 32), (63, 16), (64, 16), (65, 48), (100, 64)] {
        let base = Config { n_heads: 6, n_kv_heads: 2, head_dim, rope_dim: head_dim, ..odd_config() };
        let [_, _, (_, config), _] = tiny_model::architectures(base, window);
        let file = TinyFile::new(TinyModel::random(config, 9));
        compared += check(&file, Format::F32, &some_ids(150, 67, 3), &[1, 2], &[16, 37]);
    }
    println!("{compared} sequences compared");
}

/// Heads that kernels take several tokens' queries of together: as wide as they like them, in groups that come out even and
/// not, over one to three chunks of positions.
#[test]
fn queries_of_several_tokens_together() {
    let mut compared = 0;
    for (n_kv_heads, share, head_dim) in [(2, 3, 16), (1, 1, 32), (1, 4, 48), (1, 9, 64)] {
        let config = Config {
            n_heads: n_kv_heads * share,
            n_kv_heads,
            head_dim,
            rope_dim: head_dim,
            att_scale: 1.0 / (head_dim as f32).sqrt(),
            ..odd_config()
        };
        let file = TinyFile::new(TinyModel::random(config, 9));
        compared += check(&file, Format::F32, &some_ids(150, 67, 3), &[1, 2], &[16, 37]);
    }
    println!("{compared} sequences compared");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_shape(
        (kv_heads, share, head_dim) in (1u32..4, 1u32..4, 1u32..20),
        (dim, hidden_dim, vocab_size) in (1u32..100, 1u32..130, 1u32..90),
        (layers, tied, half_split, activation) in (1u32..3, any::<bool>(), any::<bool>(), 0u8..3),
        (format, threads, batch, seed) in (0u8..6, 1usize..4, 1usize..20, 1u64..1000),
    ) {
        let head_dim = 2 * head_dim;
        let config = Config {
            dim,
            hidden_dim,
            vocab_size,
            n_layers: layers,
            n_heads: kv_heads * share,
            n_kv_heads: kv_heads,
            head_dim,
            rope_dim: 2 * (head_dim / 3),
            att_scale: 1.0 / (head_dim as f32).sqrt(),
            tied_head: tied,
            rope_pairs: if half_split { RopePairs::HalfSplit } else { RopePairs::Interleaved },
            activation: Activation::from_code(activation).unwrap(),
            ..tiny_config()
        };
        let file = TinyFile::new(TinyModel::random(config, seed));
        check(&file, Format::from_code(format).unwrap(), &some_ids(20, vocab_size, seed), &[threads], &[batch]);
    }
}

/// How a session is fed: `ids` in pieces, with any slice of work.
fn in_slices(
    session: &mut Session<'_>,
    ids: &[u32],
    mut piece: impl FnMut() -> usize,
    mut budget: impl FnMut() -> usize,
    out: &mut Vec<u32>,
) -> usize {
    let mut rest = ids;
    let mut calls = 0;
    while !rest.is_empty() {
        let n = session.feed(&rest[..piece().clamp(1, rest.len())], Want::All).unwrap();
        while session.step(budget()).unwrap() == Progress::More {
            calls += 1;
        }
        calls += 1;
        out.extend(bits(session.logits_rows()));
        rest = &rest[n..];
    }
    calls
}

#[test]
fn any_slices_of_work() {
    let both = [(Format::Q8, select::best()), (Format::F32, select::by_name("scalar").unwrap())];
    slices(odd_config(), &both);
}

#[test]
fn any_slices_of_work_of_every_architecture() {
    for (name, config) in architectures() {
        println!("{name}");
        slices(config, &[(Format::Q8, select::best())]);
    }
}

fn slices(config: Config, sets: &[(Format, &'static dyn Kernels)]) {
    let file = TinyFile::new(TinyModel::random(config, 6));
    let vocab = config.vocab_size;
    let ids = some_ids(140, vocab, 3);
    let mut rng = Rng::new(4);
    for &(format, kernels) in sets {
        let packed = file.pack(format, kernels.panel(format));
        let image = Image::open(packed.bytes()).unwrap();
        for kv in KvType::ALL {
            let expected = plain(&file, format, kv, &ids);
            for threads in [1, 2] {
                let options = PlanOptions { context: ids.len(), kv, batch: 9, logits: 9, threads };
                let plan = Plan::new(image.config(), options);
                with_team(threads, |team| {
                    let mut arenas = Arenas::new(&plan);
                    let mut session = arenas.session(&image, kernels, team, &plan);
                    let mut last_calls = usize::MAX;
                    for budget in [1, 7, 100, 1000, 100_000, usize::MAX, 0] {
                        for piece in [1, 9] {
                            session.truncate(0);
                            let mut got = Vec::new();
                            let calls = in_slices(&mut session, &ids, || piece, || budget, &mut got);
                            let differs = first_difference(&expected, &got, vocab);
                            let what = (format.name(), kv.name(), threads);
                            assert_eq!(differs, None, "position: {what:?}, pieces of {piece}, budget {budget}");
                            if piece == 9 && budget > 0 {
                                assert!(calls <= last_calls, "a larger budget takes more calls: {budget}: {calls}");
                                last_calls = calls;
                            }
                        }
                    }
                    assert_eq!(last_calls, ids.len().div_ceil(9), "an unlimited budget does a batch in a call");
                    for round in 0..3 {
                        session.truncate(0);
                        let mut got = Vec::new();
                        let mut other = rng.clone();
                        let scale = [30, 3000, 300_000][round];
                        let (piece, budget) = (|| 1 + rng.below(9), || other.below(scale));
                        in_slices(&mut session, &ids, piece, budget, &mut got);
                        rng.next_u64();
                        assert_eq!(first_difference(&expected, &got, vocab), None, "position, random, round {round}");
                    }
                });
            }
        }
    }
}

/// A call does no more than it was allowed, or one unit: 64 positions of one head at most, whatever the context.
#[test]
fn slices_stay_small() {
    let file = TinyFile::new(TinyModel::random(odd_config(), 6));
    let packed = file.pack(Format::Q8, Panel::R1);
    let image = Image::open(packed.bytes()).unwrap();
    let calls = |context: usize| {
        let plan = Plan::new(image.config(), PlanOptions::small(context));
        let (mut arenas, team) = (Arenas::new(&plan), Team::alone());
        let mut session = arenas.session(&image, select::best(), &team, &plan);
        session.fill(&vec![1; context - 1]).unwrap();
        in_slices(&mut session, &[2], || 1, || 1, &mut Vec::new())
    };
    let (short, long) = (calls(64), calls(64 + 192));
    // Two layers, six heads, two passes: three more chunks each.
    assert_eq!(long - short, 2 * 6 * 2 * 3);
}

#[test]
fn every_way_to_feed_gives_the_same_logits() {
    ways_to_feed(odd_config(), &KvType::ALL);
    for (name, config) in architectures() {
        println!("{name}");
        ways_to_feed(config, &[KvType::I8]);
    }
}

fn ways_to_feed(config: Config, caches: &[KvType]) {
    let file = TinyFile::new(TinyModel::random(config, 8));
    let vocab = config.vocab_size as usize;
    let ids = some_ids(90, vocab as u32, 9);
    let format = Format::Q4M;
    for &kv in caches {
        let expected = plain(&file, format, kv, &ids);
        let row = |pos: usize| &expected[pos * vocab..][..vocab];
        let packed = file.pack(format, select::best().panel(format));
        let image = Image::open(packed.bytes()).unwrap();
        let plan = Plan::new(image.config(), PlanOptions { context: 90, kv, batch: 8, logits: 3, threads: 1 });
        let (mut arenas, team) = (Arenas::new(&plan), Team::alone());
        let mut session = arenas.session(&image, select::best(), &team, &plan);

        session.prefill(&ids[..37]).unwrap();
        assert!(bits(session.logits()) == row(36), "prefill");
        session.decode(ids[37]).unwrap();
        assert!(bits(session.logits()) == row(37), "decode");
        session.fill(&ids[38..60]).unwrap();
        assert!(session.logits().is_empty() && session.position() == 60);
        let mut at = 60;
        session
            .score(&ids[60..71], |i, logits| {
                assert!(i + 60 == at && bits(logits) == row(at), "score");
                at += 1;
            })
            .unwrap();
        assert_eq!((at, session.position(), session.remaining()), (71, 71, 19));

        // Back, something else, back again, and on.
        session.truncate(65);
        session.prefill(&[3; 20]).unwrap();
        session.truncate(50);
        session.prefill(&ids[50..90]).unwrap();
        assert!(bits(session.logits()) == row(89), "after truncate");

        // A batch dropped in its middle leaves nothing behind.
        let mut done = Progress::More;
        for stop in 0.. {
            if done == Progress::Done {
                assert!(stop > 100, "{stop} steps");
                break;
            }
            session.truncate(20);
            session.feed(&[4; 8], Want::All).unwrap();
            for _ in 0..stop {
                done = session.step(300).unwrap();
            }
            session.truncate(20);
            // In slices too: an unlimited budget never looks at a head half done.
            session.feed(&ids[20..28], Want::Last).unwrap();
            while session.step(300).unwrap() == Progress::More {}
            assert!(bits(session.logits()) == row(27), "after a batch dropped at step {stop}");
        }
    }
}

#[test]
fn a_session_after_another_on_the_same_memory() {
    let file = TinyFile::new(TinyModel::random(odd_config(), 8));
    let ids = some_ids(30, 67, 9);
    for kv in KvType::ALL {
        let expected = plain(&file, Format::Q8, kv, &ids);
        let packed = file.pack(Format::Q8, Panel::R8);
        let image = Image::open(packed.bytes()).unwrap();
        let plan = Plan::new(image.config(), PlanOptions { context: 30, kv, batch: 8, logits: 8, threads: 1 });
        let (mut arenas, team) = (Arenas::new(&plan), Team::alone());
        for steps in [0, 3, 40, 1000] {
            {
                let mut session = arenas.session(&image, select::best(), &team, &plan);
                session.feed(&[5; 8], Want::All).unwrap();
                for _ in 0..steps {
                    session.step(100).unwrap();
                }
            }
            let mut session = arenas.session(&image, select::best(), &team, &plan);
            assert!(session.logits().is_empty() && session.position() == 0);
            let mut got = Vec::new();
            session.score(&ids, |_, logits| got.extend(bits(logits))).unwrap();
            assert!(got == expected, "{} cache, after {steps} steps of another session", kv.name());
        }
    }
}

/// Two sessions take turns on one image and one team.
#[test]
fn sessions_do_not_disturb_each_other() {
    let file = TinyFile::new(TinyModel::random(odd_config(), 8));
    let ids = some_ids(24, 67, 9);
    let packed = file.pack(Format::Q4, Panel::R8);
    let image = Image::open(packed.bytes()).unwrap();
    let expected = plain(&file, Format::Q4, KvType::F16, &ids);
    with_team(2, |team| {
        let options = PlanOptions { context: 24, kv: KvType::F16, batch: 8, logits: 8, threads: 2 };
        let plan = Plan::new(image.config(), options);
        let (mut first, mut second) = (Arenas::new(&plan), Arenas::new(&plan));
        let mut first = first.session(&image, select::best(), team, &plan);
        let mut second = second.session(&image, select::best(), team, &plan);
        let mut got = [Vec::new(), Vec::new()];
        for chunk in ids.chunks(8) {
            first.feed(chunk, Want::All).unwrap();
            second.feed(chunk, Want::All).unwrap();
            let mut done = [false; 2];
            while done != [true; 2] {
                done = [first.step(777).unwrap(), second.step(333).unwrap()].map(|p| p == Progress::Done);
            }
            got[0].extend(bits(first.logits_rows()));
            got[1].extend(bits(second.logits_rows()));
        }
        assert!(got[0] == expected && got[1] == expected);
    });
}

/// The kernel sets that were compared, so that a run's log shows a set that was not.
#[test]
fn names_what_this_cpu_runs() {
    for name in select::NAMES {
        match select::by_name(name) {
            Some(kernels) => assert_eq!(Kernels::name(kernels), *name),
            None => println!("skipped: this CPU does not run {name}"),
        }
    }
}
