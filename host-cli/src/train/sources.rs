//! Where a run's texts, vocabulary and models come from.

use std::path::{Path, PathBuf};

use pipsqueak::{
    Image, KvType, Sampling, Vocab,
    config::Activation,
    kernels::{Format, Panel, select},
};

use super::{
    run::Conduct,
    settings::{Files, Settings},
    trainer::Teacher,
    weights::Weights,
};
use crate::{
    corpus::{self, Openings, Writing, generate},
    engine,
    failure::Failure,
    input::Input,
    output::Output,
    pack::{ModelParts, PackOptions, Packed, Quant, pack},
    score::Window,
    vocab,
};

/// A model to start from or to learn from, every weight as `f32`.
pub(super) struct Known {
    packed: Packed,
    path: PathBuf,
}

impl Known {
    pub(super) fn open(path: &Path, tokenizer: Option<&Path>, threads: usize) -> Result<Self, Failure> {
        let input = Input::open(Some(path))?;
        let tokenizer = tokenizer.filter(|_| input.image().is_none());
        let parts = input.parts(tokenizer)?;
        let panel = |_| Panel::R1;
        let quant = Quant::To(Format::F32);
        let options = PackOptions { quant, head: quant, ..PackOptions::keep(&panel, threads) };
        let named = |error| Failure::new(format_args!("{}: {error}", path.display()));
        let packed = pack(&parts, &options).map_err(named)?;
        Ok(Self { packed, path: path.into() })
    }

    pub(super) fn image(&self) -> Result<Image<'_>, Failure> {
        Image::open(self.packed.bytes()).map_err(Failure::new)
    }

    pub(super) fn weights(&self) -> Result<Weights, Failure> {
        let image = self.image()?;
        if image.config().activation != Activation::Silu {
            let what = image.config().activation;
            return Err(Failure::new(format_args!(
                "{}: a gate of the kind {what:?}: training knows SiLU gates only",
                self.path.display()
            )));
        }
        Weights::from_image(&image).ok_or_else(|| Failure::new(format_args!("{}: no weights", self.path.display())))
    }
}

/// The vocabulary's section, from a model or made from the text.
pub(super) fn vocabulary(known: Option<&Known>, train: &[String], size: usize) -> Result<Vec<u8>, Failure> {
    if let Some(known) = known {
        let bytes = known.image()?.vocab_bytes().to_vec();
        if bytes.is_empty() {
            return Err(Failure::new(format_args!(
                "{} has no vocabulary: give a llama2.c .bin its tokenizer with --tokenizer",
                known.path.display()
            )));
        }
        return Ok(bytes);
    }
    let source = corpus::train_bpe(train, size).map_err(Failure::usage)?;
    vocab::build(&source).map_err(Failure::new)
}

/// Documents as tokens: start token, text, and the token that ends a text.
pub(super) fn tokenise(vocab: &Vocab<'_>, documents: &[String]) -> Result<Vec<Vec<u32>>, Failure> {
    let start = corpus::start_token(vocab);
    let start = start.ok_or_else(|| Failure::new("the vocabulary has no BOS token to start documents with"))?;
    let end = vocab.stops().next().unwrap_or(start);
    let tokens = |document: &String| {
        let mut ids = vec![start];
        ids.extend(engine::encode(vocab, document, false, false)?);
        ids.push(end);
        Ok(ids)
    };
    documents.iter().map(tokens).collect()
}

/// The text to learn from as tokens; an error where it does not fill one context.
pub(super) fn lesson(
    vocab: &Vocab<'_>,
    documents: &[String],
    ctx: usize,
    path: &Path,
) -> Result<Vec<Vec<u32>>, Failure> {
    let train = tokenise(vocab, documents)?;
    let tokens: usize = train.iter().map(Vec::len).sum();
    if tokens < ctx {
        return Err(Failure::new(format_args!(
            "{}: the text has {tokens} tokens to learn from and the context {ctx}: lower --ctx, or add text",
            path.display()
        )));
    }
    Ok(train)
}

/// The documents held out, each a window that `eval --documents` would score.
pub(super) fn windows(vocab: &Vocab<'_>, documents: &[String], ctx: usize) -> Result<Vec<Window>, Failure> {
    let window = |mut ids: Vec<u32>| {
        // The end of a text is not text.
        ids.pop();
        ids.truncate(ctx);
        Window { ids, first: 0 }
    };
    Ok(tokenise(vocab, documents)?.into_iter().map(window).filter(|window| window.ids.len() > 1).collect())
}

/// Reads the documents of a text file.
pub(super) fn read_documents(path: &Path) -> Result<Vec<String>, Failure> {
    let text = engine::read_text(path)?;
    let documents: Vec<String> = corpus::documents(&text).map(|document| document.into_owned()).collect();
    if documents.is_empty() {
        return Err(Failure::new(format_args!("{}: the text is empty", path.display())));
    }
    Ok(documents)
}

/// What the teacher writes, in a file beside the image, so that a resumed run reads the same.
pub(super) fn written(
    files: &Files,
    conduct: &Conduct<'_>,
    teacher: &Known,
    settings: &Settings,
    train: &[String],
) -> Result<Vec<String>, Failure> {
    let path = files.beside("written.txt");
    if !(conduct.resume && path.exists()) {
        write_documents(&path, conduct, teacher, settings, train)?;
    }
    // From the file in any case, so that a run and its resumption read the same.
    read_documents(&path)
}

fn write_documents(
    path: &Path,
    conduct: &Conduct<'_>,
    teacher: &Known,
    settings: &Settings,
    train: &[String],
) -> Result<(), Failure> {
    let panel = |format| select::best().panel(format);
    let image = teacher.image()?;
    let parts = ModelParts::from_image(&image);
    // A teacher's writing need not be exact, and int8 is faster.
    let quant = Quant::To(Format::Q8);
    let options = PackOptions { quant, head: quant, ..PackOptions::keep(&panel, conduct.threads) };
    let packed = pack(&parts, &options)?;
    let image = Image::open(packed.bytes()).map_err(Failure::new)?;
    let vocab = engine::vocab(&image, None)?;
    let text = train.join(&format!("\n{}\n", corpus::SEPARATOR));
    let openings = Openings::new(&text, Some(8));
    let writing = Writing {
        tokens: conduct.write,
        // As the teacher predicts, nothing cut off.
        sampling: Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: settings.seed,
        },
        kv: KvType::F16,
        context: (settings.ctx as usize).min(image.config().seq_len as usize),
        threads: conduct.threads,
        openings: openings.as_ref(),
    };
    let bar = engine::bar(conduct.write, "writing", "{pos}/{len} tokens");
    let mut output = Output::create(path)?;
    generate(&image, select::best(), &writing, |document| {
        bar.inc(document.written());
        let text = vocab::decode(&vocab, &document.ids, false).map_err(Failure::new)?;
        let text = String::from_utf8_lossy(&text).trim().to_string();
        if !text.is_empty() {
            output.write(format!("{text}\n{}\n", corpus::SEPARATOR).as_bytes())?;
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    output.finish()
}

/// A teacher and the CRC of its weights.
pub(super) fn adopt(known: &Known, vocab: &[u8], ctx: usize) -> Result<(Teacher, u32), Failure> {
    let image = known.image()?;
    if image.vocab_bytes() != vocab {
        return Err(Failure::usage(format_args!(
            "{} and the model of --from have different vocabularies: a teacher's must be the student's",
            known.path.display()
        )));
    }
    if ctx > image.config().seq_len as usize {
        return Err(Failure::usage(format_args!(
            "--ctx {ctx}: the teacher's context is {} tokens",
            image.config().seq_len
        )));
    }
    let weights = known.weights()?;
    let crc = crc_of(&weights);
    Ok((Teacher::new(&weights, image.rope(), ctx).map_err(Failure::new)?, crc))
}

pub(super) fn crc_of(weights: &Weights) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    weights.groups.iter().flat_map(|group| &group.values).for_each(|x| crc.update(&x.to_le_bytes()));
    crc.finalize()
}
