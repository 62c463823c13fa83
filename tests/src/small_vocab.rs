//! Small vocabularies that spell any text.

use pipsqueak_cli::vocab::{PreTokenizer, Token, TokenKind, VocabModel, VocabSource};

fn token(bytes: &[u8], score: f32, kind: TokenKind) -> Token {
    Token { bytes: bytes.to_vec(), score, kind }
}

/// SentencePiece: unknown, BOS, EOS, all bytes, then words and their beginnings: 300 tokens.
pub fn sentencepiece() -> VocabSource {
    let mut tokens = vec![
        token(b"<unk>", 0.0, TokenKind::Unknown),
        token(b"<s>", 0.0, TokenKind::Control),
        token(b"</s>", 0.0, TokenKind::Control),
    ];
    tokens.extend((0..=255u8).map(|byte| token(&[byte], 0.0, TokenKind::Byte)));
    let pieces =
        " e t a o n i s h r d l u é th he the re nd and Once upon a time was ed ing big cat red sat mat on x y z";
    for (i, piece) in pieces.split(' ').enumerate() {
        let piece = if i == 0 { " " } else { piece };
        tokens.push(token(piece.as_bytes(), -(i as f32), TokenKind::Normal));
    }
    tokens.truncate(300);
    tokens.resize(300, token(b"", 0.0, TokenKind::Unused));
    VocabSource {
        model: VocabModel::SentencePiece { add_space_prefix: true },
        tokens,
        merges: vec![],
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        stops: vec![2],
        add_bos: true,
        ignore_merges: false,
    }
}

/// Byte-level BPE: EOS, all bytes, and some merges: 300 tokens.
pub fn bpe() -> VocabSource {
    let mut tokens = vec![token(b"<|endoftext|>", 0.0, TokenKind::Control)];
    tokens.extend((0..=255u8).map(|byte| token(&[byte], 0.0, TokenKind::Normal)));
    let mut merges = Vec::new();
    for pair in [["t", "h"], ["th", "e"], [" ", "the"], ["a", "n"], ["an", "d"], [" ", "a"], ["é", "s"], ["1", "2"]] {
        let find = |text: &str| tokens.iter().position(|token| token.bytes == text.as_bytes());
        let [Some(left), Some(right)] = pair.map(find) else { continue };
        merges.push([left as u32, right as u32, tokens.len() as u32]);
        tokens.push(token(pair.concat().as_bytes(), 0.0, TokenKind::Normal));
    }
    tokens.resize(300, token(b"", 0.0, TokenKind::Unused));
    VocabSource {
        model: VocabModel::Bpe(PreTokenizer::Smollm),
        tokens,
        merges,
        bos: None,
        eos: Some(0),
        unknown: None,
        stops: vec![0],
        add_bos: false,
        ignore_merges: false,
    }
}

/// The ids of the tokens that [`chat`] names.
pub const CHAT: [u32; 3] = [297, 298, 299];

/// One of these vocabularies with three more control tokens, as chat templates use them.
pub fn chat(mut vocab: VocabSource) -> VocabSource {
    for (id, name) in CHAT.into_iter().zip(["<|im_start|>", "<|im_end|>", "<|user|>"]) {
        vocab.tokens[id as usize] = token(name.as_bytes(), 0.0, TokenKind::Control);
    }
    vocab
}

/// Chat templates of all kinds, with a name.
pub const TEMPLATES: [(&str, &str); 8] = [
    (
        "plain",
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    (
        "words of its own where there is no system text",
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nBe a cat.<|im_end|>\n\
         {% endif %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    (
        "white space dropped",
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}<|user|>\n\n{{ m.content | trim }}<|im_end|>\
         {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|user|>\n\n{% endif %}",
    ),
    (
        "words that touch the texts",
        "{% if messages[0].role == 'system' %}{% set system = 'SYS ' + messages[0].content.strip() + ' END\n\n' %}\
         {% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{% for m in messages %}\
         {% if m.role == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content + ' [/INST]' }}\
         {% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}",
    ),
    (
        "no system text",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}{% for m in messages %}\
         {% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('in turns') }}{% endif %}\
         <|im_start|>{{ 'model' if m.role == 'assistant' else 'user' }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>model\n{% endif %}",
    ),
    (
        "no end of turn, only the next one's beginning",
        "{% for m in messages %}{{ '<|user|>' if m.role == 'user' else '<|im_start|>' + m.role }}\n{{ m.content }}\n\
         {% endfor %}<|im_start|>assistant\n",
    ),
    ("no special tokens at all", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"),
    (
        "a system text that is dropped",
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
];

/// One that cannot be split: it shows the thoughts of the last answer only.
pub const UNEVEN: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                          {% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
