//! Held-out digits as PNG pictures of many kinds, for tests and to try.

use png::{BitDepth, ColorType, Encoder, EncodingError};

use super::Digit;

/// Two held-out digits of each class of the `.csv` sources as PNG files: names and bytes. The name is the digit, the line
/// of the source and the kind of picture.
///
/// The 8 x 8 values are enlarged to 64 x 64 (bilinear) with a margin of 16.
pub fn samples(digits: &[Digit]) -> Result<Vec<(String, Vec<u8>)>, EncodingError> {
    let mut files = Vec::new();
    for label in 0..10 {
        let mine = digits.iter().filter(|digit| digit.label == label && digit.held_out);
        for (index, digit) in mine.filter(|digit| !digit.raw.is_empty()).take(2).enumerate() {
            let Some((line, values)) = digit.raw.split_first() else { continue };
            let kind = KINDS.get((usize::from(label) + index * 3) % KINDS.len()).unwrap_or(&Kind::Grey);
            files.push((format!("{label}-line{line}-{}.png", kind.name()), kind.encode(&enlarged(values))?));
        }
    }
    Ok(files)
}

const SIDE: usize = 96;

/// `[96, 96]`, 0 to 1.
fn enlarged(values: &[u16]) -> Vec<f32> {
    let at = |x: i32, y: i32| {
        let inside = (0..8).contains(&x) && (0..8).contains(&y);
        let value = if inside { values.get((y * 8 + x) as usize) } else { None };
        value.map_or(0.0, |value| f32::from(*value) / 16.0)
    };
    let value = |index: usize| {
        let place = |pixel: usize| (pixel as f32 + 0.5 - 16.0) / 8.0 - 0.5;
        let (x, y) = (place(index % SIDE), place(index / SIDE));
        let (fx, fy) = (x - x.floor(), y - y.floor());
        let (x, y) = (x.floor() as i32, y.floor() as i32);
        (at(x, y) * (1.0 - fx) + at(x + 1, y) * fx) * (1.0 - fy)
            + (at(x, y + 1) * (1.0 - fx) + at(x + 1, y + 1) * fx) * fy
    };
    (0..SIDE * SIDE).map(value).collect()
}

#[derive(Clone, Copy)]
enum Kind {
    /// Black on white.
    Grey,
    /// White on black, 16 bits.
    Grey16,
    /// Blue ink on cream paper.
    Rgb,
    /// Black ink on nothing.
    Alpha,
    /// Sixteen shades from a table.
    Palette,
    /// White ink on nothing.
    Rgba,
}

const KINDS: [Kind; 6] = [Kind::Grey, Kind::Grey16, Kind::Rgb, Kind::Alpha, Kind::Palette, Kind::Rgba];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Grey => "grey",
            Self::Grey16 => "white16",
            Self::Rgb => "rgb",
            Self::Alpha => "alpha",
            Self::Palette => "palette",
            Self::Rgba => "rgba",
        }
    }

    fn encode(self, ink: &[f32]) -> Result<Vec<u8>, EncodingError> {
        let byte = |x: f32| (x * 255.0 + 0.5) as u8;
        let mix = |ink: f32, paper: f32, pen: f32| byte(paper + (pen - paper) * ink);
        let (color, depth, data): (_, _, Vec<u8>) = match self {
            Self::Grey => (ColorType::Grayscale, BitDepth::Eight, ink.iter().map(|x| byte(1.0 - x)).collect()),
            Self::Grey16 => {
                let wide = |x: &f32| ((x * 65535.0 + 0.5) as u16).to_be_bytes();
                (ColorType::Grayscale, BitDepth::Sixteen, ink.iter().flat_map(wide).collect())
            }
            Self::Rgb => {
                let rgb = |x: &f32| [mix(*x, 1.0, 0.1), mix(*x, 0.97, 0.15), mix(*x, 0.88, 0.6)];
                (ColorType::Rgb, BitDepth::Eight, ink.iter().flat_map(rgb).collect())
            }
            Self::Alpha => {
                (ColorType::GrayscaleAlpha, BitDepth::Eight, ink.iter().flat_map(|x| [0, byte(*x)]).collect())
            }
            Self::Rgba => {
                (ColorType::Rgba, BitDepth::Eight, ink.iter().flat_map(|x| [255, 255, 255, byte(*x)]).collect())
            }
            Self::Palette => {
                let shade = |x: f32| (x * 15.0 + 0.5) as u8;
                let pair = |pair: &[f32; 2]| shade(pair[0]) << 4 | shade(pair[1]);
                (ColorType::Indexed, BitDepth::Four, ink.as_chunks().0.iter().map(pair).collect())
            }
        };
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, SIDE as u32, SIDE as u32);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if matches!(self, Self::Palette) {
            // Brown ink on pale paper.
            let shade = |ink: u8| {
                let ink = f32::from(ink) / 15.0;
                [mix(ink, 0.95, 0.35), mix(ink, 0.95, 0.2), mix(ink, 0.9, 0.1)]
            };
            encoder.set_palette((0..16).flat_map(shade).collect::<Vec<u8>>());
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&data)?;
        writer.finish()?;
        Ok(bytes)
    }
}
