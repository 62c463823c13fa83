//! Nothing on the way of a token allocates: not the engine, nor the sampler, nor the tokenizer, on one thread or two.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use pipsqueak::{
    Image, KvType, Plan, PlanOptions, Progress, Sampler, Sampling, Session, Vocab, Want,
    chat::{Room, Turn},
    digest,
    kernels::{Format, Panel, select, team::Team},
    state::state_bytes,
    tokenizer::{Decoder, EncodeOptions, max_tokens, scratch_len},
};
use pipsqueak_cli::{pool::with_team, vocab};
use pipsqueak_tests::{
    engine::{Arenas, TinyFile},
    small_vocab,
    tiny_model::{TinyModel, tiny_config},
};

/// The system's allocator, with a count of what the threads under test allocate. What is freed does not count.
struct Counting;

thread_local! {
    /// Whether this thread is under test: the test runner's own thread keeps books of its own at any time.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

static WATCHED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to `System` as it came; the counters are plain numbers and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.load(Ordering::Relaxed) && COUNTED.get() {
            CALLS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises about `layout` are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout, as all of ours do.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations by the threads under test while `work` runs.
fn calls(work: impl FnOnce()) -> usize {
    CALLS.store(0, Ordering::SeqCst);
    WATCHED.store(true, Ordering::SeqCst);
    work();
    WATCHED.store(false, Ordering::SeqCst);
    CALLS.load(Ordering::SeqCst)
}

/// A prompt, tokens with a sampler that uses all of its means, tokens in slices, a text scored, a step back.
fn a_session(session: &mut Session<'_>, sampler: &mut Sampler) {
    session.truncate(0);
    session.prefill(&[1; 70]).unwrap();
    for _ in 0..8 {
        let id = session.sample(sampler).unwrap();
        sampler.accept(id);
        session.decode(id).unwrap();
    }
    session.feed(&[2; 3], Want::Last).unwrap();
    while session.step(500).unwrap() == Progress::More {}
    let mut sum = 0.0;
    session.score(&[3; 10], |_, logits| sum += logits[0]).unwrap();
    assert!(sum.is_finite());
    session.truncate(5);
    session.decode(7).unwrap();
    session.prefill(&[u32::MAX]).unwrap_err();
}

/// A conversation by the pieces of a template, kept and gone on with.
fn keeping_and_chatting() {
    let mut file = TinyFile::new(TinyModel::random(tiny_config(), 1));
    file.vocab = Some(small_vocab::chat(small_vocab::bpe()));
    file.chat_template = Some(small_vocab::TEMPLATES[3].1.into());
    let packed = file.pack(Format::Q8, Panel::R1);
    let image = Image::open(packed.bytes()).unwrap();
    for kv in KvType::ALL {
        let plan = Plan::new(image.config(), PlanOptions { context: 128, kv, batch: 16, logits: 1, threads: 1 });
        let mut arenas = Arenas::new(&plan);
        let team = Team::alone();
        let mut session = arenas.session(&image, select::best(), &team, &plan);
        let (mut tokens, mut text, mut scratch) = ([0; 128], [0; 128], [0; 512]);
        let mut page = vec![0u8; 1 << 16];
        let (mut fed, mut held) = (0, 0);
        let calls = calls(|| {
            let (vocab, chat) = (image.vocab().unwrap(), image.chat().unwrap().unwrap());
            for turn in [Turn::First { system: Some("Be a cat."), user: "the mat?" }, Turn::Next { user: "and?" }] {
                let room = Room { tokens: &mut tokens[fed..], text: &mut text, scratch: &mut scratch };
                let count = chat.encode(&vocab, turn, room).unwrap();
                session.prefill(&tokens[fed..fed + count]).unwrap();
                fed += count;
            }
            let model = digest::of(&image);
            let mut rest = &mut page[..];
            session
                .save(model, &tokens[..fed], b"note", &mut |bytes| {
                    let (out, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
                    out.copy_from_slice(bytes);
                    rest = after;
                    held += bytes.len();
                    Ok(())
                })
                .unwrap();
            let mut rest = &page[..];
            let header = session.restore(model, &mut tokens, &mut [], &mut |out| {
                let (bytes, after) = rest.split_at(out.len());
                out.copy_from_slice(bytes);
                rest = after;
                out.len()
            });
            assert_eq!(header.unwrap().position, fed);
        });
        assert_eq!(calls, 0, "{} cache", kv.name());
        assert_eq!(held as u64, state_bytes(image.config(), kv, fed, fed, 4));
    }
}

/// One test only: another one's allocations would be counted too.
#[test]
fn nothing_allocates() {
    let allocate = || drop(std::hint::black_box(Box::new(1)));
    assert_eq!(calls(allocate), 0, "a thread that is not under test");
    COUNTED.set(true);
    assert_eq!(calls(allocate), 1, "the count itself");

    let file = TinyFile::new(TinyModel::random(tiny_config(), 1));
    for format in [Format::F32, Format::Q8, Format::Q4M] {
        for kernels in select::all() {
            let panel = if format.is_quantised() { kernels.panel(format) } else { Panel::R1 };
            let packed = file.pack(format, panel);
            for kv in KvType::ALL {
                for threads in [1, 2] {
                    let options = PlanOptions { context: 128, kv, batch: 16, logits: 4, threads };
                    let plan = Plan::new(&tiny_config(), options);
                    let mut arenas = Arenas::new(&plan);
                    let mut sampler = Sampler::new(Sampling { repeat_penalty: 1.1, ..Sampling::default() });
                    let mut work = |team: &Team<'_>| {
                        // Each of the team's threads takes one of these jobs and waits for the others.
                        let started = Barrier::new(threads);
                        team.run(threads, &|_| {
                            COUNTED.set(true);
                            started.wait();
                        });
                        // Opening an image and making a session do not allocate either.
                        let first = calls(|| {
                            let image = Image::open(packed.bytes()).unwrap();
                            image.verify().unwrap();
                            let (scratch, kv) = (&mut arenas.scratch, &mut arenas.kv);
                            assert!(Session::new(&image, kernels, team, &plan, scratch, kv).is_ok());
                        });
                        let image = Image::open(packed.bytes()).unwrap();
                        let mut session = arenas.session(&image, kernels, team, &plan);
                        // The first round lets the system set up what its threads need.
                        a_session(&mut session, &mut sampler);
                        first + calls(|| a_session(&mut session, &mut sampler))
                    };
                    let calls = if threads == 1 { work(&Team::alone()) } else { with_team(threads, work) };
                    let (format, kernels) = (format.name(), kernels.name());
                    assert_eq!(calls, 0, "{format}, {kernels}, {} cache, {threads} threads", kv.name());
                }
            }
        }
    }

    keeping_and_chatting();

    for source in [small_vocab::sentencepiece(), small_vocab::bpe()] {
        let section = vocab::build(&source).unwrap();
        let text = "Once upon a time, the cat sat on 12 mats: été, 漢字 🙂\n\n<|endoftext|>";
        let mut ids = vec![0; max_tokens(text.len())];
        let mut scratch = vec![0; scratch_len(text.len())];
        let mut bytes = [0; 256];
        let mut shown = 0;
        let mut decoded = 0;
        let calls = calls(|| {
            let vocab = Vocab::new(&section).unwrap();
            let options = EncodeOptions { add_bos: vocab.bos().is_some(), parse_special: false };
            let n = vocab.encode(text, options, &mut ids, &mut scratch).unwrap();
            decoded = vocab.decode(&ids[..n], false, &mut bytes).unwrap();
            let mut decoder = Decoder::new(vocab, true);
            for id in &ids[..n] {
                decoder.push(*id, |piece| shown += piece.len()).unwrap();
            }
            decoder.flush(|piece| shown += piece.len());
        });
        assert_eq!(calls, 0, "{:?}", source.model);
        assert_eq!(&bytes[..decoded], text.as_bytes());
        assert!(shown >= text.len());
    }
}
