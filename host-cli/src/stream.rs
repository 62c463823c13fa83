//! Tokens on their way to the reader: whole characters, and nothing of a stop string.

use pipsqueak::{
    Vocab,
    tokenizer::{DecodeError, Decoder},
};

/// Looks for stop strings in a text that comes in pieces. What may be the beginning of one is held back.
///
/// The first one to be complete ends the text, however the text is cut into pieces; of two that end together, the
/// longer.
#[derive(Clone, Debug)]
pub struct Stops<'a> {
    texts: &'a [String],
    held: String,
    found: bool,
}

impl<'a> Stops<'a> {
    /// None of `texts` is empty; one that is stops nothing.
    pub fn new(texts: &'a [String]) -> Self {
        Self { texts, held: String::new(), found: false }
    }

    /// Takes a piece and puts what may be shown into `out`; returns whether a stop string is complete. From then on
    /// there is nothing more.
    pub fn push(&mut self, piece: &str, out: &mut String) -> bool {
        for c in piece.chars() {
            if self.found {
                break;
            }
            self.held.push(c);
            let ended = self.texts.iter().filter(|text| !text.is_empty() && self.held.ends_with(text.as_str()));
            if let Some(len) = ended.map(String::len).max() {
                out.push_str(&self.held[..self.held.len() - len]);
                self.held.clear();
                self.found = true;
                break;
            }
            let begun = |at: &usize| {
                let rest = &self.held[*at..];
                self.texts.iter().any(|text| text.starts_with(rest))
            };
            let starts = self.held.char_indices().map(|(at, _)| at);
            let keep = starts.chain([self.held.len()]).find(begun).unwrap_or(self.held.len());
            out.extend(self.held.drain(..keep));
        }
        self.found
    }

    /// The text is at its end: what was held back is no stop string.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }

    /// Whether a stop string is complete.
    pub fn found(&self) -> bool {
        self.found
    }
}

/// The text of tokens as they come.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    decoder: Decoder<'a>,
    stops: Stops<'a>,
    /// Bytes of text that each token pushed has before it.
    starts: Vec<usize>,
    /// Bytes of text so far, and of those that were shown.
    len: usize,
    shown: usize,
}

impl<'a> Stream<'a> {
    /// At the beginning of a text; `stops` end it.
    pub fn new(vocab: Vocab<'a>, stops: &'a [String]) -> Self {
        Self { decoder: Decoder::new(vocab, false), stops: Stops::new(stops), starts: Vec::new(), len: 0, shown: 0 }
    }

    /// The text of a token that was given: stop strings are not looked for.
    pub fn pass(&mut self, id: u32, out: &mut String) -> Result<(), DecodeError> {
        self.decoder.push(id, |piece| out.push_str(piece))
    }

    /// Puts the text that is sure with this token into `out`; returns whether it completes a stop string.
    pub fn push(&mut self, id: u32, out: &mut String) -> Result<bool, DecodeError> {
        self.starts.push(self.len);
        let before = out.len();
        self.decoder.push(id, |piece| {
            self.len += piece.len();
            self.stops.push(piece, out);
        })?;
        self.shown += out.len() - before;
        Ok(self.stops.found())
    }

    /// The text is at its end: what was held back, unless a stop string has ended it.
    pub fn finish(&mut self, out: &mut String) {
        if !self.stops.found() {
            self.decoder.flush(|piece| {
                self.stops.push(piece, out);
            });
            self.stops.finish(out);
        }
    }

    /// How many of the tokens pushed belong to the text: all, but for those that begin in the stop string or behind it.
    pub fn kept(&self) -> usize {
        if self.stops.found() { self.starts.partition_point(|start| *start < self.shown) } else { self.starts.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a text in pieces of these lengths (in characters), and whether it was stopped.
    fn shown(stops: &[&str], text: &str, lengths: &[usize]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|text| text.to_string()).collect();
        let mut stops = Stops::new(&stops);
        let mut out = String::new();
        let mut chars = text.chars().peekable();
        let mut lengths = lengths.iter().cycle();
        while chars.peek().is_some() {
            let piece: String = chars.by_ref().take(*lengths.next().unwrap()).collect();
            // Nothing that is shown can be taken back.
            stops.push(&piece, &mut out);
        }
        stops.finish(&mut out);
        (out, stops.found())
    }

    #[test]
    fn stops_wherever_the_text_is_cut() {
        for (stops, text, want) in [
            (&["STOP"][..], "go on STOP and more", Some("go on ")),
            (&["STOP"], "go on STO", None),
            (&["aab"], "aaaab!", Some("aa")),
            (&["abab"], "abaabab", Some("aba")),
            (&["abc", "b"], "abc", Some("a")),
            (&["b", "ab"], "xab", Some("x")),
            (&["\n\n"], "one\ntwo\n\nthree", Some("one\ntwo")),
            (&["🙂é"], "a🙂🙂éb", Some("a🙂")),
            (&["never", "nowhere"], "nev nowher never", Some("nev nowher ")),
            (&[], "all of it", None),
            (&[""], "all of it", None),
            (&["x"], "x", Some("")),
        ] {
            for lengths in [&[1][..], &[2], &[3], &[1, 4], &[100], &[2, 1, 1]] {
                let expected = (want.unwrap_or(text).to_string(), want.is_some());
                assert_eq!(shown(stops, text, lengths), expected, "{stops:?} {text:?} {lengths:?}");
            }
        }
    }

    #[test]
    fn holds_back_only_what_may_be_a_stop_string() {
        let texts = ["<end>".to_string()];
        let mut stops = Stops::new(&texts);
        let mut out = String::new();
        for (piece, want) in [("a <", "a "), ("e", "a "), ("n", "a "), ("t", "a <ent"), ("<en<e", "a <ent<en")] {
            assert!(!stops.push(piece, &mut out));
            assert_eq!(out, want);
        }
        assert!(stops.push("nd> b", &mut out));
        assert_eq!(out, "a <ent<en");
        stops.finish(&mut out);
        assert!(stops.push("more", &mut out) && out == "a <ent<en");
    }
}
