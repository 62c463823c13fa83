//! `tokenizer.json`, and what other files say of its tokens.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::{
    Files, InFile,
    config::{Ids, Raw as Config},
    json, names,
    pre_tokenizer::{self, Pattern, Piece, Step},
    safetensors::Pairs,
    scores, within,
};
use crate::{
    import::{
        ImportError,
        gguf::vocab::{STOP_NAMES, bpe_bytes, sentence_piece_bytes, stand_ins},
        llama2c::byte_token,
        shape::bad,
    },
    vocab::{Token, TokenKind, VocabModel, VocabSource},
};

/// What stands for a space in SentencePiece's tokens.
const SPACE: &str = "\u{2581}";
const WHAT: &str = "a tokenizer";

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Step>,
    pre_tokenizer: Option<Step>,
    post_processor: Option<Step>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct Model {
    vocab: Pairs<u32>,
    merges: Vec<Merge>,
    unk_token: Option<String>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// Two tokens, in either of the forms that are written.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a merge: two tokens in an array, or in a text with a space between")]
enum Merge {
    Pair([String; 2]),
    Text(String),
}

/// The algorithm's name alone, to refuse others before their vocabulary is read as if it were BPE's.
#[derive(Deserialize)]
struct Kind {
    model: KindOfModel,
}

#[derive(Deserialize)]
struct KindOfModel {
    r#type: Option<String>,
}

/// `tokenizer_config.json`
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    bos_token: Option<Name>,
    eos_token: Option<Name>,
    add_bos_token: Option<bool>,
    chat_template: Option<Templates>,
}

/// A token's text, or an object with it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a token's text, or an object with its content")]
enum Name {
    Text(String),
    Added { content: String },
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a chat template, or an array of named ones")]
enum Templates {
    One(String),
    Many(Vec<Template>),
}

#[derive(Deserialize)]
struct Template {
    name: String,
    template: String,
}

/// `generation_config.json`
#[derive(Default, Deserialize)]
#[serde(default)]
struct GenerationConfig {
    bos_token_id: Ids,
    eos_token_id: Ids,
}

impl TokenizerConfig {
    fn parse(files: &Files<'_>) -> Result<Self, InFile> {
        let bytes = files.tokenizer_config;
        let read = bytes.map(|bytes| json(bytes, "a tokenizer's configuration")).transpose();
        Ok(read.map_err(within(names::TOKENIZER_CONFIG))?.unwrap_or_default())
    }
}

/// The chat template (Jinja): a file of its own, or in the tokenizer's configuration, where the one called `default` counts.
pub(super) fn chat_template(files: &Files<'_>) -> Result<Option<String>, InFile> {
    if let Some(bytes) = files.chat_template {
        let text = std::str::from_utf8(bytes).map_err(|_| ImportError::NotUtf8 { what: "the chat template".into() });
        return Ok(Some(text.map_err(within(names::CHAT_TEMPLATE))?.into()));
    }
    Ok(match TokenizerConfig::parse(files)?.chat_template {
        Some(Templates::One(template)) => Some(template),
        Some(Templates::Many(all)) => {
            all.into_iter().find(|template| template.name == "default").map(|template| template.template)
        }
        None => None,
    })
}

/// Reads the vocabulary of a model with `rows` tokens; `None` where there is none.
///
/// Tokens that the embedding has beyond the vocabulary's are unused ones. A template that ends a text with EOS is not
/// followed: a text that is to be continued must not be ended.
pub(super) fn read(files: &Files<'_>, config: &Config, rows: u32) -> Result<Option<VocabSource>, InFile> {
    let Some(bytes) = files.tokenizer else { return Ok(None) };
    let tokenizer_config = TokenizerConfig::parse(files)?;
    let generation = files.generation_config.map(|bytes| json(bytes, "a generation configuration")).transpose();
    let generation: GenerationConfig = generation.map_err(within(names::GENERATION_CONFIG))?.unwrap_or_default();

    let in_tokenizer = within(names::TOKENIZER);
    let raw = parse(bytes).map_err(&in_tokenizer)?;
    let model = raw.algorithm().map_err(&in_tokenizer)?;
    let table = Table::new(&raw, model, rows).map_err(&in_tokenizer)?;
    let merges = table.merges(&raw.model.merges).map_err(&in_tokenizer)?;
    let (tokens, merges) = match model {
        VocabModel::Bpe(_) => (table.byte_level(), merges),
        VocabModel::SentencePiece { .. } => (table.sentence_piece(&merges).map_err(&in_tokenizer)?, Vec::new()),
    };

    let first_id = |name: &Option<Name>, ids: [(&str, &Ids); 2]| -> Result<Option<u32>, InFile> {
        let text = name.as_ref().map(|(Name::Text(text) | Name::Added { content: text })| text.as_str());
        if let Some(id) = text.and_then(|text| table.ids.get(text)) {
            return Ok(Some(*id));
        }
        let listed = ids.iter().find_map(|(file, ids)| Some((*file, *ids.all().first()?)));
        listed.map(|(file, id)| in_range("a special token's id", id, rows).map_err(within(file))).transpose()
    };
    let (generation_ids, config_ids) = (&generation.eos_token_id, &config.eos_token_id);
    let in_files = |ids, others| [(names::GENERATION_CONFIG, ids), (names::CONFIG, others)];
    let begins = raw.begins_with().and_then(|name| table.ids.get(name).copied());
    let bos =
        first_id(&tokenizer_config.bos_token, in_files(&generation.bos_token_id, &config.bos_token_id))?.or(begins);
    let eos = first_id(&tokenizer_config.eos_token, in_files(generation_ids, config_ids))?;
    let mut stops: Vec<u32> = eos.into_iter().collect();
    for (file, ids) in in_files(generation_ids, config_ids) {
        for id in ids.all() {
            stops.push(in_range("a token that ends a text", *id, rows).map_err(within(file))?);
        }
    }
    stops.extend((0u32..).zip(&tokens).filter_map(|(id, token)| {
        (token.kind == TokenKind::Control && STOP_NAMES.contains(&token.bytes.as_slice())).then_some(id)
    }));
    stops.sort_unstable();
    stops.dedup();
    let add_bos = tokenizer_config.add_bos_token.unwrap_or(begins.is_some()) && bos.is_some();
    let unknown = raw.model.unk_token.as_ref().and_then(|name| table.ids.get(name.as_str()).copied());
    let ignore_merges = raw.model.ignore_merges == Some(true);
    Ok(Some(VocabSource { model, tokens, merges, bos, eos, unknown, stops, add_bos, ignore_merges }))
}

fn parse(bytes: &[u8]) -> Result<Raw, ImportError> {
    let kind: Kind = json(bytes, WHAT)?;
    match kind.model.r#type.as_deref() {
        Some("BPE") | None => json(bytes, WHAT),
        Some(other) => Err(ImportError::Tokenizer { found: format!("{other:?}") }),
    }
}

fn in_range(what: &str, id: u32, rows: u32) -> Result<u32, ImportError> {
    if id < rows { Ok(id) } else { Err(bad(what, id, format!("below the number of tokens, {rows}"))) }
}

impl Raw {
    /// The algorithm, if every step around it is one that the engine takes too.
    fn algorithm(&self) -> Result<VocabModel, ImportError> {
        let normalizers: Vec<_> = self.normalizer.iter().flat_map(Step::flattened).collect();
        let pre_tokenizers: Vec<_> = self.pre_tokenizer.iter().flat_map(Step::flattened).collect();
        let refuse = |found: String| Err(ImportError::Tokenizer { found });
        let model = &self.model;
        let affix = |affix: &Option<String>| affix.as_ref().is_some_and(|affix| !affix.is_empty());
        if affix(&model.continuing_subword_prefix) || affix(&model.end_of_word_suffix) {
            return refuse("BPE with a prefix or suffix of subwords".into());
        }
        if let Some(dropout) = model.dropout.filter(|dropout| *dropout != 0.0) {
            return refuse(format!("BPE with a dropout of {dropout}"));
        }
        if let Some(added) = self.added_tokens.iter().find(|added| !added.special && added.bends()) {
            let (id, text) = (added.id, &added.content);
            return refuse(format!("with an added token that takes spaces or word ends along (token {id}, {text:?})"));
        }
        let byte_level = pre_tokenizers.iter().any(|step| step.r#type == "ByteLevel");
        if byte_level {
            let pre = pre_tokenizer::byte_level(&pre_tokenizers)?;
            // Qwen's texts are composed first (NFC). Here they are taken as they are, as llama.cpp takes them: nearly all texts are
            // composed already, and others get other tokens.
            if let Some(step) = normalizers.iter().find(|step| step.r#type != "NFC") {
                return refuse(format!("gpt2 with a normalizer of type {}", step.r#type));
            }
            if model.byte_fallback == Some(true) {
                return refuse("gpt2 with byte_fallback".into());
            }
            return Ok(VocabModel::Bpe(pre));
        }
        if model.byte_fallback != Some(true) || model.ignore_merges == Some(true) {
            return refuse("BPE that is neither byte-level nor with byte fallback".into());
        }
        let (mut escapes, mut add_space_prefix) = (false, false);
        for step in &normalizers {
            match step.r#type.as_str() {
                "Prepend" if step.prepend.as_deref() == Some(SPACE) => add_space_prefix = true,
                "Replace" if step.is_about(" ") && step.content.as_deref() == Some(SPACE) => escapes = true,
                other => return refuse(format!("BPE with byte fallback and a normalizer of type {other}")),
            }
        }
        for step in &pre_tokenizers {
            match step.r#type.as_str() {
                "Metaspace" if step.replacement.as_deref() == Some(SPACE) && step.split == Some(false) => {
                    escapes = true;
                    add_space_prefix |= match step.prepend_scheme.as_deref() {
                        Some(scheme) => scheme != "never",
                        None => step.add_prefix_space.unwrap_or(true),
                    };
                }
                // Behind the normalizer that escapes them there are no spaces to split at.
                "Split" if escapes && step.is_about(" ") => {}
                other => return refuse(format!("BPE with byte fallback and a pre-tokenizer of type {other}")),
            }
        }
        if !escapes {
            return refuse("BPE with byte fallback that does not escape spaces".into());
        }
        Ok(VocabModel::SentencePiece { add_space_prefix })
    }

    /// The special token that the post-processor begins a text with.
    fn begins_with(&self) -> Option<&str> {
        let steps = self.post_processor.iter().flat_map(Step::flattened);
        steps.filter(|step| step.r#type == "TemplateProcessing").find_map(|step| match step.single.first()? {
            Piece::SpecialToken { id } => Some(id.as_str()),
            Piece::Sequence {} => None,
        })
    }
}

impl Step {
    fn flattened(&self) -> Vec<&Self> {
        let mut steps = Vec::new();
        self.flat(&mut steps);
        steps
    }

    fn is_about(&self, text: &str) -> bool {
        matches!(&self.pattern, Some(Pattern::String(pattern)) if pattern == text)
    }
}

impl Added {
    /// Whether it takes more than its own text.
    fn bends(&self) -> bool {
        self.single_word || self.lstrip || self.rstrip
    }
}

/// A token's text and kind; `None` where the vocabulary has no token.
type Slot<'a> = Option<(&'a str, TokenKind)>;

/// All tokens by id and by text.
struct Table<'a> {
    slots: Vec<Slot<'a>>,
    ids: HashMap<&'a str, u32>,
}

impl<'a> Table<'a> {
    fn new(raw: &'a Raw, model: VocabModel, rows: u32) -> Result<Self, ImportError> {
        let sentence_piece = matches!(model, VocabModel::SentencePiece { .. });
        // Special tokens that the embedding has no rows for, as Gemma 3's for pictures in a model of texts: no text becomes them.
        let beyond = raw.added_tokens.iter().filter(|added| added.special && added.id >= rows);
        let beyond: HashSet<&str> = beyond.map(|added| added.content.as_str()).collect();
        let vocab = || raw.model.vocab.0.iter().filter(|(text, id)| *id < rows || !beyond.contains(text.as_str()));
        let n = vocab().count();
        // More rows than tokens are padding; so many more are no claim to allocate memory for.
        if n > rows as usize || rows as usize / 2 > n + 512 {
            return Err(ImportError::VocabSize { tokens: n as u64, rows: rows.into() });
        }
        let mut table = Self { slots: vec![None; rows as usize], ids: HashMap::with_capacity(n) };
        for (text, id) in vocab() {
            let kind = if sentence_piece && byte_token(text.as_bytes()).is_some() {
                TokenKind::Byte
            } else if sentence_piece && raw.model.unk_token.as_deref() == Some(text) {
                TokenKind::Unknown
            } else {
                TokenKind::Normal
            };
            table.put(text, *id, kind)?;
        }
        for added in &raw.added_tokens {
            let text = added.content.as_str();
            match table.ids.get(text) {
                None if beyond.contains(text) => continue,
                None => table.put(text, added.id, TokenKind::Normal)?,
                Some(id) if *id == added.id => {}
                Some(_) => {
                    return Err(ImportError::BadToken {
                        id: added.id.into(),
                        why: "is in the vocabulary by another id",
                    });
                }
            }
            if let Some(Some((_, kind))) = table.slots.get_mut(added.id as usize)
                && *kind != TokenKind::Unknown
            {
                *kind = if added.special { TokenKind::Control } else { TokenKind::UserDefined };
            }
        }
        Ok(table)
    }

    fn put(&mut self, text: &'a str, id: u32, kind: TokenKind) -> Result<(), ImportError> {
        let id = in_range(&format!("the id of token {text:?}"), id, self.slots.len() as u32)?;
        if self.ids.insert(text, id).is_some() {
            return Err(ImportError::Duplicate { what: "token", name: text.into() });
        }
        match self.slots.get_mut(id as usize) {
            Some(slot @ None) => *slot = Some((text, kind)),
            _ => return Err(ImportError::BadToken { id: id.into(), why: "is there twice" }),
        }
        Ok(())
    }

    fn kind(&self, id: u32) -> Option<TokenKind> {
        self.slots.get(id as usize).copied().flatten().map(|(_, kind)| kind)
    }

    /// Merges as left, right and merged id. Those of tokens that are found in a text before anything is merged never apply, and
    /// are left out.
    fn merges(&self, merges: &[Merge]) -> Result<Vec<[u32; 3]>, ImportError> {
        let mut out = Vec::with_capacity(merges.len());
        let mut joined = String::new();
        for (rank, merge) in merges.iter().enumerate() {
            let parts = match merge {
                Merge::Pair([left, right]) => Some((left.as_str(), right.as_str())),
                // No token holds a space, as that is written by a stand-in.
                Merge::Text(text) => text.split_once(' '),
            };
            let found = parts.and_then(|(left, right)| {
                joined.clear();
                joined.extend([left, right]);
                let id = |text: &str| self.ids.get(text).copied();
                Some([id(left)?, id(right)?, id(&joined)?])
            });
            let ids = found.ok_or_else(|| {
                let text = match merge {
                    Merge::Pair([left, right]) => format!("{left:?} and {right:?}"),
                    Merge::Text(text) => format!("{text:?}"),
                };
                bad(&format!("merge {rank}"), text, "two tokens that spell a third one".into())
            })?;
            if ids.iter().all(|id| self.kind(*id) == Some(TokenKind::Normal)) {
                out.push(ids);
            }
        }
        Ok(out)
    }

    fn byte_level(&self) -> Vec<Token> {
        let stand_ins = stand_ins();
        let token = |slot: &Slot<'_>| match slot {
            Some((text, kind)) => {
                Token { bytes: bpe_bytes(*kind, text.as_bytes(), &stand_ins), score: 0.0, kind: *kind }
            }
            None => Token { bytes: Vec::new(), score: 0.0, kind: TokenKind::Unused },
        };
        self.slots.iter().map(token).collect()
    }

    fn sentence_piece(&self, merges: &[[u32; 3]]) -> Result<Vec<Token>, ImportError> {
        let plain = |slot: &Slot<'a>| slot.filter(|(_, kind)| *kind == TokenKind::Normal);
        let texts: Vec<Option<&str>> = self.slots.iter().map(|slot| plain(slot).map(|(text, _)| text)).collect();
        let scores = scores::scores(&texts, merges)?;
        let token = |((id, slot), score): ((u64, &Slot<'_>), f32)| match slot {
            Some((text, kind)) => {
                Ok(Token { bytes: sentence_piece_bytes(*kind, id, text.as_bytes())?, score, kind: *kind })
            }
            None => Ok(Token { bytes: Vec::new(), score, kind: TokenKind::Unused }),
        };
        (0..).zip(&self.slots).zip(scores).map(token).collect()
    }
}
