//! What packing costs where a file's encoding is none of ours.

use std::fmt;

use pipsqueak::kernels::Format;

use crate::source::Encoding;

/// Squares summed over values, in `f64` and in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    /// Of what a value is off by.
    error: f64,
    /// Of the values.
    power: f64,
}

impl Loss {
    /// Adds values and what they became.
    pub(super) fn add(&mut self, values: &[f32], became: &[f32]) {
        for (x, got) in values.iter().zip(became) {
            let (x, got) = (f64::from(*x), f64::from(*got));
            self.error += (x - got) * (x - got);
            self.power += x * x;
        }
    }
}

/// What became of all tensors of one encoding that no format of ours has. `Display` is one plain line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Converted {
    /// How they were encoded.
    pub from: Encoding,
    /// How they are stored now.
    pub to: Format,
    /// How many they are.
    pub tensors: usize,
    /// Root mean square of what values are off by, over the root mean square of the values; 0 where nothing was lost.
    pub error: f64,
}

impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, tensors, error } = self;
        let plural = if *tensors == 1 { "" } else { "s" };
        write!(f, "{tensors} tensor{plural} of {} stored as {}", from.name(), to.name())?;
        if *error == 0.0 { write!(f, ", without loss") } else { write!(f, ", relative RMS error {error:.6}") }
    }
}

/// The sums of each pair of encoding and format, in the order of their first tensors.
pub(super) fn converted(tensors: impl IntoIterator<Item = (Encoding, Format, Loss)>) -> Vec<Converted> {
    let mut sums: Vec<(Converted, Loss)> = Vec::new();
    for (from, to, loss) in tensors {
        let same = sums.iter_mut().find(|(converted, _)| (converted.from, converted.to) == (from, to));
        match same {
            Some((converted, sum)) => {
                converted.tensors += 1;
                sum.error += loss.error;
                sum.power += loss.power;
            }
            None => sums.push((Converted { from, to, tensors: 1, error: 0.0 }, loss)),
        }
    }
    let relative = |loss: Loss| if loss.error > 0.0 { (loss.error / loss.power).sqrt() } else { 0.0 };
    sums.into_iter().map(|(converted, loss)| Converted { error: relative(loss), ..converted }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_and_summed_by_kind() {
        let loss = |values: &[f32], became: &[f32]| {
            let mut loss = Loss::default();
            loss.add(values, became);
            loss
        };
        let found = converted([
            (Encoding::Q6K, Format::Q8, loss(&[3.0, 4.0], &[3.0, 4.5])),
            (Encoding::Q5_0, Format::Q8, loss(&[1.0], &[1.0])),
            (Encoding::Q6K, Format::Q8, loss(&[0.0], &[0.0])),
            (Encoding::Q6K, Format::F16, loss(&[2.0], &[1.0])),
        ]);
        let row = |from, to, tensors, error| Converted { from, to, tensors, error };
        assert_eq!(
            found,
            [
                row(Encoding::Q6K, Format::Q8, 2, 0.1),
                row(Encoding::Q5_0, Format::Q8, 1, 0.0),
                row(Encoding::Q6K, Format::F16, 1, 0.5),
            ]
        );
        assert_eq!(found[0].to_string(), "2 tensors of Q6_K stored as q8, relative RMS error 0.100000");
        assert_eq!(found[1].to_string(), "1 tensor of Q5_0 stored as q8, without loss");
    }
}
