//! What a command line names as its model: a file of any kind, a folder, or nothing, which is the model in the box.

use std::path::Path;

use pipsqueak::Image;

use crate::{
    folder::Folder,
    import::{self, ImportError, huggingface},
    model::{Mapped, OpenError},
    pack::ModelParts,
    source::Source,
    vocab::VocabSource,
};

/// A model before anything is read of it.
pub enum Input {
    /// A packed image, a GGUF or a llama2.c `.bin`.
    File(Mapped),
    /// A Hugging Face folder.
    Folder(Folder),
}

/// Whether `bytes` begin a packed image.
fn is_image(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PIPS")
}

impl Input {
    /// Maps a file or the files of a folder, or takes the model in the box where none is named.
    pub fn open(path: Option<&Path>) -> Result<Self, OpenError> {
        match path.filter(|path| path.is_dir()) {
            Some(folder) => Folder::open(folder).map(Self::Folder),
            None => Mapped::model(path).map(Self::File),
        }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(file) => file.path(),
            Self::Folder(folder) => folder.path(),
        }
    }

    /// The bytes of a packed image, if that is what it is.
    pub fn image(&self) -> Option<&[u8]> {
        match self {
            Self::File(file) => Some(file.bytes()).filter(|bytes| is_image(bytes)),
            Self::Folder(_) => None,
        }
    }

    /// Whether it is a llama2.c file, whose users count steps, prompt included, rather than new tokens.
    pub fn counts_steps(&self) -> bool {
        let Self::File(file) = self else { return false };
        !is_image(file.bytes()) && !file.bytes().starts_with(import::gguf::MAGIC)
    }

    /// Gives the memory of some of its bytes back to the system; see [`Mapped::let_go`].
    pub fn let_go(&self, bytes: &[u8]) {
        match self {
            Self::File(file) => file.let_go(bytes),
            Self::Folder(folder) => folder.let_go(bytes),
        }
    }

    /// Its parts, to be packed. `tokenizer` takes the place of a foreign file's own vocabulary.
    pub fn parts(&self, tokenizer: Option<&Path>) -> Result<ModelParts<'_>, OpenError> {
        if let Some(bytes) = self.image() {
            let path = || self.path().to_path_buf();
            if tokenizer.is_some() {
                return Err(OpenError::TokenizerNotWanted { path: path() });
            }
            let image = Image::open(bytes).map_err(|error| OpenError::Image { path: path(), error })?;
            return Ok(ModelParts::from_image(&image));
        }
        let source = self.source(tokenizer)?;
        ModelParts::from_source(&source).map_err(|error| OpenError::Pack { path: self.path().into(), error })
    }

    /// A foreign file as its importer reads it.
    fn source(&self, tokenizer: Option<&Path>) -> Result<Source<'_>, OpenError> {
        let mut source = match self {
            Self::File(file) => import::open(file.bytes(), None).map_err(|error| self.error(error))?,
            Self::Folder(folder) => folder.named("", huggingface::open(&folder.files()))?,
        };
        if let Some(path) = tokenizer {
            let file = Mapped::open(path)?;
            let replaced = import::replace_vocab(&mut source, file.bytes());
            replaced.map_err(|error| OpenError::Import { path: path.into(), error })?;
        }
        Ok(source)
    }

    fn error(&self, error: ImportError) -> OpenError {
        OpenError::Import { path: self.path().into(), error }
    }
}

/// The vocabulary of a model that is not a packed image. Weights are not touched, and a GGUF or a folder without any will do.
pub fn vocab(path: Option<&Path>, tokenizer: Option<&Path>) -> Result<Option<VocabSource>, OpenError> {
    if let Some(folder) = path.filter(|path| path.is_dir() && tokenizer.is_none()) {
        let folder = Folder::without_weights(folder)?;
        return folder.named("", huggingface::vocab_only(&folder.files())).map(Some);
    }
    let input = Input::open(path)?;
    match &input {
        Input::File(file) if tokenizer.is_none() && file.bytes().starts_with(import::gguf::MAGIC) => {
            import::gguf::vocab_only(file.bytes()).map(Some).map_err(|error| input.error(error))
        }
        _ => Ok(input.source(tokenizer)?.vocab),
    }
}
