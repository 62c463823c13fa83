//! A conversation: tokens in, steps of bounded work, a token out, its text.

use core::ffi::{c_char, c_void};

use pipsqueak::{Progress, Sampler, Sampling, Session, SessionError, Want, crc::Crc32, tokenizer::Decoder};

use crate::{
    PIPSQUEAK_NONE,
    error::{Code, Failure, pipsqueak_error, pipsqueak_failure, report},
    handle::{close, content, get, get_mut, open, pipsqueak_model, pipsqueak_session},
    kernels::{ALONE, SET, Set},
    memory::{Text, arena, checked, disjoint, input, inputs, output},
    model::Model,
    plan::{pipsqueak_options, plan},
};

/// For `pipsqueak_session_begin_text`: a text begins, so that the space which some vocabularies put before it is taken away.
pub const PIPSQUEAK_TEXT_BEGIN: u32 = 1;
/// For `pipsqueak_session_begin_text`: control tokens give their names.
pub const PIPSQUEAK_TEXT_SPECIAL: u32 = 2;

/// What an open session holds.
#[derive(Debug)]
pub(crate) struct Conversation {
    session: Session<'static, Set>,
    sampler: Sampler,
    decoder: Option<Decoder<'static>>,
    flags: u32,
    model: *const pipsqueak_model,
}

impl Conversation {
    /// The decoder at the beginning of a text, or in the middle of one.
    fn begin_text(&mut self, flags: u32) {
        self.flags = flags;
        let special = flags & PIPSQUEAK_TEXT_SPECIAL != 0;
        self.decoder = self.session.image().vocab().map(|vocab| match flags & PIPSQUEAK_TEXT_BEGIN {
            0 => Decoder::continuing(vocab, special),
            _ => Decoder::new(vocab, special),
        });
    }

    /// All the work of all these tokens, which the sampler sees when it is done.
    fn prefill(&mut self, tokens: &[u32]) -> Result<(), Failure> {
        self.session.prefill(tokens)?;
        for token in tokens {
            self.sampler.accept(*token);
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.sampler = Sampler::new(*self.sampler.settings());
        self.begin_text(self.flags);
    }
}

/// How tokens are chosen. Applied in this order: penalty, top-k, top-p, min-p, temperature.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pipsqueak_sampling {
    /// Logits are divided by it; 0 takes the most likely token.
    pub temperature: f32,
    /// Only the k most likely tokens; 0 for all.
    pub top_k: u32,
    /// Only the most likely tokens whose probabilities together reach p, from 0 to 1; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the most likely one, from 0 to 1; 0 for all.
    pub min_p: f32,
    /// Logits of recent tokens are divided by it where positive, multiplied where negative; above 0, 1 for none.
    pub repeat_penalty: f32,
    /// Names the sequence of random draws: the same seed gives the same tokens, on every machine.
    pub seed: u64,
}

impl From<Sampling> for pipsqueak_sampling {
    fn from(s: Sampling) -> Self {
        let Sampling { temperature, top_k, top_p, min_p, repeat_penalty, seed } = s;
        Self { temperature, top_k, top_p, min_p, repeat_penalty, seed }
    }
}

impl pipsqueak_sampling {
    fn check(&self) -> Result<Sampling, Failure> {
        let Self { temperature, top_k, top_p, min_p, repeat_penalty, seed } = *self;
        // Comparisons that NaN fails.
        for (what, value, good) in [
            ("temperature", temperature, (0.0..=1e6).contains(&temperature)),
            ("top_p", top_p, (0.0..=1.0).contains(&top_p)),
            ("min_p", min_p, (0.0..=1.0).contains(&min_p)),
            ("repeat_penalty", repeat_penalty, repeat_penalty > 0.0 && repeat_penalty <= 1e6),
        ] {
            if !good {
                let failure = Failure::new(Code::PIPSQUEAK_ERROR_SAMPLING).argument(2).what(what);
                return Err(failure.numbers(0, value.to_bits() as usize));
            }
        }
        Ok(Sampling { temperature, top_k, top_p, min_p, repeat_penalty, seed })
    }
}

/// Writes the settings that always take the most likely token; a new session has them.
///
/// Errors: `NULL`, `MISALIGNED`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_sampling_greedy(sampling: *mut pipsqueak_sampling) -> pipsqueak_error {
    // SAFETY: the rules.
    unsafe { write_sampling(sampling, Sampling::GREEDY) }
}

/// Writes settings that suit most models: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalty, seed 0.
///
/// Errors: `NULL`, `MISALIGNED`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_sampling_default(sampling: *mut pipsqueak_sampling) -> pipsqueak_error {
    // SAFETY: the rules.
    unsafe { write_sampling(sampling, Sampling::default()) }
}

/// # Safety
/// The rules.
unsafe fn write_sampling(place: *mut pipsqueak_sampling, sampling: Sampling) -> Code {
    // SAFETY: the rules.
    match unsafe { output(place, 1) } {
        Ok(place) => {
            place.write(sampling.into());
            Code::PIPSQUEAK_OK
        }
        Err(failure) => failure.code,
    }
}

/// Opens a session over an open model and two arenas, which must start at a multiple of 64; `pipsqueak_plan` says how long they
/// must be. `session` is memory for a handle, initialised or not; when the opening fails it is closed.
///
/// Model, image and arenas are in use until the session is closed or forgotten; opening it anew forgets it. Several sessions
/// may share a model, which cannot be closed before all of them are.
///
/// Errors: `NULL`, `MISALIGNED`, `LENGTH`, `OVERLAP`, `NOT_OPEN`, `SETTING`; `SCRATCH_TOO_SMALL` and `KV_TOO_SMALL` with the bytes
/// that are needed; `LEFT_OUT` when this library was built without this kind of cache.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_open(
    session: *mut pipsqueak_session,
    model: *const pipsqueak_model,
    options: *const pipsqueak_options,
    scratch: *mut c_void,
    scratch_bytes: usize,
    kv: *mut c_void,
    kv_bytes: usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        unsafe { close(session, 1)? };
        // SAFETY: the rules: the model stays open and where it is while the session is in use, so for 'static.
        let (owner, options): (&'static Model, _) = unsafe { (get(model, 2)?, input(options, 3)?) };
        let plan = plan(owner, options).map_err(|failure| failure.argument(3))?;
        checked(scratch.cast::<u8>(), scratch_bytes, 4)?;
        checked(kv.cast::<u8>(), kv_bytes, 6)?;
        disjoint(&[
            (session.addr(), size_of::<pipsqueak_session>()),
            (model.addr(), size_of::<pipsqueak_model>()),
            owner.place,
            (scratch.addr(), scratch_bytes),
            (kv.addr(), kv_bytes),
        ])?;
        let short = (Code::PIPSQUEAK_ERROR_SCRATCH_TOO_SMALL, Code::PIPSQUEAK_ERROR_KV_TOO_SMALL);
        // SAFETY: the rules; the arenas do not overlap.
        let (scratch, kv) = unsafe {
            (
                arena(scratch, plan.scratch_bytes(), scratch_bytes, 4, short.0)?,
                arena(kv, plan.kv_bytes(), kv_bytes, 6, short.1)?,
            )
        };
        let mut conversation = Conversation {
            session: Session::new(&owner.image, &SET, &ALONE, &plan, scratch, kv)?,
            sampler: Sampler::new(Sampling::GREEDY),
            decoder: None,
            flags: 0,
            model,
        };
        conversation.begin_text(0);
        // SAFETY: the rules.
        unsafe { open(session, 1, conversation)? };
        owner.sessions.set(owner.sessions.get().saturating_add(1));
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// An open session, whose model is still open.
///
/// # Safety
/// The rules.
unsafe fn conversation<'a>(session: *mut pipsqueak_session) -> Result<&'a mut Conversation, Failure> {
    // SAFETY: the rules.
    let conversation = unsafe { get_mut(session, 1)? };
    // SAFETY: the rules: a model's memory stays a handle while sessions use it.
    match unsafe { content(conversation.model, 0) } {
        Ok(_) => Ok(conversation),
        Err(failure) => Err(failure.what("model")),
    }
}

/// Closes a session, at any time, also half-way through a token. Its memory and arenas are the caller's again.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_close(
    session: *mut pipsqueak_session,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let model = unsafe { conversation(session)? }.model;
        // SAFETY: the rules.
        let sessions = &unsafe { get(model, 0)? }.sessions;
        sessions.set(sessions.get().saturating_sub(1));
        // SAFETY: the rules.
        unsafe { close(session, 1) }
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Has tokens chosen in another way from now on. The repetition penalty looks at tokens that are fed from now on.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `SAMPLING` names the setting that is out of its range.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_set_sampling(
    session: *mut pipsqueak_session,
    sampling: *const pipsqueak_sampling,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, sampling) = unsafe { (conversation(session)?, input(sampling, 2)?) };
        conversation.sampler = Sampler::new(sampling.check()?);
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Takes the first tokens of `tokens`, at most a batch of them, and writes to `taken` how many; `pipsqueak_session_step` does
/// their work. When all `count` were taken, a token can be chosen after the last step. Either all of the tokens fit the context,
/// or none is taken.
///
/// Errors: `NULL`, `MISALIGNED`, `LENGTH`, `NOT_OPEN`, `BUSY`, `CONTEXT_FULL`, `TOKEN`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_feed(
    session: *mut pipsqueak_session,
    tokens: *const u32,
    count: usize,
    taken: *mut usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, taken) = unsafe { (conversation(session)?, output(taken, 4)?) };
        // SAFETY: the rules.
        let tokens = unsafe { inputs(tokens, count, 2)? };
        let session = &mut conversation.session;
        let options = session.plan().options;
        if count > session.remaining() {
            let (context, used) = (options.context, session.position());
            return Err(SessionError::ContextFull { context, used, asked: count }.into());
        }
        let want = if count <= options.batch { Want::Last } else { Want::Nothing };
        let fed = session.feed(tokens, want)?;
        for token in tokens.iter().take(fed) {
            conversation.sampler.accept(*token);
        }
        taken.write(fed);
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Does at most `budget` multiply-adds of work for the tokens that were fed, but at least one unit of it, and writes to `more`
/// whether there is more to do. Any budget gives the same bits.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `NOT_FINITE` and `IMAGE_CHANGED`, after which the session stands where it stood before
/// the tokens were fed.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_step(
    session: *mut pipsqueak_session,
    budget: usize,
    more: *mut bool,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, more) = unsafe { (conversation(session)?, output(more, 3)?) };
        more.write(conversation.session.step(budget)? == Progress::More);
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Feeds all of `tokens` and does all of their work; afterwards a token can be chosen. On an error, position and cache are as they
/// were. Takes as long as it takes: `pipsqueak_session_feed` and `pipsqueak_session_step` do the same in slices.
///
/// Errors: `NULL`, `MISALIGNED`, `LENGTH`, `NOT_OPEN`, `BUSY`, `CONTEXT_FULL`, `TOKEN`, `NOT_FINITE`, `IMAGE_CHANGED`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_prefill(
    session: *mut pipsqueak_session,
    tokens: *const u32,
    count: usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, tokens) = unsafe { (conversation(session)?, inputs(tokens, count, 2)?) };
        conversation.prefill(tokens)
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Feeds one token, does all of its work, chooses the token after it and writes that to `next`: prefill and sample in one.
///
/// Errors: as `pipsqueak_session_prefill`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_decode(
    session: *mut pipsqueak_session,
    token: u32,
    next: *mut u32,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, next) = unsafe { (conversation(session)?, output(next, 3)?) };
        conversation.prefill(&[token])?;
        next.write(conversation.session.sample(&mut conversation.sampler)?);
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Whether this machine computes what the packer's did: feeds the model's golden prompt, a few tokens, to this session and compares
/// the checksums of the residual stream after every layer, and of the logits. Writes to `compared` how many were right. The
/// session begins anew, before and after.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`, `NO_GOLDEN`, `NOT_FINITE`, `IMAGE_CHANGED`; `CONTEXT_FULL` when the session's context is shorter
/// than the prompt; `GOLDEN` names the first layer that differs.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_selftest(
    session: *mut pipsqueak_session,
    compared: *mut usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, compared) = unsafe { (conversation(session)?, output(compared, 2)?) };
        let outcome = golden(&mut conversation.session);
        conversation.session.truncate(0);
        conversation.forget();
        compared.write(outcome?);
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Compares a session with its model's golden vector; returns how many checksums there are.
fn golden(session: &mut Session<'static, Set>) -> Result<usize, Failure> {
    let none = Failure::new(Code::PIPSQUEAK_ERROR_NO_GOLDEN);
    let (prompt, expected) = session.image().golden(session.kv()).ok_or(none)?;
    let (last, others) = prompt.split_last().ok_or(none)?;
    session.truncate(0);
    if prompt.len() > session.remaining() {
        let context = session.remaining();
        return Err(SessionError::ContextFull { context, used: 0, asked: prompt.len() }.into());
    }
    session.fill(others)?;
    session.feed(&[*last], Want::Last)?;
    let mut sums = expected.iter();
    let mut compare = |values: &[f32], what: &str, layer: u32| {
        let (need, got) = (sums.next().copied(), Crc32::new().update_f32(values).finish());
        if need == Some(got) {
            return Ok(());
        }
        let failure = Failure::new(Code::PIPSQUEAK_ERROR_GOLDEN).what(what);
        Err(Failure { layer, ..failure.numbers(need.unwrap_or(0) as usize, got as usize) })
    };
    while let Some(done) = session.step_stage()? {
        if done.stage == session.image().config().last_stage() {
            compare(session.residual(), "residual", done.layer)?;
        }
    }
    compare(session.logits(), "logits", PIPSQUEAK_NONE)?;
    Ok(expected.len())
}

/// Chooses the next token and writes it to `token`. It is not part of the conversation until it is fed.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `NO_LOGITS` when there is nothing to choose from.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_sample(
    session: *mut pipsqueak_session,
    token: *mut u32,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, token) = unsafe { (conversation(session)?, output(token, 2)?) };
        token.write(conversation.session.sample(&mut conversation.sampler)?);
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Writes to `logits` where the logits of the last token are, `count` of them, as many as the vocabulary has tokens. They stay
/// there until the next call with this session.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`, `NO_LOGITS`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_logits(
    session: *mut pipsqueak_session,
    logits: *mut *const f32,
    count: *mut usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, logits, count) = unsafe { (conversation(session)?, output(logits, 2)?, output(count, 3)?) };
        let found = conversation.session.logits();
        if found.is_empty() {
            return Err(Failure::new(Code::PIPSQUEAK_ERROR_NO_LOGITS));
        }
        logits.write(found.as_ptr());
        count.write(found.len());
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Writes to `used` how many positions of the context are in use, and to `context` how many there are.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_position(
    session: *mut pipsqueak_session,
    used: *mut usize,
    context: *mut usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, used, context) = unsafe { (conversation(session)?, output(used, 2)?, output(context, 3)?) };
        used.write(conversation.session.position());
        context.write(conversation.session.plan().options.context);
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Rolls the conversation back to its first `position` tokens, and drops tokens whose steps are not done. The repetition penalty
/// and the text begin anew.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`; `SETTING` when there are fewer tokens.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_truncate(
    session: *mut pipsqueak_session,
    position: usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let conversation = unsafe { conversation(session)? };
        let used = conversation.session.position();
        if position > used {
            let failure = Failure::new(Code::PIPSQUEAK_ERROR_SETTING).argument(2).what("position");
            return Err(failure.numbers(used, position));
        }
        conversation.session.truncate(position);
        conversation.forget();
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Begins a new conversation: `pipsqueak_session_truncate` to nothing.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_reset(
    session: *mut pipsqueak_session,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    // SAFETY: the rules.
    unsafe { pipsqueak_session_truncate(session, 0, failure) }
}

/// Begins a text: what `pipsqueak_session_text` gives from now on. `flags` is 0 for a text that goes on after a prompt, as a new
/// session takes it; or `PIPSQUEAK_TEXT_BEGIN`, `PIPSQUEAK_TEXT_SPECIAL`.
///
/// Errors: `NULL`, `MISALIGNED`, `NOT_OPEN`, `SETTING`, `NO_VOCABULARY`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_begin_text(
    session: *mut pipsqueak_session,
    flags: u32,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let conversation = unsafe { conversation(session)? };
        if flags & !(PIPSQUEAK_TEXT_BEGIN | PIPSQUEAK_TEXT_SPECIAL) != 0 {
            let failure = Failure::new(Code::PIPSQUEAK_ERROR_SETTING).argument(2).what("flags");
            return Err(failure.numbers(3, flags as usize));
        }
        conversation.begin_text(flags);
        if conversation.decoder.is_none() {
            return Err(Failure::new(Code::PIPSQUEAK_ERROR_NO_VOCABULARY));
        }
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Writes the text of the next token to `text`, with a NUL at its end, and to `bytes` how long it is without the NUL.
///
/// The text is whole UTF-8 characters: the beginning of one is held back until its end comes, and bytes that are none are given
/// as U+FFFD. So a token's text may be empty. `pipsqueak_info.text_bytes` are enough for every token's.
///
/// Errors: `NULL`, `MISALIGNED`, `LENGTH`, `NOT_OPEN`, `NO_VOCABULARY`, `TOKEN`; `OUTPUT_TOO_SMALL` says how many bytes would be enough, and
/// the token can be given again.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_text(
    session: *mut pipsqueak_session,
    token: u32,
    text: *mut c_char,
    capacity: usize,
    bytes: *mut usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, bytes) = unsafe { (conversation(session)?, output(bytes, 5)?) };
        // SAFETY: the rules.
        let mut out = unsafe { Text::new(text, capacity, 3)? };
        let decoder = conversation.decoder.as_mut();
        let decoder = decoder.ok_or(Failure::new(Code::PIPSQUEAK_ERROR_NO_VOCABULARY))?;
        // A copy, which is dropped when the buffer is too small.
        let mut next = *decoder;
        next.push(token, |part| out.push(part)).map_err(|error| Failure::from(error).argument(2))?;
        bytes.write(out.finish(3)?);
        *decoder = next;
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}

/// Ends a text: writes U+FFFD when the beginning of a character is held back, else nothing, as `pipsqueak_session_text` does.
/// Four bytes are enough.
///
/// Errors: `NULL`, `MISALIGNED`, `LENGTH`, `NOT_OPEN`, `NO_VOCABULARY`, `OUTPUT_TOO_SMALL`.
///
/// # Safety
/// The rules at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipsqueak_session_end_text(
    session: *mut pipsqueak_session,
    text: *mut c_char,
    capacity: usize,
    bytes: *mut usize,
    failure: *mut pipsqueak_failure,
) -> pipsqueak_error {
    let result = (|| {
        // SAFETY: the rules.
        let (conversation, bytes) = unsafe { (conversation(session)?, output(bytes, 4)?) };
        // SAFETY: the rules.
        let mut out = unsafe { Text::new(text, capacity, 2)? };
        let decoder = conversation.decoder.as_mut();
        let decoder = decoder.ok_or(Failure::new(Code::PIPSQUEAK_ERROR_NO_VOCABULARY))?;
        let mut next = *decoder;
        next.flush(|part| out.push(part));
        bytes.write(out.finish(2)?);
        *decoder = next;
        Ok(())
    })();
    // SAFETY: the rules.
    unsafe { report(failure, result) }
}
