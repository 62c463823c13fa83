//! Vectors of any length as points in a plane, drawn with letters.

use super::net::Net;

/// Columns and rows of a picture. A letter is about twice as high as wide, so a row counts as two columns.
const COLUMNS: usize = 61;
const ROWS: usize = 17;

/// The plane in which a network's vectors lie most spread out: two directions and a middle, `[dim]` each.
///
/// Source: Pearson 1901, "On lines and planes of closest fit to systems of points in space" (principal components).
#[derive(Clone, Debug)]
pub struct Plane {
    middle: Vec<f32>,
    across: Vec<f32>,
    up: Vec<f32>,
    /// How much of the spread (the sum of squared distances from the middle) the plane shows, from 0 to 1.
    pub share: f32,
}

impl Plane {
    /// The plane of a network's embedding.
    pub fn of(net: &Net) -> Self {
        let dim = net.shape.dim;
        let vectors = || net.embedding.chunks_exact(dim);
        let mut middle = vec![0.0; dim];
        for vector in vectors() {
            middle.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value / net.shape.words as f32);
        }
        // Scatter matrix: the sum over words of (v - middle)(v - middle)^T, [dim, dim].
        let mut scatter = vec![0.0; dim * dim];
        for vector in vectors() {
            let from_middle: Vec<f32> = vector.iter().zip(&middle).map(|(value, middle)| value - middle).collect();
            for (row, a) in scatter.chunks_exact_mut(dim).zip(&from_middle) {
                row.iter_mut().zip(&from_middle).for_each(|(sum, b)| *sum += a * b);
            }
        }
        let all: f32 = (0..dim).map(|i| scatter[i * dim + i]).sum();
        let (first, across) = take_direction(&mut scatter, dim);
        let (second, up) = take_direction(&mut scatter, dim);
        let share = if all > 0.0 { ((first + second) / all).min(1.0) } else { 1.0 };
        Self { middle, across, up, share }
    }

    /// Where each word of `net` lies in this plane: `[words]` of (across, up).
    pub fn points(&self, net: &Net) -> Vec<(f32, f32)> {
        let along = |vector: &[f32], axis: &[f32]| -> f32 {
            vector.iter().zip(&self.middle).zip(axis).map(|((value, middle), axis)| (value - middle) * axis).sum()
        };
        let vectors = net.embedding.chunks_exact(net.shape.dim);
        vectors.map(|vector| (along(vector, &self.across), along(vector, &self.up))).collect()
    }
}

/// Finds the direction of most spread, and takes it out of the scatter matrix: `(spread, direction)`.
///
/// The matrix is squared again and again (the power method): of its directions the one of most spread outgrows the
/// others, until every row points along it.
fn take_direction(scatter: &mut [f32], dim: usize) -> (f32, Vec<f32>) {
    let square = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>();
    let mut power = scatter.to_vec();
    // The 4096th power.
    for _ in 0..12 {
        let trace: f32 = (0..dim).map(|i| power[i * dim + i]).sum();
        if trace <= 0.0 {
            // No spread is left: all words in one place, or on one line.
            return (0.0, vec![0.0; dim]);
        }
        power.iter_mut().for_each(|x| *x /= trace);
        power = squared(&power, dim);
    }
    let rows = power.chunks_exact(dim);
    let longest = rows.fold(&[][..], |longest, row| if square(row) > square(longest) { row } else { longest });
    let length = square(longest).sqrt();
    let mut direction: Vec<f32> = longest.iter().map(|x| x / length).collect();
    let stretched = scatter.chunks_exact(dim).map(|row| row.iter().zip(&direction).map(|(a, b)| a * b).sum());
    let spread = square(&stretched.collect::<Vec<f32>>()).sqrt();
    // The sign is free: the largest number of a direction is positive.
    let largest = direction.iter().fold(0.0f32, |most, x| if x.abs() > most.abs() { *x } else { most });
    if largest < 0.0 {
        direction.iter_mut().for_each(|x| *x = -*x);
    }
    for (row, a) in scatter.chunks_exact_mut(dim).zip(&direction) {
        row.iter_mut().zip(&direction).for_each(|(sum, b)| *sum -= spread * a * b);
    }
    (spread, direction)
}

/// `m m`, for a symmetric `m`: `[dim, dim]`.
fn squared(m: &[f32], dim: usize) -> Vec<f32> {
    let rows = || m.chunks_exact(dim);
    rows().flat_map(|a| rows().map(|b| a.iter().zip(b).map(|(a, b)| a * b).sum())).collect()
}

/// Draws names at points, around the plane's middle, `+`. Names that would overlap stand together, joined by commas.
///
/// Returns the picture and its scale: how much a column's width is worth.
pub fn draw(points: &[(f32, f32)], names: &[&str]) -> (String, f32) {
    let (half_width, half_height) = (COLUMNS / 2, ROWS / 2);
    let reach = points.iter().fold(f32::MIN_POSITIVE, |most, (x, y)| {
        most.max(x.abs() / half_width as f32).max(y.abs() / (2 * half_height) as f32)
    });
    let cell = |value: f32, unit: f32, half: usize| ((value / unit).round() as isize + half as isize).max(0) as usize;
    // Labels a row: (column, text).
    let mut rows: Vec<Vec<(usize, String)>> = vec![Vec::new(); ROWS];
    for ((x, y), name) in points.iter().zip(names) {
        let row = cell(-y, 2.0 * reach, half_height).min(ROWS - 1);
        rows[row].push((cell(*x, reach, half_width), (*name).to_owned()));
    }
    let mut out = String::new();
    for (i, mut labels) in rows.into_iter().enumerate() {
        labels.sort();
        if i == half_height && !labels.iter().any(|(at, name)| (*at..=at + name.chars().count()).contains(&half_width))
        {
            labels.push((half_width, "+".to_owned()));
            labels.sort();
        }
        let mut line = String::new();
        for (column, label) in labels {
            let used = line.chars().count();
            if used > 0 && column <= used {
                line.push(',');
            } else {
                line.extend(std::iter::repeat_n(' ', column - used));
            }
            line += &label;
        }
        let pad = (COLUMNS + 8).saturating_sub(line.chars().count());
        out += &format!("  |{line}{}|\n", " ".repeat(pad));
    }
    (out, reach)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::net::Shape;

    /// Words on a plane of four dimensions, a long way along (0.6, 0.8, 0, 0) and a little along (0, 0, 1, 0).
    fn flat_net() -> Net {
        let places = [(3.0, 0.5), (-3.0, 0.5), (1.0, -0.5), (-1.0, -0.5)];
        let mut net = Net::zeros(Shape { words: 4, outputs: 5, dim: 4, hidden: 1 });
        net.embedding = places.iter().flat_map(|(far, near)| [0.6 * far, 0.8 * far, *near, 7.0]).collect();
        net
    }

    #[test]
    fn the_plane_is_the_one_the_words_lie_in() {
        let net = flat_net();
        let plane = Plane::of(&net);
        assert!(plane.share > 0.999, "{plane:?}");
        let close = |a: &[f32], b: [f32; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(close(&plane.across, [0.6, 0.8, 0.0, 0.0]), "{plane:?}");
        assert!(close(&plane.up, [0.0, 0.0, 1.0, 0.0]), "{plane:?}");
        // Distances in the plane are distances in space.
        let points = plane.points(&net);
        let (dx, dy) = (points[0].0 - points[2].0, points[0].1 - points[2].1);
        assert!((dx * dx + dy * dy - (4.0 + 1.0)).abs() < 1e-3, "{points:?}");
    }

    #[test]
    fn words_without_spread_have_a_picture_too() {
        for dim in [1, 3] {
            let net = Net::zeros(Shape { words: 2, outputs: 3, dim, hidden: 1 });
            let plane = Plane::of(&net);
            assert_eq!((plane.share, plane.points(&net)), (1.0, vec![(0.0, 0.0); 2]));
            assert!(draw(&plane.points(&net), &["one", "two"]).0.contains("one,two"));
        }
    }

    #[test]
    fn names_stand_where_they_are() {
        let (picture, scale) = draw(&[(3.0, 0.0), (-3.0, 0.0), (0.0, 1.6), (0.1, 1.6)], &["east", "west", "up", "too"]);
        assert!((scale - 0.1).abs() < 1e-6);
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!(lines.len(), ROWS);
        assert_eq!(lines[0].find("up,too"), Some(3 + 30), "{picture}");
        let middle = lines[ROWS / 2];
        assert_eq!((middle.find("west"), middle.find('+'), middle.find("east")), (Some(3), Some(33), Some(63)));
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{picture}");
    }
}
