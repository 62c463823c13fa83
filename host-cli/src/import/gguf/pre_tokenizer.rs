//! The names that GGUF has for pre-tokenizers.

use crate::vocab::PreTokenizer;

/// What a name in `tokenizer.ggml.pre` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) pre: PreTokenizer,
    /// A word that is a token as a whole is that token.
    pub(super) ignore_merges: bool,
    /// The text begins with BOS where the file has no `add_bos_token`.
    pub(super) add_bos: bool,
}

/// The names that are known, for messages.
pub(in crate::import) const KNOWN: &str = "gpt-2, smollm, starcoder, refact, command-r, llama-bpe, qwen2, qwen35, falcon, mpt, \
    deepseek-llm, deepseek-coder and others of the same rules";

/// The rules of this name. Several names share an expression; llama.cpp, which coined them, says which.
pub(super) fn rules(name: &str) -> Option<Rules> {
    let (pre, ignore_merges, add_bos) = match name {
        "gpt-2" | "gpt2" | "mpt" | "olmo" | "phi-2" | "jais" | "trillion" | "granite-docling" | "exaone4"
        | "gigachat" | "a.x-4.0" | "mellum" => (PreTokenizer::Gpt2, false, false),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => {
            (PreTokenizer::Smollm, false, false)
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" => {
            (PreTokenizer::Llama3, true, true)
        }
        "glm4" | "glm5" => (PreTokenizer::Llama3, true, false),
        "dbrx" | "smaug-bpe" | "chatglm-bpe" => (PreTokenizer::Llama3, false, false),
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "hunyuan" | "megrez" | "kormo" | "f2llmv2" | "grok-2"
        | "solar-open" => (PreTokenizer::Qwen2, false, false),
        "qwen35" => (PreTokenizer::Qwen35, false, false),
        "falcon" => (PreTokenizer::Falcon, false, false),
        "deepseek-llm" => (PreTokenizer::DeepseekLlm, false, false),
        "deepseek-coder" => (PreTokenizer::DeepseekCoder, false, false),
        _ => return None,
    };
    Some(Rules { pre, ignore_merges, add_bos })
}
