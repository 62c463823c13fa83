//! Reading handwritten digits.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use crate::digits::{
    SIDE,
    picture::{Grey, prepare},
};

/// One digit, ready for the classifier.
#[derive(Clone, Debug)]
pub struct Digit {
    /// 0 to 9.
    pub label: u8,
    /// `[16, 16]` ink, brought there as [`prepare`] brings any picture.
    pub pixels: Vec<f32>,
    /// Not trained on: every fifth of a source and label.
    pub held_out: bool,
    /// Which of the sources it came from.
    pub source: usize,
    /// What a `.csv` file says of it: its line and its 8 x 8 values of 0 to 16. Empty for other files.
    pub raw: Vec<u16>,
}

/// Why data could not be read.
#[derive(Debug)]
pub struct DataError {
    path: PathBuf,
    message: String,
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message)
    }
}

impl std::error::Error for DataError {}

/// Bytes of the largest file that is read, unpacked.
const MOST_BYTES: u64 = 1 << 30;
/// Sides of the pictures in JSON and in .csv files.
const JSON_SIDE: usize = 28;
const CSV_SIDE: usize = 8;

#[derive(serde::Deserialize)]
struct Json {
    data: Vec<f32>,
}

/// Reads all of `sources`: folders with `0.json` to `9.json` (or with such a folder in `src/digits`), and `.csv` or
/// `.csv.gz` files of 64 values from 0 to 16 and a label a line. A fifth of every label of every source is held out.
pub fn load(sources: &[PathBuf]) -> Result<Vec<Digit>, DataError> {
    let mut digits = Vec::new();
    for (source, path) in sources.iter().enumerate() {
        let mut seen = [0usize; 10];
        let mut add = |label: u8, picture: Grey, raw: Vec<u16>| -> Result<(), String> {
            let side = usize::from(SIDE);
            let pixels = prepare(&picture, side, side).map_err(|error| error.to_string())?;
            let count = seen.get_mut(usize::from(label)).ok_or_else(|| format!("label {label} is not a digit"))?;
            digits.push(Digit { label, pixels, held_out: *count % 5 == 4, source, raw });
            *count += 1;
            Ok(())
        };
        let fail = |path: &Path, message: String| DataError { path: path.into(), message };
        if path.is_dir() {
            let inner = path.join("src").join("digits");
            let folder = if inner.is_dir() { &inner } else { path };
            for label in 0..10 {
                let path = folder.join(format!("{label}.json"));
                json(&path, |picture| add(label, picture, Vec::new())).map_err(|message| fail(&path, message))?;
            }
        } else {
            csv(path, &mut add).map_err(|message| fail(path, message))?;
        }
    }
    Ok(digits)
}

fn open(path: &Path) -> Result<impl Read + use<>, String> {
    File::open(path).map(|file| BufReader::new(file.take(MOST_BYTES))).map_err(|error: io::Error| error.to_string())
}

fn json(path: &Path, mut add: impl FnMut(Grey) -> Result<(), String>) -> Result<(), String> {
    let Json { data } = serde_json::from_reader(open(path)?).map_err(|error| error.to_string())?;
    let mut pictures = data.chunks_exact(JSON_SIDE * JSON_SIDE);
    for light in &mut pictures {
        add(Grey { width: JSON_SIDE, height: JSON_SIDE, light: light.to_vec() })?;
    }
    match pictures.remainder().len() {
        0 => Ok(()),
        rest => Err(format!("{} values are no whole number of 28 x 28 pictures; {rest} too many", data.len())),
    }
}

fn csv(path: &Path, add: &mut impl FnMut(u8, Grey, Vec<u16>) -> Result<(), String>) -> Result<(), String> {
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let file = open(path)?;
    let reader: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(file).take(MOST_BYTES)) } else { Box::new(file) };
    let mut number = 0u16;
    for line in BufReader::new(reader).lines() {
        let line = line.map_err(|error| error.to_string())?;
        number = number.checked_add(1).ok_or("more than 65535 lines")?;
        let wrong = || format!("line {number}: not 64 values from 0 to 16 and a digit");
        // Some writers of such files give whole numbers as 5.0.
        let value = |field: &str| field.trim().parse().ok().filter(|value: &f32| (0.0..=16.0).contains(value));
        let values: Vec<f32> = line.split(',').map(value).collect::<Option<_>>().ok_or_else(wrong)?;
        let Some((label, values)) = values.split_last().filter(|(_, values)| values.len() == CSV_SIDE * CSV_SIDE)
        else {
            return Err(wrong());
        };
        if label.fract() != 0.0 || *label > 9.0 {
            return Err(wrong());
        }
        let light = values.iter().map(|value| value / 16.0).collect();
        let raw = std::iter::once(number).chain(values.iter().map(|value| *value as u16)).collect();
        let picture = Grey { width: CSV_SIDE, height: CSV_SIDE, light };
        add(*label as u8, picture, raw).map_err(|message| format!("line {number}: {message}"))?;
    }
    Ok(())
}
