//! Images, plans and sessions.

use core::hint::black_box;

use pipsqueak::{
    Image, KvType, Plan, PlanOptions, Sampler, Sampling, Session, Want,
    chat::{Room, Turn},
    digest,
    draft::{BatchCost, Drafter, Guess},
    image::{Entry, Extras, Header, Text},
    kernels::{Kernels, Scalar, arena::Line, select, team::Team},
    session::Progress,
    state::Stopped,
    tensor::TensorKind,
};

use crate::Choices;

/// Everything about one image.
pub fn run(
    bytes: &[u8],
    text: &mut [u8],
    scratch: &mut [Line],
    kv: &mut [Line],
    tokens: &mut [u32],
    choices: &mut Choices,
) {
    black_box(Header::parse(bytes).map(|header| header.to_bytes()).is_ok());
    match Image::open(bytes) {
        Err(error) => {
            black_box(error);
        }
        Ok(image) => {
            look(&image, choices);
            talk(&image, tokens, text, choices);
            let mut page = Page { bytes: text, at: 0 };
            let page = &mut page;
            // The set named statically, as on a board, and one chosen while running.
            let alone = Team::alone();
            match choices.next() {
                0 => session(&image, &Scalar, &alone, (scratch, kv), page, tokens, choices),
                1 => session(&image, black_box(select::best()), &alone, (scratch, kv), page, tokens, choices),
                _ => {
                    let team = Team::new(None);
                    helped(&team, || session(&image, &Scalar, &team, (scratch, kv), page, tokens, choices));
                }
            }
        }
    }
}

fn kind(choices: &mut Choices) -> TensorKind {
    TensorKind::from_code(choices.next() as u8).unwrap_or(TensorKind::Wq)
}

fn look(image: &Image<'_>, choices: &mut Choices) {
    black_box(image.verify().is_ok());
    for text in Text::ALL {
        black_box(image.text(text));
    }
    for kv in KvType::ALL {
        black_box((image.golden(kv), kv.name()));
    }
    for entry in image.entries() {
        black_box((image.tensor_bytes(&entry), entry.to_bytes(), Entry::key(entry.kind, entry.layer)));
    }
    let layer = choices.next() as u32;
    black_box((
        image.matrix(kind(choices), layer),
        image.vector(kind(choices), layer),
        image.head(),
        image.layer(layer),
    ));
    let config = image.config();
    black_box((config.parameters(), config.check().is_ok(), config.shape(kind(choices)), config.q_dim()));
    black_box((image.len(), image.is_empty(), image.rope(), image.vocab_bytes()));
    black_box((image.digest(), digest::of(image), image.chat_bytes()));
    black_box(
        Header::parse(image.vocab_bytes())
            .map(|header| header.to_bytes_with(&Extras::read(image.vocab_bytes())))
            .is_ok(),
    );
}

/// A turn of a conversation, with any texts.
fn talk(image: &Image<'_>, tokens: &mut [u32], text: &mut [u8], choices: &mut Choices) {
    let Ok(Some(chat)) = image.chat() else { return };
    let Some(vocab) = image.vocab() else { return };
    let (words, room) = text.split_at_mut_checked(choices.next()).unwrap_or_default();
    let words = core::str::from_utf8(words).unwrap_or_default();
    let (system, user) = words.split_at_checked(choices.next()).unwrap_or_default();
    let turn = match choices.next() {
        0 => Turn::First { system: None, user },
        1 => Turn::First { system: Some(system), user },
        _ => Turn::Next { user },
    };
    if let Ok(atoms) = chat.atoms(turn) {
        atoms.for_each(|atom| {
            black_box(atom);
        });
    }
    let (tokens, scratch) = tokens.split_at_mut_checked(choices.next()).unwrap_or_default();
    black_box((chat.end(&vocab), chat.encode(&vocab, turn, Room { tokens, text: room, scratch }).is_ok()));
}

/// Where a state is kept.
struct Page<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Page<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        let place = self.bytes.get_mut(self.at..).and_then(|rest| rest.get_mut(..bytes.len())).ok_or(Stopped)?;
        for (out, byte) in place.iter_mut().zip(bytes) {
            *out = *byte;
        }
        self.at = self.at.saturating_add(bytes.len());
        Ok(())
    }

    fn get(&mut self, out: &mut [u8]) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        for (out, byte) in out.iter_mut().zip(rest) {
            *out = *byte;
        }
        let count = out.len().min(rest.len());
        self.at = self.at.saturating_add(count);
        count
    }
}

fn session<K: Kernels + ?Sized>(
    image: &Image<'_>,
    kernels: &K,
    team: &Team<'_>,
    (scratch, kv): (&mut [Line], &mut [Line]),
    page: &mut Page<'_>,
    tokens: &mut [u32],
    choices: &mut Choices,
) {
    let options = PlanOptions {
        context: choices.next(),
        kv: KvType::ALL.get(choices.next()).copied().unwrap_or(KvType::I8),
        batch: choices.next(),
        logits: choices.next(),
        threads: choices.next(),
    };
    let plan = Plan::new(image.config(), options);
    black_box((plan.total_bytes(), PlanOptions::small(choices.next())));
    let mut session = match Session::new(image, kernels, team, &plan, scratch, kv) {
        Ok(session) => session,
        Err(error) => {
            black_box(error);
            return;
        }
    };
    let mut sampler = Sampler::new(Sampling {
        temperature: f32::from_bits(choices.next() as u32),
        top_k: choices.next() as u32,
        top_p: f32::from_bits(choices.next() as u32),
        min_p: f32::from_bits(choices.next() as u32),
        repeat_penalty: f32::from_bits(choices.next() as u32),
        seed: choices.next() as u64,
    });
    let cost = BatchCost { start: f32::from_bits(choices.next() as u32), each: f32::from_bits(choices.next() as u32) };
    let mut drafter = Drafter::new(cost);
    // Any calls in any order: the session's state is whatever they made it.
    loop {
        let ok = match choices.next() {
            0 => break,
            1 => {
                let want = [Want::Nothing, Want::Last, Want::All].get(choices.next()).copied();
                session.feed(tokens, want.unwrap_or(Want::Last)).is_ok()
            }
            2 => session.step(choices.next()) == Ok(Progress::Done),
            3 => match session.step_stage() {
                Ok(done) => {
                    // What every stage leaves behind, one after the other.
                    black_box(done.map(|done| session.product_input(done.stage)));
                    true
                }
                Err(_) => false,
            },
            4 => session.prefill(tokens).is_ok(),
            5 => session.fill(tokens).is_ok(),
            6 => session
                .score(tokens, |index, logits| {
                    black_box((index, logits));
                })
                .is_ok(),
            7 => session.decode(choices.next() as u32).is_ok(),
            8 => {
                session.truncate(choices.next());
                true
            }
            9 => {
                sampler.accept(choices.next() as u32);
                session.sample(&mut sampler).is_ok_and(|token| token == 0)
            }
            10 => {
                let mut came = [0; 9];
                let came = came.get_mut(..choices.next()).unwrap_or_default();
                session.decode_drafted(tokens, &mut sampler, came).is_ok_and(|count| count == came.len())
            }
            11 => {
                let mut guessed = [0; 9];
                let guessed = guessed.get_mut(..choices.next()).unwrap_or_default();
                let guess = drafter.guess(tokens, guessed);
                let guess = Guess { matched: choices.next(), ..guess };
                drafter.learn(&guess, guessed, tokens);
                drafter.cost().learn(choices.next(), f32::from_bits(choices.next() as u32));
                guess.worth == 0
            }
            12 => {
                page.at = choices.next();
                session.save(choices.next() as u32, tokens, &[1, 2], &mut |bytes| page.put(bytes)).is_ok()
            }
            13 => {
                page.at = choices.next();
                let mut note = [0; 4];
                session.restore(choices.next() as u32, tokens, &mut note, &mut |out| page.get(out)).is_ok()
            }
            _ => {
                black_box((session.logits(), session.logits_rows(), session.residual(), session.cursor()));
                black_box((session.position(), session.remaining(), session.kv(), session.plan()));
                black_box(session.product_input(session.cursor().stage));
                true
            }
        };
        black_box(ok);
    }
}

/// Runs `leader` as the leader of a team with a second member, where the target has what a team needs.
#[cfg(target_has_atomic = "32")]
fn helped(team: &Team<'_>, leader: impl FnOnce()) {
    let worker = team.join();
    leader();
    black_box((worker.work(), worker.has_work(), worker.is_done()));
    team.close();
}

#[cfg(not(target_has_atomic = "32"))]
fn helped(_: &Team<'_>, leader: impl FnOnce()) {
    leader();
}
