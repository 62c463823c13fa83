//! A Hugging Face folder on disk: which of its files are there, each of them mapped.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    import::{
        ImportError,
        huggingface::{self, Files, InFile, names},
    },
    model::{Mapped, OpenError},
};

/// Files beside `config.json` and the weights that are read where they are there.
const BESIDE: [&str; 4] = [names::GENERATION_CONFIG, names::TOKENIZER, names::TOKENIZER_CONFIG, names::CHAT_TEMPLATE];
/// Weights that are not read.
const OTHER_WEIGHTS: [&str; 4] =
    ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.safetensors", "tf_model.h5"];

/// A folder, its files mapped.
pub struct Folder {
    path: PathBuf,
    name: String,
    config: Mapped,
    beside: Vec<(&'static str, Mapped)>,
    index: Option<Mapped>,
    /// In the order of their names.
    weights: Vec<(String, Mapped)>,
}

impl Folder {
    /// Maps the files of a folder; nothing but an index of shards is read.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut folder = Self::without_weights(path)?;
        if let Some(weights) = optional(path, names::WEIGHTS)? {
            folder.weights.push((names::WEIGHTS.into(), weights));
        } else if let Some(index) = optional(path, names::INDEX)? {
            for shard in folder.named(names::INDEX, huggingface::shards(index.bytes()))? {
                let file = Mapped::open(&path.join(&shard))?;
                folder.weights.push((shard, file));
            }
            folder.index = Some(index);
        } else {
            let instead = OTHER_WEIGHTS.into_iter().find(|name| path.join(name).exists()).unwrap_or_default();
            return Err(OpenError::Import { path: path.into(), error: ImportError::NoWeights { instead } });
        }
        Ok(folder)
    }

    /// The same for the vocabulary alone: there need not be any weights.
    pub fn without_weights(path: &Path) -> Result<Self, OpenError> {
        let Some(config) = optional(path, names::CONFIG)? else {
            let why = "is a folder without config.json, so no Hugging Face model";
            return Err(OpenError::Io { path: path.into(), error: io::Error::new(io::ErrorKind::IsADirectory, why) });
        };
        let mut beside = Vec::new();
        for name in BESIDE {
            beside.extend(optional(path, name)?.map(|file| (name, file)));
        }
        // `.` and the like have no name of their own.
        let full = std::fs::canonicalize(path);
        let name = full.as_deref().unwrap_or(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { path: path.into(), name, config, beside, index: None, weights: Vec::new() })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its files, for the importer.
    pub fn files(&self) -> Files<'_> {
        let beside = |wanted: &str| self.beside.iter().find(|(name, _)| *name == wanted).map(|(_, file)| file.bytes());
        Files {
            name: &self.name,
            config: self.config.bytes(),
            generation_config: beside(names::GENERATION_CONFIG),
            tokenizer: beside(names::TOKENIZER),
            tokenizer_config: beside(names::TOKENIZER_CONFIG),
            chat_template: beside(names::CHAT_TEMPLATE),
            index: self.index.as_ref().map(Mapped::bytes),
            weights: self.weights.iter().map(|(name, file)| (name.as_str(), file.bytes())).collect(),
        }
    }

    /// What the importer says, with the file that it says it of.
    pub fn named<T, E: Into<InFile>>(&self, file: &str, result: Result<T, E>) -> Result<T, OpenError> {
        result.map_err(|error| {
            let InFile { file: of, error } = error.into();
            let name = if of.is_empty() { file } else { &of };
            OpenError::Import { path: self.path.join(name), error }
        })
    }

    /// Gives memory of weights back to the system; see [`Mapped::let_go`].
    pub fn let_go(&self, bytes: &[u8]) {
        self.weights.iter().for_each(|(_, file)| file.let_go(bytes));
    }

    /// All files that a folder's model is read from and that are there, whatever is in them, in a fixed order.
    pub fn paths(path: &Path) -> Vec<PathBuf> {
        let fixed = [&[names::CONFIG][..], &BESIDE, &[names::WEIGHTS, names::INDEX]].concat();
        let index = std::fs::read(path.join(names::INDEX)).unwrap_or_default();
        let shards = huggingface::shards(&index).unwrap_or_default();
        let names = fixed.into_iter().map(String::from).chain(shards);
        names.map(|name| path.join(name)).filter(|path| path.exists()).collect()
    }
}

/// A file of a folder; `None` where it is not there.
fn optional(folder: &Path, name: &str) -> Result<Option<Mapped>, OpenError> {
    match Mapped::open(&folder.join(name)) {
        Err(OpenError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}
