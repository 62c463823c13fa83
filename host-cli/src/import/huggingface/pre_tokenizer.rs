//! What `tokenizer.json` does with a text before BPE, by the names that GGUF has for it.

use serde::Deserialize;

use crate::{import::ImportError, vocab::PreTokenizer};

/// A step of a normalizer, pre-tokenizer or post-processor: what is needed of every kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub(super) r#type: String,
    normalizers: Vec<Step>,
    pretokenizers: Vec<Step>,
    processors: Vec<Step>,
    pub(super) prepend: Option<String>,
    pub(super) pattern: Option<Pattern>,
    pub(super) content: Option<String>,
    individual_digits: Option<bool>,
    pub(super) add_prefix_space: Option<bool>,
    use_regex: Option<bool>,
    pub(super) behavior: Option<String>,
    invert: Option<bool>,
    pub(super) replacement: Option<String>,
    pub(super) prepend_scheme: Option<String>,
    pub(super) split: Option<bool>,
    pub(super) single: Vec<Piece>,
}

/// What a step looks for.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(super) enum Pattern {
    String(String),
    Regex(String),
}

/// A part of a post-processor's template.
#[derive(Debug, Deserialize)]
pub(super) enum Piece {
    SpecialToken { id: String },
    Sequence {},
}

impl Step {
    /// Single steps, in order.
    pub(super) fn flat<'a>(&'a self, out: &mut Vec<&'a Step>) {
        if self.r#type != "Sequence" {
            out.push(self);
        }
        for step in self.normalizers.iter().chain(&self.pretokenizers).chain(&self.processors) {
            step.flat(out);
        }
    }
}

/// Expressions that come before a `ByteLevel` without one of its own, and GGUF's names for them. Sources: the
/// `tokenizer.json` of the models.
const EXPRESSIONS: [(&str, &str); 3] = [
    (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", "gpt-2"),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "llama-bpe",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "qwen2",
    ),
];

/// The name of the steps of a byte-level pre-tokenizer; `None` where it has none that is known.
fn name(steps: &[&Step]) -> Option<&'static str> {
    let (last, before) = steps.split_last()?;
    // A space put before the text is no part of any of these.
    if last.r#type != "ByteLevel" || last.add_prefix_space != Some(false) {
        return None;
    }
    match (before, last.use_regex.unwrap_or(true)) {
        ([], true) => Some("gpt-2"),
        ([digits], true) if digits.r#type == "Digits" && digits.individual_digits == Some(true) => Some("smollm"),
        ([split], false) if split.r#type == "Split" => {
            // All that matches is a word; the expressions leave nothing between words.
            let isolated = match (split.behavior.as_deref(), split.invert.unwrap_or(false)) {
                (Some("Isolated"), false) | (Some("Removed"), true) => true,
                _ => return None,
            };
            let Some(Pattern::Regex(regex)) = &split.pattern else { return None };
            EXPRESSIONS.iter().find(|(known, _)| isolated && known == regex).map(|(_, name)| *name)
        }
        _ => None,
    }
}

/// The pre-tokenizer of a byte-level vocabulary.
pub(super) fn byte_level(steps: &[&Step]) -> Result<PreTokenizer, ImportError> {
    match name(steps) {
        Some("gpt-2") => Ok(PreTokenizer::Gpt2),
        Some("smollm") => Ok(PreTokenizer::Smollm),
        Some(name) => Err(ImportError::Tokenizer { found: format!("gpt2 with pre-tokenizer {name:?}") }),
        None => {
            let types: Vec<_> = steps.iter().map(|step| step.r#type.as_str()).collect();
            Err(ImportError::Tokenizer { found: format!("gpt2 with a pre-tokenizer of {}", types.join(", ")) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<PreTokenizer, String> {
        let step: Step = serde_json::from_str(json).unwrap();
        let mut steps = Vec::new();
        step.flat(&mut steps);
        byte_level(&steps).map_err(|error| error.to_string())
    }

    fn split(regex: &str, behavior: &str) -> String {
        let regex = serde_json::to_string(regex).unwrap();
        format!(
            r#"{{"type":"Sequence","pretokenizers":[
                {{"type":"Split","pattern":{{"Regex":{regex}}},"behavior":"{behavior}","invert":false}},
                {{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}}]}}"#
        )
    }

    #[test]
    fn pre_tokenizers_by_their_steps() {
        let gpt2 = r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}"#;
        assert_eq!(read(gpt2), Ok(PreTokenizer::Gpt2));
        let smollm =
            format!(r#"{{"type":"Sequence","pretokenizers":[{{"type":"Digits","individual_digits":true}},{gpt2}]}}"#);
        assert_eq!(read(&smollm), Ok(PreTokenizer::Smollm));
        assert_eq!(read(&split(EXPRESSIONS[0].0, "Isolated")), Ok(PreTokenizer::Gpt2));
        for (json, words) in [
            (split(EXPRESSIONS[1].0, "Isolated"), "\"llama-bpe\""),
            (split(EXPRESSIONS[2].0, "Isolated"), "\"qwen2\""),
            (split(EXPRESSIONS[1].0, "Removed"), "of Split, ByteLevel"),
            (split(r"\p{L}+", "Isolated"), "of Split, ByteLevel"),
            (gpt2.replace("false", "true"), "of ByteLevel"),
            (gpt2.replace("\"use_regex\":true", "\"use_regex\":false"), "of ByteLevel"),
            (smollm.replace("\"individual_digits\":true", "\"individual_digits\":false"), "of Digits, ByteLevel"),
            (r#"{"type":"Whitespace"}"#.into(), "of Whitespace"),
        ] {
            let error = read(&json).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
