//! `chat`: talk with a model.

mod events;
mod interrupt;
mod lines;

use std::{cell::OnceCell, path::Path};

use pipsqueak::{Image, Sampling, Vocab, image::Text};

use self::{
    events::{Event, Events},
    interrupt::Interrupts,
    lines::{Line, Lines},
};
use crate::{
    args::ChatArgs,
    boxed,
    chat::{Conversation, Settings, Shape, Stopped, Talk, TalkError, Template, Turn, aligned, section},
    digest, engine,
    failure::Failure,
    pool::with_team,
    state::{self, StateFile},
};

/// The context where none is asked for: what a small model keeps in some tens of megabytes.
const CONTEXT: usize = 4096;

const HELP: &str = "\
/reset          forget what was said and begin anew
/system TEXT    what the model is to be; without TEXT, what its template says
/save FILE      keep the conversation, with all that was computed for it
/load FILE      go on with one that was kept
/help           this list
/quit           leave (so do Ctrl-D, and Ctrl-C at the prompt; during an answer Ctrl-C ends the answer)
A text that begins with / is written with two: //
";

pub(super) fn run(args: &ChatArgs) -> Result<(), Failure> {
    let kernels = engine::kernels(args.engine.kernels.as_deref())?;
    let model = engine::open_to_run(&args.model, &args.engine, kernels)?;
    let image = model.image()?;
    let vocab = engine::vocab(&image, model.vocab_left_out())?;
    let fail = |error: &dyn std::fmt::Display| Failure::new(format_args!("{}: {error}", model.path().display()));

    // The pieces that the image carries, or those of its template, or the template as a whole.
    let source = image.text(Text::ChatTemplate);
    let stored = image.chat().map_err(|error| fail(&error))?;
    let (made, template);
    let shape = match (stored, source) {
        (Some(chat), _) => Shape::Pieces(Box::new(chat)),
        (None, None) => return Err(without_template(args, model.path())),
        (None, Some(source)) => match section(source, &vocab) {
            Ok(bytes) => {
                made = aligned(&bytes);
                let chat = pipsqueak::chat::Chat::new(made.bytes(), vocab.vocab_size());
                Shape::Pieces(Box::new(chat.map_err(|error| fail(&error))?))
            }
            Err(why) => {
                template = Template::new(source, &vocab).map_err(|error| fail(&error))?;
                let shape = Shape::whole(&template, &vocab).map_err(|error| fail(&error))?;
                eprintln!("pipsqueak: the chat template is written anew for every turn: {why}");
                shape
            }
        },
    };
    if args.system.is_some() && !shape.takes_system() {
        return Err(Failure::usage("--system: this model's chat template takes no system text"));
    }

    let threads = engine::threads(args.engine.threads, &image);
    let plan = engine::plan(&args.engine, &image, CONTEXT, 1 + args.draft as usize, threads)?;
    let interrupts = Interrupts::new()?;
    let mut lines = Lines::new(args.json)?;
    let events = Events::new(args.json);
    let mut arenas = engine::Arenas::new(&plan)?;
    with_team(threads, |team| {
        let mut session = arenas.session(&image, kernels, team, &plan)?;
        let talk = Talk::new(&mut session, vocab);
        let conversation = Conversation { system: args.system.clone(), turns: Vec::new() };
        let digest = OnceCell::new();
        let mut chat =
            Chat { args, image: &image, vocab, shape, threads, digest, talk, conversation, events, interrupts };
        chat.events.send(&Event::Ready {
            model: &model.path().display().to_string(),
            context: plan.options.context,
            kernels: kernels.name(),
            threads,
        })?;
        if lines.are_typed() {
            let context = plan.options.context;
            eprintln!("{}, {context} tokens of context. /help lists the commands.", model.path().display());
        }
        let mut refused = false;
        loop {
            let done = match lines.next()? {
                Line::End => break,
                Line::Text(line) => chat.line(&line),
                Line::NotText { at } => Err(Failure::new(format_args!("this line is not UTF-8: byte {at} is wrong"))),
            };
            match done {
                Ok(Go::On) => {}
                Ok(Go::Leave) => break,
                // Nobody reads any more.
                Err(failure) if failure.message.is_empty() => return Err(failure),
                Err(failure) => {
                    refused = true;
                    chat.events.refuse(&failure.message)?;
                }
            }
        }
        // It was said when it happened; a script is told at the end too.
        if refused && !lines.are_typed() { Err(Failure { status: 1, message: String::new() }) } else { Ok(()) }
    })
}

/// Whether the program goes on.
enum Go {
    On,
    Leave,
}

fn without_template(args: &ChatArgs, path: &Path) -> Failure {
    if args.model.model.is_none() {
        return Failure::usage(format_args!("{}: no chat template: it only tells stories; name a MODEL", boxed::NAME));
    }
    Failure::new(format_args!("{}: no chat template in it; `run` continues a text", path.display()))
}

struct Chat<'a, 's, 'm> {
    args: &'a ChatArgs,
    image: &'a Image<'m>,
    vocab: Vocab<'m>,
    shape: Shape<'a>,
    threads: usize,
    digest: OnceCell<u32>,
    talk: Talk<'s, 'm, 'm>,
    conversation: Conversation,
    events: Events,
    interrupts: Interrupts,
}

impl Chat<'_, '_, '_> {
    /// What one line asks for.
    fn line(&mut self, line: &str) -> Result<Go, Failure> {
        let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
            // The second of two strokes is the text's own.
            let text = line.strip_prefix('/').unwrap_or(line);
            if !text.trim().is_empty() {
                self.say(text)?;
            }
            return Ok(Go::On);
        };
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("quit", "") => return Ok(Go::Leave),
            ("help", "") => eprint!("{HELP}"),
            ("reset", "") => {
                self.conversation.turns.clear();
                self.events.send(&Event::Reset)?;
            }
            ("system", text) => {
                if !text.is_empty() && !self.shape.takes_system() {
                    return Err(Failure::new("/system: this model's chat template takes no system text"));
                }
                self.conversation.system = Some(text.to_string()).filter(|text| !text.is_empty());
                self.events.send(&Event::System { text: self.conversation.system.as_deref() })?;
            }
            ("save" | "load", "") => return Err(Failure::new(format_args!("/{name} needs the name of a file"))),
            ("save", file) => self.save(Path::new(file))?,
            ("load", file) => self.load(Path::new(file))?,
            ("quit" | "help" | "reset", _) => {
                return Err(Failure::new(format_args!("/{name} takes no words behind it")));
            }
            _ => {
                return Err(Failure::new(format_args!(
                    "no command /{name}; /help lists them, and a text that begins with / is written with two"
                )));
            }
        }
        Ok(Go::On)
    }

    /// The user says something, and the model answers.
    fn say(&mut self, user: &str) -> Result<(), Failure> {
        let (prompt, lost) = self.shape.tokens(&self.vocab, &self.conversation, user)?;
        engine::say_lost(lost);
        let settings = Settings {
            sampling: Sampling::from(&self.args.sampling),
            tokens: self.args.n as usize,
            stops: &self.args.stop,
            end: self.shape.end(&self.vocab),
        };
        let answering = self.interrupts.answering();
        let events = &self.events;
        let answered =
            self.talk.answer(&prompt, &settings, &|| answering.came(), &mut |text| events.send(&Event::Text { text }));
        drop(answering);
        let context = self.talk.session().plan().options.context;
        let answer = match answered {
            Ok(answer) => answer,
            Err(TalkError::Show(failure)) => return Err(failure),
            Err(error @ TalkError::Full { .. }) => {
                return Err(Failure::new(format_args!("{error}; {}", self.ways_out())));
            }
            Err(error) => return Err(Failure::new(error)),
        };
        let turn = self.conversation.turns.len() + 1;
        self.events.answered(turn, &answer, context, self.args.stats)?;
        if answer.stopped == Stopped::Context {
            let full = format!("the context of {context} tokens is full, and the answer cut off there");
            self.events.note(&format!("{full}; {}", self.ways_out()));
        }
        // Nothing was said in return where the prompt was interrupted already: the turn is as if it had not been.
        if answer.stopped != Stopped::Interrupted || !answer.tokens.is_empty() {
            self.conversation.turns.push(Turn { user: user.into(), answer: answer.tokens });
        }
        Ok(())
    }

    /// What may be done about a full context.
    fn ways_out(&self) -> String {
        let (context, longest) = (self.talk.session().plan().options.context, self.image.config().seq_len as usize);
        let larger = if context < longest {
            format!("; with a larger --ctx, up to {longest}, there is more room from the start")
        } else {
            String::new()
        };
        format!("nothing is lost: /save FILE keeps the conversation, /reset begins anew{larger}")
    }

    /// The model's, for which all weights may have to be read.
    fn digest(&self) -> u32 {
        *self.digest.get_or_init(|| digest::of(self.image, self.threads))
    }

    fn save(&self, path: &Path) -> Result<(), Failure> {
        let digest = self.digest();
        state::save(path, self.talk.session(), digest, self.talk.history(), &self.conversation.to_note())?;
        let position = self.talk.session().position();
        self.events.send(&Event::Saved { file: &path.display().to_string(), position })
    }

    fn load(&mut self, path: &Path) -> Result<(), Failure> {
        let file = StateFile::open(path)?;
        let digest = self.digest();
        let vocab_size = self.vocab.vocab_size();
        let conversation = self.talk.restore(|session| {
            let (tokens, note) = file.restore(session, digest)?;
            let conversation = Conversation::from_note(&note, vocab_size)
                .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())));
            if conversation.is_err() {
                session.truncate(0);
            }
            Ok((tokens, conversation?))
        })?;
        if conversation.system.is_some() && !self.shape.takes_system() {
            return Err(Failure::new(format_args!(
                "{}: it has a system text, and this model's chat template takes none",
                path.display()
            )));
        }
        self.conversation = conversation;
        let (turns, position) = (self.conversation.turns.len(), self.talk.session().position());
        self.events.send(&Event::Loaded { file: &path.display().to_string(), turns, position })
    }
}
