//! Reading PNG pictures of any kind as grey.

use std::{
    fmt,
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
};

use png::{ColorType, Decoder, DecodingError, Transformations};

use super::picture::{Blank, Grey, prepare};

/// Pixels of the largest picture that is read, and bytes of the largest file.
const MOST_PIXELS: u64 = 1 << 25;
const MOST_BYTES: u64 = 1 << 27;

/// Why a picture was refused.
#[derive(Debug)]
pub enum PictureError {
    /// The file could not be read.
    Io(io::Error),
    /// More than 2^25 pixels.
    TooLarge {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// A file longer than any picture that is read.
    TooLong,
    /// Not a PNG picture, or a damaged one.
    Png(DecodingError),
    /// Nothing is drawn in it.
    Blank(Blank),
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::TooLarge { width, height } => {
                write!(f, "a picture of {width} x {height} pixels; up to {MOST_PIXELS} pixels are read")
            }
            Self::TooLong => write!(f, "longer than {MOST_BYTES} bytes, the most that is read of a picture"),
            Self::Png(DecodingError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the PNG picture is cut short")
            }
            Self::Png(error) => write!(f, "not a PNG picture that can be read: {error}"),
            Self::Blank(blank) => write!(f, "{blank}"),
        }
    }
}

impl std::error::Error for PictureError {}

impl From<DecodingError> for PictureError {
    fn from(error: DecodingError) -> Self {
        Self::Png(error)
    }
}

/// A picture's grey and its opacity, `[height, width]`, 0 to 255.
struct Layers {
    width: usize,
    height: usize,
    pixels: Vec<(u8, u8)>,
}

impl Layers {
    /// Laid on paper of this grey.
    fn on(&self, paper: f32) -> Grey {
        let light = |(grey, alpha): &(u8, u8)| {
            let alpha = f32::from(*alpha) / 255.0;
            f32::from(*grey) / 255.0 * alpha + paper * (1.0 - alpha)
        };
        Grey { width: self.width, height: self.height, light: self.pixels.iter().map(light).collect() }
    }
}

/// Reads the PNG at `path` and gives its ink as `[height, width]`, 0 to 1; see [`prepare`].
///
/// What is transparent is laid on white, or on black when nothing would be seen on white.
pub fn read(path: &Path, width: usize, height: usize) -> Result<Vec<f32>, PictureError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(PictureError::Io)?;
    if file.metadata().map_err(PictureError::Io)?.is_dir() {
        return Err(PictureError::Io(io::Error::new(io::ErrorKind::IsADirectory, "is a folder, not a picture")));
    }
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(PictureError::Io)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(PictureError::TooLong);
    }
    decode(&bytes, width, height)
}

/// As [`read`], of a file's bytes.
pub fn decode(bytes: &[u8], width: usize, height: usize) -> Result<Vec<f32>, PictureError> {
    let layers = layers(bytes)?;
    prepare(&layers.on(1.0), width, height)
        .or_else(|_| prepare(&layers.on(0.0), width, height))
        .map_err(PictureError::Blank)
}

fn layers(bytes: &[u8]) -> Result<Layers, PictureError> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let (width, height) = decoder.read_header_info().map(|info| (info.width, info.height))?;
    let too_large = PictureError::TooLarge { width, height };
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(too_large);
    }
    let mut reader = decoder.read_info()?;
    let Some(size) = reader.output_buffer_size() else { return Err(too_large) };
    let mut buffer = vec![0; size];
    let info = reader.next_frame(&mut buffer)?;
    buffer.truncate(info.buffer_size());
    // Rec. 601 luma, in 256ths.
    let luma = |[r, g, b]: [u8; 3]| ((77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b) + 128) >> 8) as u8;
    let pixels = match info.color_type {
        ColorType::GrayscaleAlpha => buffer.as_chunks().0.iter().map(|[grey, alpha]| (*grey, *alpha)).collect(),
        ColorType::Rgb => buffer.as_chunks().0.iter().map(|rgb| (luma(*rgb), 255)).collect(),
        ColorType::Rgba => buffer.as_chunks().0.iter().map(|[r, g, b, alpha]| (luma([*r, *g, *b]), *alpha)).collect(),
        // A palette is expanded to colours, so there is none.
        ColorType::Grayscale | ColorType::Indexed => buffer.iter().map(|grey| (*grey, 255)).collect(),
    };
    Ok(Layers { width: info.width as usize, height: info.height as usize, pixels })
}
