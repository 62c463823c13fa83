//! A text as documents, and some of them held out.

use std::{borrow::Cow, fmt};

use super::hash;

/// The line that separates documents.
pub const SEPARATOR: &str = "<|endoftext|>";

/// The documents of a text: what lies between lines [`SEPARATOR`], without white space around it; lines end with a line
/// feed alone. Empty ones are left out; a text without such lines is one document.
pub fn documents(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = Some(text);
    let next = move || {
        let text = rest?;
        let (document, behind) = cut(text);
        rest = behind;
        Some(document)
    };
    std::iter::from_fn(next)
        .map(str::trim)
        .filter(|document| !document.is_empty())
        .map(|document| if document.contains("\r\n") { document.replace("\r\n", "\n").into() } else { document.into() })
}

/// What comes before the first separating line, and what comes after it, if there is one.
fn cut(text: &str) -> (&str, Option<&str>) {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        if line.trim() == SEPARATOR {
            return (&text[..start], Some(&text[end..]));
        }
        start = end;
    }
    (text, None)
}

/// Documents to train on, and documents to be measured by. In both the order is the text's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<D> {
    /// Most of them.
    pub train: Vec<D>,
    /// Those held out.
    pub test: Vec<D>,
}

/// Why documents cannot be split.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SplitError {
    /// Each side needs a document that the other does not have.
    TooFew {
        /// Documents there are.
        documents: usize,
        /// Different ones among them.
        different: usize,
    },
    /// Not a part of the whole.
    Fraction {
        /// What was asked for.
        got: f64,
    },
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooFew { documents, different } => write!(
                f,
                "{documents} documents ({different} different) cannot be split, 2 different ones can; lines \
                 {SEPARATOR} separate documents"
            ),
            Self::Fraction { got } => write!(f, "{got} cannot be held out: more than 0 and less than 1 can"),
        }
    }
}

impl std::error::Error for SplitError {}

/// Holds out a `fraction` of the documents, rounded to whole ones and at least one: those with the lowest hashes.
///
/// So the choice looks random, hangs on nothing but the documents, hardly changes when some are added, and a document that
/// occurs twice is never on both sides (with many of these the fraction is met less exactly).
///
/// # Errors
/// [`SplitError`]
pub fn split<D: AsRef<str>>(documents: impl IntoIterator<Item = D>, fraction: f64) -> Result<Split<D>, SplitError> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(SplitError::Fraction { got: fraction });
    }
    let mut hashed: Vec<(u64, D)> = Vec::new();
    hashed.extend(documents.into_iter().map(|document| (hash::of_bytes(document.as_ref().as_bytes()), document)));
    let mut sorted: Vec<u64> = hashed.iter().map(|(hash, _)| *hash).collect();
    sorted.sort_unstable();
    let documents = sorted.len();
    let wanted = ((documents as f64 * fraction).round() as usize).max(1);
    // The last one held out, and all that are like it; but the one with the highest hash stays.
    let highest = sorted.last().copied().unwrap_or(0);
    let held_out = sorted.partition_point(|hash| *hash < highest);
    let Some(limit) = held_out.checked_sub(1).and_then(|last| sorted.get(last.min(wanted - 1))).copied() else {
        return Err(SplitError::TooFew { documents, different: documents.min(1) });
    };
    let (test, train): (Vec<_>, Vec<_>) = hashed.into_iter().partition(|(hash, _)| *hash <= limit);
    let bare = |side: Vec<(u64, D)>| side.into_iter().map(|(_, document)| document).collect();
    Ok(Split { train: bare(train), test: bare(test) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Cow<'_, str>> {
        documents(text).collect()
    }

    /// Line by line, as the rule reads.
    fn plainly(text: &str) -> Vec<String> {
        let (mut out, mut document) = (vec![], String::new());
        for line in text.lines().chain([SEPARATOR]) {
            if line.trim() == SEPARATOR {
                out.push(std::mem::take(&mut document).trim().to_string());
            } else {
                document = document + line + "\n";
            }
        }
        out.retain(|document| !document.is_empty());
        out
    }

    #[test]
    fn lines_separate_documents() {
        assert_eq!(all("one\n\n<|endoftext|>\n two\nlines \n<|endoftext|>\n"), ["one", "two\nlines"]);
        assert_eq!(all("no such <|endoftext|> line\n"), ["no such <|endoftext|> line"]);
        assert_eq!(all("a\r\nb\r\n  <|endoftext|>\r\nc\r\n"), ["a\nb", "c"]);
        assert!(all("").is_empty() && all(" \n<|endoftext|>\n\n<|endoftext|>").is_empty());
        // All texts of a few pieces.
        let pieces = ["<|endoftext|>", "\n", "\r\n", " ", "é", "\r", "\u{a0}"];
        for mut number in 0..7usize.pow(6) {
            let mut text = String::new();
            for _ in 0..6 {
                text += pieces[number % 7];
                number /= 7;
            }
            assert_eq!(all(&text), plainly(&text), "{text:?}");
        }
    }

    #[test]
    fn a_part_is_held_out() {
        let documents: Vec<_> = (0..1000).map(|i| format!("document {i}")).collect();
        for (fraction, count) in [(0.05, 50), (0.5, 500), (0.0001, 1), (0.9999, 999)] {
            let Split { train, test } = split(&documents, fraction).unwrap();
            assert_eq!((test.len(), train.len()), (count, 1000 - count));
            assert!(test.is_sorted_by_key(|document| document["document ".len()..].parse::<u32>().unwrap()));
            assert!(test.iter().all(|document| !train.contains(document)));
        }
        // From everywhere; and the others stay when one is added.
        let Split { test, .. } = split(&documents, 0.1).unwrap();
        let early = test.iter().filter(|document| documents[..500].contains(document)).count();
        assert!((35..=65).contains(&early), "{early}");
        let another = "another".to_string();
        let more = split(documents.iter().chain([&another]), 0.1).unwrap();
        assert!(more.test.iter().filter(|document| !test.contains(document)).count() <= 1);
    }

    #[test]
    fn equals_stay_together() {
        let documents = ["a", "b", "a", "c", "a", "a"];
        let Split { train, test } = split(documents, 0.2).unwrap();
        assert!(train.iter().all(|document| !test.contains(document)) && train.len() + test.len() == 6);
        for (few, different) in [(&[][..], 0), (&["a"], 1), (&["a", "a"], 1)] {
            assert_eq!(split(few, 0.5), Err(SplitError::TooFew { documents: few.len(), different }));
        }
        assert!(split(["a", "b"], 0.9).is_ok());
        for got in [0.0, 1.0, -1.0, 2.0] {
            assert_eq!(split(["a", "b"], got), Err(SplitError::Fraction { got }));
        }
        assert!(split(["a", "b"], f64::NAN).is_err());
    }
}
