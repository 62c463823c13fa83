//! Messages without `core::fmt`'s machinery: for errors on a chip, where formatting one number costs two kilobytes.
//!
//! An error's `say` hands its text to a [`Sink`], piece by piece; its `Display` is the same text.

use core::fmt;

/// Takes a piece of text.
pub type Sink<'s> = dyn FnMut(&str) -> fmt::Result + 's;

/// Writes `template` with `numbers` in place of its marks, in order: `{}` decimal, `{x}` hexadecimal, `{2}` and `{8}` with so
/// many hexadecimal digits. A mark without a number is left out.
pub fn say(sink: &mut Sink<'_>, template: &str, numbers: &[u64]) -> fmt::Result {
    let mut numbers = numbers.iter();
    let mut rest = template;
    while let Some(at) = rest.bytes().position(|byte| byte == b'{') {
        sink(rest.get(..at).unwrap_or_default())?;
        rest = rest.get(at + 1..).unwrap_or_default();
        let (base, digits) = match rest.as_bytes().first() {
            Some(b'}') => (10, 1),
            Some(b'x') => (16, 1),
            Some(digit) => (16, (digit & 15) as usize),
            None => break,
        };
        rest = rest.get(if base == 10 { 1.. } else { 2.. }).unwrap_or_default();
        if let Some(number) = numbers.next() {
            write(sink, *number, base, digits)?;
        }
    }
    sink(rest)
}

/// What every error says about code that a cargo feature would link.
pub fn left_out(sink: &mut Sink<'_>, feature: &str) -> fmt::Result {
    sink("this build leaves out the feature ")?;
    sink(feature)
}

/// Writes `value` with at least `digits` digits to the base 10 or 16.
fn write(sink: &mut Sink<'_>, value: u64, base: u32, digits: usize) -> fmt::Result {
    // As many as u64::MAX has.
    let mut text = [b'0'; 20];
    let mut left = value;
    let mut start = text.len();
    for (at, place) in text.iter_mut().enumerate().rev() {
        let digit;
        (left, digit) = divided(left, base);
        *place = if digit < 10 { b'0' + digit as u8 } else { b'a' - 10 + digit as u8 };
        start = at;
        if left == 0 {
            break;
        }
    }
    let start = start.min(text.len() - digits.min(text.len()));
    sink(core::str::from_utf8(text.get(start..).unwrap_or(&[])).unwrap_or_default())
}

/// Quotient and rest of `value / by`, bit by bit: chips of 32 bits link a kilobyte for dividing a `u64`. Dividing by 0 gives
/// nothing of use. `by` is below 2^31.
pub fn divided(value: u64, by: u32) -> (u64, u32) {
    if let Ok(value) = u32::try_from(value) {
        let quotient = value.checked_div(by).unwrap_or(0);
        return (quotient.into(), value.wrapping_sub(quotient.wrapping_mul(by)));
    }
    let (mut quotient, mut rest) = (value, 0u32);
    for _ in 0..u64::BITS {
        rest = rest << 1 | (quotient >> 63) as u32;
        quotient <<= 1;
        if rest >= by {
            rest -= by;
            quotient |= 1;
        }
    }
    (quotient, rest)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{format, string::String};

    use super::*;

    fn said(template: &str, numbers: &[u64]) -> String {
        let mut out = String::new();
        let mut sink = |text: &str| {
            out.push_str(text);
            Ok(())
        };
        say(&mut sink, template, numbers).unwrap();
        out
    }

    #[test]
    fn says_what_format_says() {
        for n in [0, 1, 9, 10, 255, 4_294_967_295, 4_294_967_296, 10_000_000_000, u64::MAX - 1, u64::MAX] {
            assert_eq!(said("a {} b {x} {8}é", &[n, n, n]), format!("a {n} b {n:x} {n:08x}é"));
            assert_eq!(said("{2}{}", &[n & 255, n]), format!("{:02x}{n}", n & 255));
        }
        assert_eq!(said("nothing", &[1]), "nothing");
        assert_eq!(said("{} and {}", &[1]), "1 and ");
    }

    #[test]
    fn divides() {
        for value in [0, 1, 999, 1 << 32, 123_456_789_012_345, u64::MAX] {
            for by in [1u32, 2, 10, 16, 1000, 65_537, 0x7fff_ffff] {
                assert_eq!(divided(value, by), (value / by as u64, (value % by as u64) as u32));
            }
        }
    }
}
