//! What `tokenizer.json` does with a text before BPE.

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

/// What begins the expressions of many models, whatever the case.
const CONTRACTION: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

/// The expression that comes before a `ByteLevel` without one of its own. Sources: the `tokenizer.json` of the models.
fn expression(pre: PreTokenizer) -> Option<String> {
    let others = r" ?[^\s\p{L}\p{N}]+[\r\n]*";
    let slashes = r" ?[^\s\p{L}\p{N}]+[\r\n/]*";
    let space = r"\s*[\r\n]+|\s+(?!\S)|\s+";
    let before = r"[^\r\n\p{L}\p{N}]?";
    // Words of capitals and small letters, with what may stand behind them.
    let cased = |behind: &str| {
        let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
        format!("{before}{upper}*{lower}+{behind}|{before}{upper}+{lower}*{behind}")
    };
    let letters = format!(r"{before}\p{{L}}+");
    let alternatives: &[&str] = match pre {
        PreTokenizer::Gpt2 => &[r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
        PreTokenizer::Llama3 => &[CONTRACTION, &letters, r"\p{N}{1,3}", others, space],
        PreTokenizer::Qwen2 => &[CONTRACTION, &letters, r"\p{N}", others, space],
        PreTokenizer::Qwen35 => {
            let (letters, others) = (format!(r"{before}[\p{{L}}\p{{M}}]+"), r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*");
            return Some([CONTRACTION, &letters, r"\p{N}", others, space].join("|"));
        }
        PreTokenizer::Gpt4o => {
            return Some([&cased(&format!("{CONTRACTION}?")), r"\p{N}{1,3}", slashes, space].join("|"));
        }
        PreTokenizer::Tekken => return Some([&cased(""), r"\p{N}", slashes, space].join("|")),
        _ => return None,
    };
    Some(alternatives.join("|"))
}

/// The pre-tokenizer of these steps; `None` where they are none that is known.
fn known(steps: &[&Step]) -> Option<PreTokenizer> {
    let (last, before) = steps.split_last()?;
    // A space put before the text is no part of any of these.
    if last.r#type != "ByteLevel" || last.add_prefix_space != Some(false) {
        return None;
    }
    match (before, last.use_regex.unwrap_or(true)) {
        ([], true) => Some(PreTokenizer::Gpt2),
        ([digits], true) if digits.r#type == "Digits" && digits.individual_digits == Some(true) => {
            Some(PreTokenizer::Smollm)
        }
        ([split], false) if split.r#type == "Split" => {
            // All that matches is a word; the expressions leave nothing between words.
            let isolated = match (split.behavior.as_deref(), split.invert.unwrap_or(false)) {
                (Some("Isolated"), false) | (Some("Removed"), true) => true,
                _ => return None,
            };
            let Some(Pattern::Regex(regex)) = &split.pattern else { return None };
            PreTokenizer::ALL.into_iter().find(|pre| isolated && expression(*pre).as_ref() == Some(regex))
        }
        _ => None,
    }
}

/// The pre-tokenizer of a byte-level vocabulary.
pub(super) fn byte_level(steps: &[&Step]) -> Result<PreTokenizer, ImportError> {
    known(steps).ok_or_else(|| {
        let types: Vec<_> = steps.iter().map(|step| step.r#type.as_str()).collect();
        ImportError::Tokenizer { found: format!("gpt2 with a pre-tokenizer of {}", types.join(", ")) }
    })
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
        for pre in PreTokenizer::ALL {
            if let Some(expression) = expression(pre) {
                assert_eq!(read(&split(&expression, "Isolated")), Ok(pre));
            }
        }
        let llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        assert_eq!(read(&split(llama3, "Isolated")), Ok(PreTokenizer::Llama3));
        for (json, words) in [
            (split(llama3, "Removed"), "of Split, ByteLevel"),
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
