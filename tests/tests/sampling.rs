//! From a prompt to a text: the same seed gives the same tokens with any kernels, and stop tokens end it.

use pipsqueak::{
    Config, Image, KvType, Plan, PlanOptions, Sampler, Sampling,
    kernels::{Format, Kernels, Panel, select, team::Team},
};
use pipsqueak_cli::pool::with_team;
use pipsqueak_tests::{
    engine::{Arenas, TinyFile},
    small_vocab,
    tiny_model::{TinyModel, tiny_config},
};

/// Up to `n` tokens after `prompt`; fewer when a stop token comes, which is not among them.
fn generate(
    image: &Image<'_>,
    kernels: &'static dyn Kernels,
    team: &Team<'_>,
    settings: Sampling,
    prompt: &[u32],
    n: usize,
) -> (Vec<u32>, Option<u32>) {
    let options = PlanOptions { context: prompt.len() + n, kv: KvType::F16, batch: 4, logits: 1, threads: team.size() };
    let plan = Plan::new(image.config(), options);
    let mut arenas = Arenas::new(&plan);
    let mut session = arenas.session(image, kernels, team, &plan);
    let mut sampler = Sampler::new(settings);
    prompt.iter().for_each(|id| sampler.accept(*id));
    session.prefill(prompt).unwrap();
    let mut out = Vec::new();
    while out.len() < n {
        let id = session.sample(&mut sampler).unwrap();
        if image.vocab().unwrap().is_stop(id) {
            return (out, Some(id));
        }
        sampler.accept(id);
        out.push(id);
        session.decode(id).unwrap();
    }
    (out, None)
}

/// A model that says little of what comes next, so that the sampler decides.
fn undecided() -> TinyFile {
    let mut file = TinyFile::new(TinyModel::random(Config { seq_len: 256, ..tiny_config() }, 3));
    file.vocab = Some(small_vocab::sentencepiece());
    file
}

#[test]
fn a_seed_names_a_text() {
    let file = undecided();
    let settings = [
        Sampling { temperature: 1.5, top_k: 0, top_p: 1.0, min_p: 0.0, ..Sampling::default() },
        Sampling { temperature: 2.0, repeat_penalty: 1.3, ..Sampling::default() },
        Sampling { temperature: 5.0, top_k: 7, top_p: 0.9, ..Sampling::default() },
        Sampling { repeat_penalty: 1.1, ..Sampling::GREEDY },
    ];
    let mut texts = Vec::new();
    for format in [Format::F32, Format::Q8, Format::Q4M] {
        for settings in settings {
            for seed in [0, 1, u64::MAX] {
                let settings = Sampling { seed, ..settings };
                let mut first = None;
                for kernels in select::all() {
                    for threads in [1, 2] {
                        let panel = if format.is_quantised() { kernels.panel(format) } else { Panel::R1 };
                        let packed = file.pack(format, panel);
                        let image = Image::open(packed.bytes()).unwrap();
                        let text = with_team(threads, |team| generate(&image, kernels, team, settings, &[1, 260], 60));
                        let first = first.get_or_insert_with(|| text.clone());
                        assert_eq!(*first, text, "{} {settings:?}, {threads} threads", kernels.name());
                    }
                }
                texts.extend(first);
            }
        }
    }
    // Seeds matter, but not to the greedy.
    let distinct: std::collections::HashSet<_> = texts.iter().collect();
    assert!(distinct.len() >= texts.len() / 2, "{} of {} texts differ", distinct.len(), texts.len());
}

#[test]
fn stop_tokens_end_a_text() {
    let mut file = undecided();
    let pack = |file: &TinyFile| file.pack(Format::Q8, select::best().panel(Format::Q8));
    let packed = pack(&file);
    let image = Image::open(packed.bytes()).unwrap();
    let settings = Sampling { temperature: 1.5, seed: 9, ..Sampling::default() };
    let (text, stop) = generate(&image, select::best(), &Team::alone(), settings, &[1, 260], 40);
    assert_eq!((text.len(), stop), (40, None));
    // The same model, with the twentieth token among those that end a text.
    let end = text[20];
    file.vocab.as_mut().unwrap().stops.push(end);
    let packed = pack(&file);
    let image = Image::open(packed.bytes()).unwrap();
    let (shorter, stop) = generate(&image, select::best(), &Team::alone(), settings, &[1, 260], 40);
    assert_eq!(stop, Some(end));
    assert_eq!(shorter, text[..text.iter().position(|id| *id == end).unwrap()]);
}
