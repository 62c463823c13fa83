//! Decoding with guesses gives the tokens that decoding one by one gives, whatever is guessed.

use pipsqueak::{
    Config, Image, KvType, Plan, PlanOptions, Sampler, Sampling, Session, SessionError,
    draft::{BatchCost, Drafter},
    kernels::{Format, Panel, select, team::Team},
    tensor::TensorKind,
};
use pipsqueak_cli::{drafted::Drafts, pool::with_team};
use pipsqueak_tests::{
    engine::{Aligned, Arenas, TinyFile, some_ids},
    rng::Rng,
    tiny_model::{self, TinyModel, tiny_config},
};

/// Greedy, warm, hot, and with the penalty.
fn settings() -> [Sampling; 6] {
    [
        Sampling::GREEDY,
        Sampling { repeat_penalty: 1.2, ..Sampling::GREEDY },
        Sampling { temperature: 0.4, seed: 3, ..Sampling::default() },
        Sampling { temperature: 0.7, repeat_penalty: 1.1, seed: 4, ..Sampling::default() },
        Sampling { temperature: 1.5, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 5, ..Sampling::default() },
        // So strong that a token which was not accepted moves every draw after it.
        Sampling { temperature: 2.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 5.0, seed: 6 },
    ]
}

/// What guesses the tokens after a text.
type Guesser<'a> = dyn FnMut(&[u32]) -> Vec<u32> + 'a;

/// How a text ended, other than by its length.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Length,
    Stop,
    Error(SessionError),
}

/// Up to `n` tokens, one by one; the stop token is not among them.
fn plain(
    session: &mut Session<'_>,
    settings: Sampling,
    prompt: &[u32],
    n: usize,
    stop: Option<u32>,
) -> (Vec<u32>, End) {
    let mut sampler = Sampler::new(settings);
    prompt.iter().for_each(|id| sampler.accept(*id));
    session.truncate(0);
    session.prefill(prompt).unwrap();
    let mut out = Vec::new();
    loop {
        let id = session.sample(&mut sampler).unwrap();
        if Some(id) == stop {
            return (out, End::Stop);
        }
        sampler.accept(id);
        out.push(id);
        if out.len() == n {
            return (out, End::Length);
        }
        if let Err(error) = session.decode(id) {
            return (out, End::Error(error));
        }
    }
}

/// The same with a guess before each batch, which `guess` writes behind the text so far; and guesses that came true.
fn drafted(
    session: &mut Session<'_>,
    settings: Sampling,
    prompt: &[u32],
    n: usize,
    mut guess: impl FnMut(&[u32]) -> Vec<u32>,
) -> (Vec<u32>, End, usize) {
    let mut sampler = Sampler::new(settings);
    prompt.iter().for_each(|id| sampler.accept(*id));
    session.truncate(0);
    session.prefill(prompt).unwrap();
    let (mut text, mut accepted) = (prompt.to_vec(), 0);
    let mut came = vec![0; n];
    let mut count = 1;
    came[0] = session.sample(&mut sampler).unwrap();
    loop {
        text.extend(&came[..count]);
        sampler.accept(came[count - 1]);
        let done = text.len() - prompt.len();
        assert!(done <= n);
        if done == n {
            return (text.split_off(prompt.len()), End::Length, accepted);
        }
        let mut tokens = vec![came[count - 1]];
        tokens.extend(guess(&text));
        let before = session.position();
        match session.decode_drafted(&tokens, &mut sampler, &mut came[..n - done]) {
            Ok(drawn) => count = drawn,
            Err(error) => {
                assert_eq!(session.position(), before);
                return (text.split_off(prompt.len()), End::Error(error), accepted);
            }
        }
        assert_eq!(session.position(), before + count);
        accepted += count - 1;
    }
}

#[test]
fn any_guess_leaves_the_text_as_it_is() {
    guesses(
        Config { seq_len: 256, ..tiny_config() },
        &[
            (KvType::F32, 1, Format::F32, 1),
            (KvType::F16, 4, Format::Q8, 2),
            (KvType::I8, 9, Format::Q4, 1),
            (KvType::F16, 32, Format::Q4M, 2),
        ],
    );
}

#[test]
fn nor_of_another_architecture() {
    for (name, config) in tiny_model::architectures(Config { seq_len: 256, ..tiny_config() }, 19) {
        println!("{name}");
        guesses(config, &[(KvType::I8, 9, Format::Q4, 1), (KvType::F16, 32, Format::Q8, 2)]);
    }
}

fn guesses(config: Config, settings_of_sessions: &[(KvType, usize, Format, usize)]) {
    let file = TinyFile::new(TinyModel::random(config, 8));
    let mut accepted = [0; 3];
    for &(kv, batch, format, threads) in settings_of_sessions {
        for kernels in select::all() {
            let packed = file.pack(format, if format.is_quantised() { kernels.panel(format) } else { Panel::R1 });
            let image = Image::open(packed.bytes()).unwrap();
            for (seed, settings) in settings().into_iter().enumerate() {
                let prompt = some_ids(11, 300, seed as u64);
                with_team(threads, |team| {
                    // A context that the text fills to the last place, or that is three short.
                    for (n, context) in [(50, 11 + 49), (50, 11 + 46)] {
                        let what = format!("{kv:?} {batch} {format:?} {} {settings:?} {context}", kernels.name());
                        let options = PlanOptions { context, kv, batch, logits: 1, threads };
                        let plan = Plan::new(image.config(), options);
                        let mut arenas = Arenas::new(&plan);
                        let mut session = arenas.session(&image, kernels, team, &plan);
                        let want = plain(&mut session, settings, &prompt, n, None);
                        let short = context < 11 + 49;
                        assert_eq!(matches!(want.1, End::Error(SessionError::ContextFull { .. })), short, "{what}");

                        let plan = Plan::new(image.config(), PlanOptions { logits: batch, ..options });
                        let mut arenas = Arenas::new(&plan);
                        let mut session = arenas.session(&image, kernels, team, &plan);
                        let mut rng = Rng::new(seed as u64);
                        // What comes, what comes up to some place, and what the text says.
                        let truth = |text: &[u32]| want.0.get(text.len() - 11..).unwrap_or(&[]).to_vec();
                        let mut damaged = |text: &[u32]| {
                            let mut guess = truth(text);
                            guess.truncate(rng.below(20));
                            let at = rng.below(12);
                            if let Some(id) = guess.get_mut(at) {
                                *id = (*id + 1) % 300;
                            }
                            guess
                        };
                        let drafter = Drafter::new(BatchCost { start: 1.0, each: 0.0 });
                        let looked_up = |text: &[u32]| {
                            let mut guess = vec![0; 12];
                            let len = drafter.guess(text, &mut guess).len;
                            guess.truncate(len);
                            guess
                        };
                        let guesses: [&mut Guesser<'_>; 3] = [&mut { truth }, &mut damaged, &mut { looked_up }];
                        for (guess, accepted) in guesses.into_iter().zip(&mut accepted) {
                            let got = drafted(&mut session, settings, &prompt, n, guess);
                            assert_eq!((&got.0, got.1), (&want.0, want.1), "{what}");
                            *accepted += got.2;
                        }
                    }
                });
            }
        }
    }
    // Batches were verified, and of each kind of guess some came true.
    assert!(accepted.iter().all(|accepted| *accepted > 200), "{accepted:?}");
}

#[test]
fn the_programs_drafts_stop_where_the_text_stops() {
    let file = TinyFile::new(TinyModel::random(Config { seq_len: 512, ..tiny_config() }, 8));
    let packed = file.pack(Format::Q8, Panel::R4);
    let image = Image::open(packed.bytes()).unwrap();
    let kernels = select::all().last().unwrap();
    let team = Team::alone();
    let (mut accepted, mut stopped) = (0, 0);
    for settings in settings() {
        for seed in 0..6 {
            // A prompt that says itself twice, so that there is something to find.
            let once = some_ids(10, 300, seed);
            let prompt = [&once[..], &once[..]].concat();
            let n = 120;
            let options = PlanOptions { context: prompt.len() + n, kv: KvType::F16, batch: 16, logits: 16, threads: 1 };
            let plan = Plan::new(image.config(), options);
            let mut arenas = Arenas::new(&plan);
            let mut session = arenas.session(&image, kernels, &team, &plan);
            // A token of the text ends it.
            let free = plain(&mut session, settings, &prompt, n, None).0;
            for stop in [None, free.get(40).copied(), free.get(90).copied(), prompt.first().copied()] {
                let want = plain(&mut session, settings, &prompt, n, stop);

                let mut sampler = Sampler::new(settings);
                prompt.iter().for_each(|id| sampler.accept(*id));
                session.truncate(0);
                session.prefill(&prompt).unwrap();
                let mut drafts = Drafts::new(15);
                let mut text = prompt.clone();
                let mut next = vec![session.sample(&mut sampler).unwrap()];
                let end = 'text: loop {
                    for (index, id) in next.iter().enumerate() {
                        if Some(*id) == stop {
                            // Nothing was drawn beyond it.
                            assert_eq!(index + 1, next.len());
                            break 'text End::Stop;
                        }
                        text.push(*id);
                    }
                    sampler.accept(*text.last().unwrap());
                    let left = n - (text.len() - prompt.len());
                    if left == 0 {
                        break End::Length;
                    }
                    let came = drafts.decode(&mut session, &mut sampler, &text, left, |id| Some(id) == stop);
                    next = came.unwrap().to_vec();
                    assert!((1..=left).contains(&next.len()));
                };
                assert_eq!((text.split_off(prompt.len()), end), want, "{settings:?} {stop:?}");
                assert!(drafts.accepted <= drafts.verified);
                accepted += drafts.accepted;
                stopped += usize::from(end == End::Stop);
            }
        }
    }
    assert!(accepted > 500 && stopped > 20, "{accepted} {stopped}");
}

#[test]
fn a_guess_that_meets_damaged_weights_does_no_harm() {
    let file = TinyFile::new(TinyModel::random(tiny_config(), 8));
    let packed = file.pack(Format::F32, Panel::R1);
    let mut damaged = Aligned::new(packed.bytes());
    let prompt = some_ids(8, 300, 1);
    // Its embedding overflows in the norm, while its logit, the head being the same matrix, stays finite.
    let bad = 299;
    assert!(!prompt.contains(&bad));
    let entry = Image::open(packed.bytes()).unwrap().entries().find(|entry| entry.kind == TensorKind::TokenEmbedding);
    let row = entry.unwrap().offset as usize + bad as usize * 64 * 4;
    damaged.bytes_mut()[row..row + 4].copy_from_slice(&2.0e19f32.to_le_bytes());
    let image = Image::open(damaged.bytes()).unwrap();
    let team = Team::alone();
    let plan = Plan::new(image.config(), PlanOptions { context: 40, kv: KvType::F32, batch: 8, logits: 8, threads: 1 });
    let mut arenas = Arenas::new(&plan);
    let mut session = arenas.session(&image, select::by_name("scalar").unwrap(), &team, &plan);
    session.prefill(&prompt).unwrap();
    let position = session.position();
    assert!(matches!(session.decode(bad), Err(SessionError::NotFinite { .. })));
    assert_eq!(session.position(), position);
    let mut sampler = Sampler::new(Sampling::GREEDY);
    let mut came = [0; 8];
    let drawn = session.decode_drafted(&[5, bad, 6], &mut sampler, &mut came).unwrap();
    assert_eq!((drawn, session.position()), (1, position + 1));
    session.truncate(position);
    session.decode(5).unwrap();
    assert_eq!(session.sample(&mut sampler), Ok(came[0]));
    // Where the token itself is the damaged one, the error is as without a guess.
    assert!(matches!(session.decode_drafted(&[bad, 6], &mut sampler, &mut came), Err(SessionError::NotFinite { .. })));
    // A token that does not exist is refused, nothing at all gives nothing.
    assert_eq!(
        session.decode_drafted(&[5, 300], &mut sampler, &mut came),
        Err(SessionError::Token { id: 300, vocab_size: 300 })
    );
    assert_eq!(session.decode_drafted(&[], &mut sampler, &mut came), Ok(0));
}
