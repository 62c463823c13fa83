//! The regular expressions behind the pre-tokenizers: what they cut by hand is compared with these.

use pipsqueak::tokenizer::PreTokenizer;

/// GPT-2's.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The class of letters in deepseek-llm's.
pub const CASED: &str = "[\
    A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ\
    -ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰\
    -𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃\
    ]";

/// Chinese, and more, in DeepSeek's.
const CHINESE: &str = "[一-龥ࠀ-一가-퟿]+";

/// Alternatives of Llama 3's and Qwen's.
const CONTRACTION: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const LETTERS: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+";
const OTHERS: &str = r" ?[^\s\p{L}\p{N}]+[\r\n]*";
const SPACE: &str = r"\s*[\r\n]+|\s+(?!\S)|\s+";

/// The expressions of a pre-tokenizer. Each is applied to the pieces that those before it left: what it matches are pieces,
/// and so is what lies between.
pub fn expressions(pre: PreTokenizer) -> Vec<String> {
    let any = |alternatives: &[&str]| vec![alternatives.join("|")];
    let in_turn = |expressions: &[&str]| expressions.iter().map(ToString::to_string).collect();
    match pre {
        PreTokenizer::Gpt2 => any(&[GPT2]),
        PreTokenizer::Smollm => in_turn(&[r"\p{N}", GPT2]),
        PreTokenizer::Llama3 => any(&[CONTRACTION, LETTERS, r"\p{N}{1,3}", OTHERS, SPACE]),
        PreTokenizer::Qwen2 => any(&[CONTRACTION, LETTERS, r"\p{N}", OTHERS, SPACE]),
        PreTokenizer::Qwen35 => {
            any(&[CONTRACTION, r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", r"\p{N}", r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*", SPACE])
        }
        PreTokenizer::Falcon => in_turn(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
        PreTokenizer::DeepseekLlm => in_turn(&[
            r"[\r\n]",
            &format!(r"\s?{CASED}+"),
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            CHINESE,
            r"\p{N}+",
        ]),
        PreTokenizer::DeepseekCoder => in_turn(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CHINESE, r"\p{N}"]),
        _ => panic!("no expressions for {pre:?}"),
    }
}
