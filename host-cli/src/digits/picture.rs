//! From a picture of any size to the ink at the size a classifier reads: the same steps for training and for use.
//!
//! 1. The paper is the median grey of the picture's border. Ink is what differs from it, on the side (darker or lighter)
//!    that differs more in all; so dark on light and light on dark are read alike.
//! 2. A picture of fewer than 32 pixels is enlarged four times, bilinear, on more of its paper: so a small picture and an
//!    enlarged copy of it give nearly the same ink, and pixels do not stand out as squares.
//! 3. The strongest difference counts as 1. Below a fifth of it is paper, above four fifths full ink.
//! 4. The ink's bounding box is scaled so that its longer side takes three quarters of the target, every target pixel
//!    the average of the area it covers, and the ink's centre of mass comes to the middle (as in MNIST).
//! 5. The darkest target pixel counts as 1 again: a thin pen in a large picture is as good as a thick one.
//!
//! Only IEEE additions, multiplications and divisions in a fixed order, so every machine gives the same bits.

use std::fmt;

/// A grey picture.
#[derive(Clone, Debug)]
pub struct Grey {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[height, width]`, 0 black to 1 white.
    pub light: Vec<f32>,
}

/// A picture that is all of one grey, or nearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blank;

impl fmt::Display for Blank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the picture is blank: nothing in it stands out from its border")
    }
}

impl std::error::Error for Blank {}

/// Less difference than this, of black to white, is no ink.
const LEAST_CONTRAST: f32 = 0.1;
/// Of the strongest difference: below is paper, above is full ink.
const PAPER: f32 = 0.2;
const FULL: f32 = 0.8;
/// A picture whose longer side is less than this is enlarged so many times.
const SMALL: usize = 32;
const ENLARGE: usize = 4;
/// What the longer side of the ink takes of the target.
const FILL: f64 = 0.75;

/// The ink of `picture` as `[height, width]`, 0 to 1.
pub fn prepare(picture: &Grey, width: usize, height: usize) -> Result<Vec<f32>, Blank> {
    let large;
    let picture = if picture.width.max(picture.height) < SMALL {
        large = enlarged(picture);
        &large
    } else {
        picture
    };
    let ink = Ink::new(picture).ok_or(Blank)?;
    let scale = (ink.columns.len() as f64 / (width as f64 * FILL)).max(ink.rows.len() as f64 / (height as f64 * FILL));
    let (x, y) = ink.centre();
    let wide: Vec<Vec<f32>> = ink.rows.clone().map(|row| resample(ink.row(row), x, scale, width)).collect();
    let mut out = vec![0.0; width * height];
    for column in 0..width {
        let line: Vec<f32> = wide.iter().filter_map(|row| row.get(column).copied()).collect();
        let line = resample(&line, y, scale, height);
        for (out, value) in out.iter_mut().skip(column).step_by(width.max(1)).zip(line) {
            *out = value;
        }
    }
    let most = out.iter().fold(0.0f32, |most, x| most.max(*x));
    if most > 0.0 {
        out.iter_mut().for_each(|x| *x /= most);
    }
    Ok(out)
}

/// The ink of a picture and its bounding box, which is not empty.
struct Ink {
    width: usize,
    ink: Vec<f32>,
    columns: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
}

impl Ink {
    fn new(picture: &Grey) -> Option<Self> {
        let Grey { width, height, light } = picture;
        let (width, height) = (*width, *height);
        if width == 0 || height == 0 || light.len() != width * height {
            return None;
        }
        let paper = border_median(picture);
        let (mut dark, mut bright) = ((0.0f64, 0.0f32), (0.0f64, 0.0f32));
        for light in light {
            let difference = paper - light;
            let (sum, most) = if difference > 0.0 { &mut dark } else { &mut bright };
            *sum += f64::from(difference) * f64::from(difference);
            *most = most.max(difference.abs());
        }
        let (sign, most) = if dark.0 >= bright.0 { (1.0, dark.1) } else { (-1.0, bright.1) };
        if most < LEAST_CONTRAST {
            return None;
        }
        let strength = |light: &f32| ((sign * (paper - light) / most - PAPER) / (FULL - PAPER)).clamp(0.0, 1.0);
        let ink: Vec<f32> = light.iter().map(strength).collect();
        let (mut columns, mut rows) = (width..0, height..0);
        for (y, row) in ink.chunks_exact(width).enumerate() {
            for (x, _) in row.iter().enumerate().filter(|(_, ink)| **ink > 0.0) {
                columns = columns.start.min(x)..columns.end.max(x + 1);
                rows = rows.start.min(y)..rows.end.max(y + 1);
            }
        }
        (!rows.is_empty()).then_some(Self { width, ink, columns, rows })
    }

    /// The ink of a row, inside the box.
    fn row(&self, row: usize) -> &[f32] {
        let start = row * self.width;
        self.ink.get(start + self.columns.start..start + self.columns.end).unwrap_or_default()
    }

    /// The centre of mass, from the corner of the box.
    fn centre(&self) -> (f64, f64) {
        let (mut x, mut y, mut mass) = (0.0f64, 0.0f64, 0.0f64);
        for (j, row) in self.rows.clone().enumerate() {
            for (i, ink) in self.row(row).iter().enumerate() {
                let ink = f64::from(*ink);
                x += ink * (i as f64 + 0.5);
                y += ink * (j as f64 + 0.5);
                mass += ink;
            }
        }
        (x / mass, y / mass)
    }
}

/// The picture [`ENLARGE`] times as large, with a margin of its paper one (small) pixel wide.
fn enlarged(picture: &Grey) -> Grey {
    let paper = border_median(picture);
    let at = |x: usize, y: usize| {
        // Counted from the margin's own margin, of which nothing is ever negative.
        let inside = |at: usize, len: usize| at.checked_sub(2).filter(|at| *at < len);
        let place = inside(x, picture.width).zip(inside(y, picture.height));
        place.and_then(|(x, y)| picture.light.get(y * picture.width + x)).copied().unwrap_or(paper)
    };
    let (width, height) = ((picture.width + 2) * ENLARGE, (picture.height + 2) * ENLARGE);
    let place = |pixel: usize| {
        let place = (pixel as f32 + 0.5) / ENLARGE as f32 + 0.5;
        (place as usize, place - place.floor())
    };
    let mut light = Vec::with_capacity(width * height);
    for row in 0..height {
        let (y, fy) = place(row);
        for column in 0..width {
            let (x, fx) = place(column);
            let upper = at(x, y) * (1.0 - fx) + at(x + 1, y) * fx;
            let lower = at(x, y + 1) * (1.0 - fx) + at(x + 1, y + 1) * fx;
            light.push(upper * (1.0 - fy) + lower * fy);
        }
    }
    Grey { width, height, light }
}

fn border_median(picture: &Grey) -> f32 {
    let Grey { width, height, light } = picture;
    let rows = light.chunks_exact((*width).max(1));
    let mut border: Vec<f32> = Vec::with_capacity(2 * (width + height));
    for (y, row) in rows.enumerate() {
        match row {
            _ if y == 0 || y + 1 == *height => border.extend(row),
            [first, .., last] => border.extend([first, last]),
            _ => border.extend(row),
        }
    }
    border.sort_by(f32::total_cmp);
    border.get(border.len() / 2).copied().unwrap_or(1.0)
}

/// `count` averages over neighbouring stretches of `scale` elements, the middle one's edge (or centre) at `centre`.
/// Outside of `line` there is nothing.
fn resample(line: &[f32], centre: f64, scale: f64, count: usize) -> Vec<f32> {
    let average = |index: usize| {
        let start = centre + (index as f64 - count as f64 / 2.0) * scale;
        let (from, to) = (start.max(0.0), (start + scale).min(line.len() as f64));
        let mut sum = 0.0f64;
        for (at, value) in line.iter().enumerate().skip(from as usize).take_while(|(at, _)| (*at as f64) < to) {
            let at = at as f64;
            sum += ((at + 1.0).min(to) - at.max(from)).max(0.0) * f64::from(*value);
        }
        (sum / scale) as f32
    };
    (0..count).map(average).collect()
}

/// The picture in characters, two a pixel, a line a row.
pub fn shades(pixels: &[f32], width: usize) -> Vec<String> {
    const SHADES: &[u8; 10] = b" .:-=+*#%@";
    let shade = |ink: &f32| {
        let index = (ink.clamp(0.0, 1.0) * 9.0 + 0.5) as usize;
        let shade = char::from(SHADES.get(index).copied().unwrap_or(b'@'));
        [shade, shade]
    };
    pixels.chunks(width.max(1)).map(|row| row.iter().flat_map(shade).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An L of strokes `pen` wide in a picture of `size`, on paper of `paper` with ink of `ink`.
    fn letter(size: usize, (left, top, high, pen): (usize, usize, usize, usize), paper: f32, ink: f32) -> Grey {
        let mut light = vec![paper; size * size];
        for y in top..top + high {
            for x in left..left + high / 2 {
                if x < left + pen || y >= top + high - pen {
                    light[y * size + x] = ink;
                }
            }
        }
        Grey { width: size, height: size, light }
    }

    fn distance(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.iter().sum::<f32>()
    }

    #[test]
    fn place_size_and_colour_do_not_matter() {
        let want = prepare(&letter(64, (10, 8, 48, 8), 1.0, 0.0), 16, 16).unwrap();
        let other = [
            letter(64, (22, 12, 48, 8), 1.0, 0.0),   // elsewhere
            letter(64, (10, 8, 48, 8), 0.1, 0.9),    // light on dark
            letter(64, (10, 8, 48, 8), 0.8, 0.5),    // pale
            letter(256, (50, 8, 192, 32), 1.0, 0.0), // larger
        ];
        for (index, picture) in other.iter().enumerate() {
            let got = prepare(picture, 16, 16).unwrap();
            assert!(distance(&want, &got) < 1e-3, "{index}: {}", distance(&want, &got));
        }
        assert_eq!(want.iter().fold(0.0f32, |most, x| most.max(*x)), 1.0);
    }

    #[test]
    fn a_small_picture_reads_as_its_enlarged_copy() {
        let small = letter(9, (1, 0, 8, 2), 1.0, 0.0);
        let large = enlarged(&enlarged(&small));
        let (a, b) = (prepare(&small, 16, 16).unwrap(), prepare(&large, 16, 16).unwrap());
        assert!(distance(&a, &b) < 0.12, "{}", distance(&a, &b));
    }

    #[test]
    fn the_mass_is_in_the_middle() {
        let got = prepare(&letter(64, (3, 5, 40, 6), 1.0, 0.0), 16, 16).unwrap();
        let (mut x, mut y, mut mass) = (0.0, 0.0, 0.0);
        for (at, ink) in got.iter().enumerate() {
            x += ink * (at % 16) as f32;
            y += ink * (at / 16) as f32;
            mass += ink;
        }
        // An area average moves mass to its pixel's middle, so nearly.
        assert!((x / mass - 7.5).abs() < 0.05 && (y / mass - 7.5).abs() < 0.05, "{} {}", x / mass, y / mass);
    }

    #[test]
    fn blank_is_an_error() {
        for light in [vec![], vec![0.0; 9], vec![1.0; 9], vec![0.5, 0.5, 0.5, 0.5, 0.55, 0.5, 0.5, 0.5, 0.5]] {
            let side = if light.is_empty() { 0 } else { 3 };
            assert_eq!(prepare(&Grey { width: side, height: side, light }, 16, 16), Err(Blank));
        }
        // One pixel that is not: ink, however small.
        let dot = Grey { width: 3, height: 3, light: vec![1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0] };
        assert!(prepare(&dot, 16, 16).is_ok());
        assert_eq!(shades(&[0.0, 0.5, 1.0, 2.0], 2), ["  ++", "@@@@"]);
    }
}
