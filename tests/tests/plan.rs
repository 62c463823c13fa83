//! The memory plan is exact, and a session that is asked for too much says so and lives on.

use pipsqueak::{
    Config, Image, KvType, Plan, PlanOptions, Progress, Sampler, Sampling, Session, SessionError, Want,
    config::{Activation, Arch, RopePairs},
    kernels::{ArenaTooSmall, Format, Panel, arena::Line, select, team::Team},
};
use pipsqueak_tests::{
    engine::{Arenas, TinyFile, bits, some_ids},
    tiny_model::{self, TinyModel, tiny_config},
};

const STORIES260K: Config = Config {
    dim: 64,
    hidden_dim: 172,
    n_layers: 5,
    n_heads: 8,
    n_kv_heads: 4,
    head_dim: 8,
    rope_dim: 8,
    vocab_size: 512,
    seq_len: 512,
    norm_eps: 1e-5,
    att_scale: 0.353_553_4,
    rope_pairs: RopePairs::Interleaved,
    activation: Activation::Silu,
    tied_head: true,
    arch: Arch::Llama,
};

/// Known to the compiler, as firmware has it.
const PLAN: Plan = Plan::new(&STORIES260K, PlanOptions::small(128));
static SCRATCH: [Line; PLAN.scratch_lines()] = [Line::ZERO; PLAN.scratch_lines()];
static KV: [Line; PLAN.kv_lines()] = [Line::ZERO; PLAN.kv_lines()];

#[test]
fn numbers_of_the_documentation() {
    // 5 layers of 128 positions: 32 bytes and one f16 scale (4 heads of 8 share it), for keys and for values.
    assert_eq!(PLAN.kv_bytes(), 5 * 128 * (32 + 2) * 2);
    assert_eq!(PLAN.kv_bytes(), 43_520);
    // The table in `Plan`'s documentation, line by line of 64 bytes.
    let lines = [64 * 4, 64 * 4, 344 * 4, 6 * 32, 6 * 4, 6 * 4, 8 * 4, 8 * 32, 8 * 4, 8 * 4, 128 * 4, 2048, 2048, 4];
    let bytes = lines.map(|bytes: usize| bytes.next_multiple_of(64)).iter().sum::<usize>();
    assert_eq!(PLAN.scratch_bytes(), bytes);
    assert_eq!(PLAN.scratch_bytes(), 7_360);
    assert_eq!(PLAN.total_bytes(), PLAN.kv_bytes() + PLAN.scratch_bytes());
    assert_eq!((SCRATCH.len() * 64, KV.len() * 64), (PLAN.scratch_bytes(), PLAN.kv_bytes()));
}

#[test]
fn a_session_in_const_arenas() {
    let file = TinyFile::new(TinyModel::random(STORIES260K, 1));
    let packed = file.pack(Format::Q8, Panel::R1);
    let image = Image::open(packed.bytes()).unwrap();
    let (mut scratch, mut kv) = (SCRATCH, KV);
    let team = Team::alone();
    let mut session = Session::new(&image, select::best(), &team, &PLAN, &mut scratch, &mut kv).unwrap();
    session.prefill(&some_ids(128, 512, 1)).unwrap();
    assert_eq!(session.remaining(), 0);
}

#[test]
fn exactly_enough_is_enough_and_a_line_less_is_not() {
    let shapes = [
        tiny_config(),
        Config {
            dim: 40,
            n_heads: 15,
            n_kv_heads: 5,
            head_dim: 8,
            rope_dim: 8,
            hidden_dim: 31,
            vocab_size: 5,
            ..tiny_config()
        },
        Config { dim: 72, n_heads: 6, n_kv_heads: 2, head_dim: 40, rope_dim: 0, vocab_size: 97, ..tiny_config() },
    ];
    // Wider than its queries and its feed-forward block, so that what attention gives needs more room than those.
    let wide = Config { dim: 200, head_dim: 4, rope_dim: 4, hidden_dim: 20, ..tiny_config() };
    let others = [tiny_config(), wide].into_iter().flat_map(|base| tiny_model::architectures(base, 20));
    let shapes = shapes.into_iter().chain(others.map(|(_, config)| config));
    for (seed, config) in shapes.enumerate() {
        let file = TinyFile::new(TinyModel::random(config, seed as u64 + 1));
        let packed = file.pack(Format::Q4, Panel::R4);
        let image = Image::open(packed.bytes()).unwrap();
        for kv in KvType::ALL {
            for (context, batch, logits, threads) in
                [(1, 1, 1, 1), (17, 17, 17, 1), (33, 5, 2, 2), (64, 64, 1, 3), (9, 20, 30, 1)]
            {
                let plan = Plan::new(&config, PlanOptions { context, kv, batch, logits, threads });
                let ids = some_ids(context, config.vocab_size, 3);
                let team = Team::alone();
                let Arenas { mut scratch, kv: mut cache } = Arenas::new(&plan);
                let mut session = Session::new(&image, select::best(), &team, &plan, &mut scratch, &mut cache).unwrap();
                session.score(&ids, |_, _| {}).unwrap();
                let mut sampler = Sampler::new(Sampling::default());
                assert!(session.sample(&mut sampler).unwrap() < config.vocab_size);

                let got = plan.scratch_bytes() - 64;
                let less = scratch.len() - 1;
                let result = Session::new(&image, select::best(), &team, &plan, &mut scratch[..less], &mut cache);
                let need = plan.scratch_bytes();
                assert_eq!(result.err(), Some(SessionError::Scratch(ArenaTooSmall { need, got })));
                let (less, got, need) = (cache.len() - 1, plan.kv_bytes() - 64, plan.kv_bytes());
                let result = Session::new(&image, select::best(), &team, &plan, &mut scratch, &mut cache[..less]);
                assert_eq!(result.err(), Some(SessionError::Kv(ArenaTooSmall { need, got })));
                assert!(Session::new(&image, select::best(), &team, &plan, &mut [], &mut []).is_err());
            }
        }
    }
}

#[test]
fn no_more_positions_than_the_model_knows() {
    let [.., (_, config)] = tiny_model::architectures(Config { seq_len: 20, ..tiny_config() }, 20);
    let packed = TinyFile::new(TinyModel::random(config, 1)).pack(Format::Q8, Panel::R1);
    let image = Image::open(packed.bytes()).unwrap();
    let team = Team::alone();
    for (context, error) in [(20, None), (21, Some(SessionError::Positions { context: 21, seq_len: 20 }))] {
        let plan = Plan::new(&config, PlanOptions::small(context));
        let Arenas { mut scratch, mut kv } = Arenas::new(&plan);
        let session = Session::new(&image, select::best(), &team, &plan, &mut scratch, &mut kv);
        assert_eq!(session.err(), error);
    }
    let error = SessionError::Positions { context: 21, seq_len: 20 };
    assert_eq!(error.to_string(), "the model knows 20 positions and the plan has 21");
}

#[test]
fn plans_for_something_else() {
    let file = TinyFile::new(TinyModel::random(tiny_config(), 1));
    let packed = file.pack(Format::Q8, Panel::R1);
    let image = Image::open(packed.bytes()).unwrap();
    let fine = PlanOptions::small(8);
    let make = |config: &Config, options: PlanOptions| {
        let plan = Plan::new(config, options);
        let (mut scratch, mut kv) = (vec![Line::ZERO; 4000], vec![Line::ZERO; 4000]);
        let team = Team::alone();
        Session::new(&image, select::best(), &team, &plan, &mut scratch, &mut kv).err()
    };
    assert_eq!(make(&tiny_config(), fine), None);
    for options in [
        PlanOptions { context: 0, ..fine },
        PlanOptions { batch: 0, ..fine },
        PlanOptions { logits: 0, ..fine },
        PlanOptions { threads: 0, ..fine },
    ] {
        assert_eq!(make(&tiny_config(), options), Some(SessionError::WrongPlan), "{options:?}");
    }
    let other = Config { vocab_size: 301, ..tiny_config() };
    assert_eq!(make(&other, fine), Some(SessionError::WrongPlan));
    // Numbers beyond the address space saturate, and no arena is that large.
    for options in [
        PlanOptions { context: usize::MAX, ..fine },
        PlanOptions { batch: usize::MAX, ..fine },
        PlanOptions { logits: usize::MAX, ..fine },
        PlanOptions { threads: usize::MAX, ..fine },
        PlanOptions { context: usize::MAX / 64, ..fine },
    ] {
        let error = make(&tiny_config(), options);
        assert!(matches!(error, Some(SessionError::Scratch(_) | SessionError::Kv(_))), "{options:?}: {error:?}");
    }
}

#[test]
fn a_session_lives_on_after_every_error() {
    let file = TinyFile::new(TinyModel::random(tiny_config(), 1));
    let packed = file.pack(Format::Q8, Panel::R1);
    let image = Image::open(packed.bytes()).unwrap();
    let plan = Plan::new(&tiny_config(), PlanOptions { context: 10, kv: KvType::F16, batch: 4, logits: 2, threads: 1 });
    let (mut arenas, team) = (Arenas::new(&plan), Team::alone());
    let mut session = arenas.session(&image, select::best(), &team, &plan);
    let mut sampler = Sampler::new(Sampling::GREEDY);
    assert_eq!(session.sample(&mut sampler), Err(SessionError::NoLogits));
    assert_eq!(session.step(1), Ok(Progress::Done));
    assert_eq!(session.step_stage(), Ok(None));

    session.prefill(&[1, 2, 3]).unwrap();
    let before = bits(session.logits());
    // What a call refuses leaves cache, position and logits as they are.
    let full = SessionError::ContextFull { context: 10, used: 3, asked: 8 };
    assert_eq!(session.prefill(&[4; 8]), Err(full));
    assert_eq!(session.fill(&[4; 8]), Err(full));
    assert_eq!(session.score(&[4; 8], |_, _| panic!("nothing is scored")), Err(full));
    let unknown = SessionError::Token { id: 300, vocab_size: 300 };
    assert_eq!(session.decode(300), Err(unknown));
    assert_eq!(session.feed(&[1, 2, 300], Want::All).map(|_| ()), Ok(()), "two rows are kept, so two tokens taken");
    session.truncate(3);
    assert_eq!(session.feed(&[1, 300], Want::All), Err(unknown));
    session.prefill(&[]).unwrap();
    assert_eq!(session.position(), 3);

    // An unknown token in a later batch takes the earlier ones back.
    assert_eq!(session.prefill(&[1, 1, 1, 1, 300]), Err(unknown));
    assert_eq!(session.position(), 3);
    // The same token again, at the same place: the same logits.
    session.truncate(2);
    session.decode(3).unwrap();
    assert!(bits(session.logits()) == before);

    // Busy, until the batch is done or dropped.
    assert_eq!(session.feed(&[5; 9], Want::Last), Ok(4), "as many as a batch");
    assert_eq!(session.feed(&[5], Want::Last), Err(SessionError::Busy));
    assert_eq!(session.prefill(&[5]), Err(SessionError::Busy));
    assert_eq!(session.decode(5), Err(SessionError::Busy));
    assert_eq!(session.sample(&mut sampler), Err(SessionError::NoLogits));
    while session.step(50).unwrap() == Progress::More {}
    assert_eq!((session.position(), session.remaining()), (7, 3));
    // A batch that does not fit.
    assert_eq!(session.feed(&[5; 4], Want::Last), Err(SessionError::ContextFull { context: 10, used: 7, asked: 4 }));
    session.prefill(&[6; 3]).unwrap();
    let full = SessionError::ContextFull { context: 10, used: 10, asked: 1 };
    assert_eq!(session.decode(6), Err(full));
    assert!(session.sample(&mut sampler).is_ok(), "the last logits are still there");
    session.truncate(100);
    assert_eq!(session.position(), 10);
    session.truncate(2);
    session.decode(3).unwrap();
    assert!(bits(session.logits()) == before);
    session.truncate(0);
    session.prefill(&[1, 2, 3]).unwrap();
    assert!(bits(session.logits()) == before);
}
