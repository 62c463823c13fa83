//! A model's own chat template, a Jinja program that came with the model: it runs on a ration of fuel, and every fault
//! is an error.

use std::{
    error::Error as _,
    fmt,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use minijinja::{Environment, Error, ErrorKind, Value, context, syntax::SyntaxConfig};
use minijinja_contrib::pycompat::unknown_method_callback;
use pipsqueak::Vocab;

use crate::memory;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the model is to be.
    System,
    /// Whoever talks with it.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The word that templates have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// Bytes of the longest template that is read.
pub const MAX_SOURCE: usize = 1 << 18;
/// What a template may use: an instruction costs one, and so do 64 bytes of text that it makes.
pub const FUEL: u64 = 1 << 20;
/// Calls inside calls.
const RECURSION: usize = 64;
/// What a template may take beside its fuel, should the engine have forgotten to count something (as it has with lists
/// that are added to themselves): time, memory of the whole process, and stack.
const TIME: Duration = Duration::from_secs(10);
const MEMORY: u64 = 512 << 20;
const STACK: usize = 16 << 20;
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Why a template was refused, or could not be used for a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// Longer than is read.
    TooLong {
        /// Its bytes.
        got: usize,
        /// The most that are read.
        max: usize,
    },
    /// It is no template, or does what it may not.
    Broken {
        /// What the template engine says, one line.
        what: String,
        /// In which line of the template, where that is known.
        line: Option<usize>,
    },
    /// It refuses the conversation by its own words.
    Refused {
        /// Its words, one line.
        what: String,
    },
    /// It has used up its fuel.
    OutOfFuel {
        /// What it had.
        fuel: u64,
    },
    /// It has gone on for too long, or taken too much memory, in a way that its fuel does not count. It cannot be
    /// stopped: the process should end.
    Runaway {
        /// Milliseconds so far.
        milliseconds: u64,
    },
    /// A text of the conversation is not just once, and in its place, in what the template makes of it.
    Lost {
        /// Whose text.
        role: Role,
        /// Which text of the conversation, from 1 on.
        number: usize,
        /// How often it is there.
        times: usize,
    },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { got, max } => write!(f, "the chat template has {got} bytes; at most {max} are read"),
            Self::Broken { what, line: Some(line) } => write!(f, "the chat template fails in line {line}: {what}"),
            Self::Broken { what, line: None } => write!(f, "the chat template fails: {what}"),
            Self::Refused { what } => write!(f, "the chat template refuses this conversation: {what}"),
            Self::OutOfFuel { fuel } => write!(f, "the chat template has used up its {fuel} units of work"),
            Self::Runaway { milliseconds } => {
                write!(f, "the chat template goes on and on, or takes all memory: given up after {milliseconds} ms")
            }
            Self::Lost { role, number, times: 1 } => {
                write!(f, "the chat template puts text {number}, by {}, out of its place", role.name())
            }
            Self::Lost { role, number, times } => {
                write!(f, "the chat template has text {number}, by {}, {times} times instead of once", role.name())
            }
        }
    }
}

impl std::error::Error for TemplateError {}

/// The template's own refusal, as the source of the engine's error.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn one_line(text: &str) -> String {
    const MOST: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST { line } else { line.chars().take(MOST).chain("...".chars()).collect() }
}

impl From<Error> for TemplateError {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::OutOfFuel {
            return Self::OutOfFuel { fuel: FUEL };
        }
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(Refusal(what)) = inner.downcast_ref() {
                return Self::Refused { what: one_line(what) };
            }
            source = inner.source();
        }
        let what = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        Self::Broken { what: one_line(&what), line: error.line() }
    }
}

/// A chat template.
#[derive(Clone)]
pub struct Template {
    program: Arc<Program>,
    bos: String,
    eos: String,
}

struct Program {
    environment: Environment<'static>,
    source: String,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("source", &self.program.source).finish_non_exhaustive()
    }
}

impl Template {
    /// A template for a vocabulary, whose BOS and EOS it may name.
    ///
    /// White space around blocks is taken away as Hugging Face's libraries do. There is no `strftime_now`, so that the
    /// same conversation has the same tokens on every day.
    pub fn new(source: &str, vocab: &Vocab<'_>) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE {
            return Err(TemplateError::TooLong { got: source.len(), max: MAX_SOURCE });
        }
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", |what: String| -> Result<(), Error> {
            Err(Error::new(ErrorKind::InvalidOperation, "refused").with_source(Refusal(what)))
        });
        let program = Arc::new(Program { environment, source: source.into() });
        watched(&program, |program| program.environment.template_from_str(&program.source).map(|_| ()))?;
        let name = |id: Option<u32>| {
            let bytes = id.and_then(|id| vocab.token_bytes(id)).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        Ok(Self { program, bos: name(vocab.bos()), eos: name(vocab.eos()) })
    }

    /// The text of a conversation, up to where the model is to answer. For looking at: in this text nobody can tell the
    /// template's special tokens from a text that spells their names.
    pub fn render(&self, messages: &[(Role, &str)]) -> Result<String, TemplateError> {
        let message = |(role, content): &(Role, &str)| context! { role => role.name(), content => *content };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let values = context! {
            messages,
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            tools => (),
            documents => (),
        };
        watched(&self.program, move |program| program.environment.render_str(&program.source, values))
    }

    /// What the template puts before, between and behind the texts of a conversation: one more than there are roles.
    /// The texts are not shown to it, so that none can be taken for a part of the template.
    pub fn around(&self, roles: &[Role]) -> Result<Vec<String>, TemplateError> {
        self.around_padded(roles, "")
    }

    /// The same with `pad` before and behind every text.
    pub(super) fn around_padded(&self, roles: &[Role], pad: &str) -> Result<Vec<String>, TemplateError> {
        let marks: Vec<String> = (0..roles.len()).map(|index| format!("Qx{index:04}xQ")).collect();
        let texts: Vec<String> = marks.iter().map(|mark| format!("{pad}{mark}{pad}")).collect();
        let messages: Vec<_> = roles.iter().copied().zip(texts.iter().map(String::as_str)).collect();
        let text = self.render(&messages)?;
        let mut rest = text.as_str();
        let mut around = Vec::with_capacity(marks.len() + 1);
        for (index, (mark, role)) in marks.iter().zip(roles).enumerate() {
            let times = text.matches(mark).count();
            let (before, after) = rest.split_once(mark).filter(|_| times == 1).ok_or(TemplateError::Lost {
                role: *role,
                number: index + 1,
                times,
            })?;
            around.push(before.to_string());
            rest = after;
        }
        around.push(rest.to_string());
        Ok(around)
    }
}

/// Runs a program on a thread with a stack of its own, and looks how long it takes and how much memory.
fn watched<R: Send + 'static>(
    program: &Arc<Program>,
    job: impl FnOnce(&Program) -> Result<R, Error> + Send + 'static,
) -> Result<R, TemplateError> {
    let start = Instant::now();
    let (send, receive) = mpsc::channel();
    let program = Arc::clone(program);
    let spawned = thread::Builder::new().name("template".into()).stack_size(STACK).spawn(move || {
        // Nobody listens any more where it took too long.
        let _ = send.send(job(&program));
    });
    if let Err(error) = spawned {
        return Err(TemplateError::Broken { what: one_line(&format!("no thread for it: {error}")), line: None });
    }
    let before = memory::resident();
    loop {
        match receive.recv_timeout(LOOK) {
            Ok(result) => return Ok(result?),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(TemplateError::Broken { what: "the template engine has stopped".into(), line: None });
            }
            Err(RecvTimeoutError::Timeout) => {
                let grown = memory::resident().zip(before).is_some_and(|(now, before)| now.0 > before.0 + MEMORY);
                if grown || start.elapsed() > TIME {
                    return Err(TemplateError::Runaway { milliseconds: start.elapsed().as_millis() as u64 });
                }
            }
        }
    }
}
