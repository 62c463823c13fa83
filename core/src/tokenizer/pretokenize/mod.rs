//! Cuts text into words before byte-level BPE; small state machines that may stop after any character.

mod deepseek;
mod gpt2;
mod llama3;

use super::layout;

/// How text is cut into words before byte-level BPE.
///
/// Sources of the expressions: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2), and
/// what the makers of the models publish beside them. Rust's `\s` and Unicode 16.0 are meant throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[repr(u8)]
pub enum PreTokenizer {
    /// GPT-2's regular expression (also MPT, OLMo, Phi-2):
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Gpt2 = layout::PRE_GPT2,
    /// Every `\p{N}` apart, then GPT-2's regular expression on what lies between (SmolLM, StarCoder, Command R).
    Smollm = layout::PRE_SMOLLM,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}`, then
    /// `| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
    Llama3 = layout::PRE_LLAMA3,
    /// As Llama 3, but every `\p{N}` apart.
    Qwen2 = layout::PRE_QWEN2,
    /// As Qwen 2, but `\p{M}` are letters.
    Qwen35 = layout::PRE_QWEN35,
    /// Runs of ``[\p{P}\$\+<=>\^~\|`]`` apart, then GPT-2's regular expression, then `[0-9][0-9][0-9]` apart.
    Falcon = layout::PRE_FALCON,
    /// Line ends, cased letters, punctuation, white space before those, Chinese and numbers apart, each in its turn.
    DeepseekLlm = layout::PRE_DEEPSEEK_LLM,
    /// Likewise with all letters and all punctuation, and every number apart.
    DeepseekCoder = layout::PRE_DEEPSEEK_CODER,
}

impl PreTokenizer {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Gpt2,
        Self::Smollm,
        Self::Llama3,
        Self::Qwen2,
        Self::Qwen35,
        Self::Falcon,
        Self::DeepseekLlm,
        Self::DeepseekCoder,
    ];

    /// The pre-tokenizer with this number in a stored vocabulary.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            layout::PRE_GPT2 => Self::Gpt2,
            layout::PRE_SMOLLM => Self::Smollm,
            layout::PRE_LLAMA3 => Self::Llama3,
            layout::PRE_QWEN2 => Self::Qwen2,
            layout::PRE_QWEN35 => Self::Qwen35,
            layout::PRE_FALCON => Self::Falcon,
            layout::PRE_DEEPSEEK_LLM => Self::DeepseekLlm,
            layout::PRE_DEEPSEEK_CODER => Self::DeepseekCoder,
            _ => return None,
        })
    }

    /// Its number in a stored vocabulary.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The cargo feature that links it.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Gpt2 | Self::Smollm => "vocab-bpe",
            Self::Llama3 | Self::Qwen2 => "pre-llama3",
            Self::Qwen35 => "pre-qwen35",
            Self::Falcon => "pre-falcon",
            Self::DeepseekLlm | Self::DeepseekCoder => "pre-deepseek",
        }
    }

    /// Whether this build has its code.
    pub const fn is_linked(self) -> bool {
        match self {
            Self::Gpt2 | Self::Smollm => cfg!(feature = "vocab-bpe"),
            Self::Llama3 | Self::Qwen2 => cfg!(feature = "pre-llama3"),
            Self::Qwen35 => cfg!(feature = "pre-qwen35"),
            Self::Falcon => cfg!(feature = "pre-falcon"),
            Self::DeepseekLlm | Self::DeepseekCoder => cfg!(feature = "pre-deepseek"),
        }
    }

    /// The words of a text: all of it, in pieces that are not empty. Byte-level BPE merges nothing across their ends.
    /// One that is not linked cuts as GPT-2's does.
    pub fn words(self, text: &str) -> impl Iterator<Item = &str> {
        let mut start = 0;
        core::iter::from_fn(move || {
            let mut cutter = Cutter::new(self, start);
            let end = loop {
                if let Some(end) = cutter.advance(text, &mut { u32::MAX }) {
                    break end;
                }
            };
            let word = text.get(start..end).filter(|word| !word.is_empty())?;
            start = end;
            Some(word)
        })
    }
}

/// The search for the end of one word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cutter {
    Gpt2(gpt2::Cutter),
    Llama3(llama3::Cutter),
    Deepseek(deepseek::Cutter),
}

impl Cutter {
    /// A word begins at byte `start`.
    pub(super) fn new(pre: PreTokenizer, start: usize) -> Self {
        match pre {
            PreTokenizer::Llama3 | PreTokenizer::Qwen2 | PreTokenizer::Qwen35 if cfg!(feature = "pre-llama3") => {
                Self::Llama3(llama3::Cutter::new(pre, start))
            }
            PreTokenizer::DeepseekLlm | PreTokenizer::DeepseekCoder if cfg!(feature = "pre-deepseek") => {
                Self::Deepseek(deepseek::Cutter::new(pre, start))
            }
            pre => Self::Gpt2(gpt2::Cutter::new(pre, start)),
        }
    }

    /// Takes at most `budget` steps through `text` (which ends where no word may reach over), of a character each, and
    /// lowers `budget` by as much. Returns where the word ends when that is known; a word is never empty unless the text
    /// is at its end.
    pub(super) fn advance(&mut self, text: &str, budget: &mut u32) -> Option<usize> {
        while let Some(rest) = budget.checked_sub(1) {
            *budget = rest;
            let end = match self {
                Self::Gpt2(cutter) => cutter.step(text),
                Self::Llama3(cutter) if cfg!(feature = "pre-llama3") => cutter.step(text),
                Self::Deepseek(cutter) if cfg!(feature = "pre-deepseek") => cutter.step(text),
                // Made by none of these builds.
                _ => Some(text.len()),
            };
            if end.is_some() {
                return end;
            }
        }
        None
    }
}

/// The character at byte `at`, and where it ends.
fn char_at(text: &str, at: usize) -> Option<(char, usize)> {
    let c = text.get(at..)?.chars().next()?;
    Some((c, at + c.len_utf8()))
}

/// Bytes of `s`, `t`, `m`, `d`, `re`, `ve` or `ll` at byte `at`, behind an apostrophe; of either case, if `any_case`:
/// to Unicode, and to regular expressions with it, ſ (U+017F) is an s too.
fn contraction(text: &str, at: usize, any_case: bool) -> Option<usize> {
    let fold = |(c, end): (char, usize)| match c {
        'ſ' if any_case => ('s', end),
        c if any_case => (c.to_ascii_lowercase(), end),
        c => (c, end),
    };
    let (first, end) = fold(char_at(text, at)?);
    if matches!(first, 's' | 't' | 'm' | 'd') {
        return Some(end - at);
    }
    let (second, end) = fold(char_at(text, end)?);
    matches!((first, second), ('r' | 'v', 'e') | ('l', 'l')).then_some(end - at)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// The words, reading `budget` characters at a time.
    fn words(pre: PreTokenizer, text: &str, budget: u32) -> Vec<&str> {
        let (mut out, mut start) = (Vec::new(), 0);
        while start < text.len() {
            let mut cutter = Cutter::new(pre, start);
            let end = loop {
                if let Some(end) = cutter.advance(text, &mut { budget }) {
                    break end;
                }
            };
            out.push(&text[start..end]);
            start = end;
        }
        assert!(pre.words(text).eq(out.iter().copied()), "{text:?}");
        out
    }

    #[test]
    fn cuts_as_the_regular_expression_does() {
        for budget in [1, 2, 1000] {
            let gpt2 = |text| words(PreTokenizer::Gpt2, text, budget);
            let smollm = |text| words(PreTokenizer::Smollm, text, budget);
            assert_eq!(gpt2("Hello world's  end"), ["Hello", " world", "'s", " ", " end"]);
            assert_eq!(gpt2("we'll they'RE 'x' '"), ["we", "'ll", " they", "'", "RE", " '", "x", "'", " '"]);
            assert_eq!(gpt2("a 123 b45"), ["a", " 123", " b", "45"]);
            assert_eq!(smollm("a 123 b45"), ["a", " ", "1", "2", "3", " b", "4", "5"]);
            assert_eq!(gpt2("a   1"), ["a", "  ", " 1"]);
            assert_eq!(smollm("a   1"), ["a", "   ", "1"]);
            assert_eq!(gpt2("x\n\n\ny\t z  "), ["x", "\n\n", "\n", "y", "\t", " z", "  "]);
            assert_eq!(gpt2("!?'s é\u{301}ü ²½"), ["!?'", "s", " é", "\u{301}", "ü", " ²½"]);
            assert_eq!(gpt2("\u{3000}\u{a0}漢字🙂🙂 🙂"), ["\u{3000}", "\u{a0}", "漢字", "🙂🙂", " 🙂"]);
            assert_eq!(gpt2(" "), [" "]);
            assert!(gpt2("").is_empty());
        }
    }

    #[test]
    #[cfg(feature = "pre-qwen35")]
    fn cuts_as_llama_3_and_qwen_do() {
        for budget in [1, 2, 1000] {
            let llama3 = |text| words(PreTokenizer::Llama3, text, budget);
            let qwen2 = |text| words(PreTokenizer::Qwen2, text, budget);
            let qwen35 = |text| words(PreTokenizer::Qwen35, text, budget);
            assert_eq!(llama3("we'Ll 'ſ'x \"y!z"), ["we", "'Ll", " '", "ſ", "'x", " \"", "y", "!z"]);
            assert_eq!(llama3("'ſ'"), ["'ſ", "'"]);
            assert_eq!(llama3("a 12345"), ["a", " ", "123", "45"]);
            assert_eq!(qwen2("a 12"), ["a", " ", "1", "2"]);
            assert_eq!(llama3("a  \n b\r\n\n  c;\n\nd "), ["a", "  \n", " b", "\r\n\n", " ", " c", ";\n\n", "d", " "]);
            assert_eq!(llama3(" \n \n  x"), [" \n \n", " ", " x"]);
            assert_eq!(llama3("e\u{301}a"), ["e", "\u{301}a"]);
            assert_eq!(qwen35("e\u{301}a \u{301}!"), ["e\u{301}a", " \u{301}", "!"]);
        }
    }

    #[test]
    #[cfg(all(feature = "pre-falcon", feature = "pre-deepseek"))]
    fn cuts_as_falcon_and_deepseek_do() {
        for budget in [1, 2, 1000] {
            let falcon = |text| words(PreTokenizer::Falcon, text, budget);
            let llm = |text| words(PreTokenizer::DeepseekLlm, text, budget);
            let coder = |text| words(PreTokenizer::DeepseekCoder, text, budget);
            assert_eq!(falcon("it's  $5 12345²6"), ["it", "'", "s", "  ", "$", "5", " ", "123", "45²6"]);
            assert_eq!(
                llm("Hé  x!\u{3000}\n12 漢。字 © "),
                ["H", "é", " ", " x", "!", "\u{3000}", "\n", "12", " ", "漢", "。", "字", " ©", " "]
            );
            assert_eq!(coder("Hé  x12 !\r\n漢字"), ["Hé", " ", " x", "1", "2", " !", "\r", "\n", "漢字"]);
        }
    }
}
