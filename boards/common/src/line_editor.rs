//! A line of text, typed over a serial line: echo, backspace, Ctrl-U, Ctrl-C, Ctrl-D.

use heapless::String;

use crate::Console;

const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const BELL: &str = "\u{7}";

/// Reads a line into `line`, which it empties first; `false` when there will be no more. What does not fit rings the bell.
/// With `echo` the line editor shows what is typed, as a serial terminal expects.
pub fn read_line<const N: usize>(console: &mut impl Console, line: &mut String<N>, echo: bool) -> bool {
    line.clear();
    let shown = |console: &mut _, text: &str| {
        if echo {
            let _ = core::fmt::Write::write_str(console, text);
        }
    };
    // The bytes of a character that has not ended yet.
    let mut character = [0u8; 4];
    let mut held = 0;
    while let Some(byte) = console.read() {
        match byte {
            b'\r' | b'\n' => {
                shown(console, "\r\n");
                return true;
            }
            BACKSPACE | DELETE => {
                held = 0;
                if line.pop().is_some() {
                    shown(console, "\u{8} \u{8}");
                }
            }
            CTRL_U | CTRL_C => {
                held = 0;
                while line.pop().is_some() {
                    shown(console, "\u{8} \u{8}");
                }
            }
            CTRL_D if line.is_empty() => return false,
            0..b' ' => {}
            _ => {
                if let Some(place) = character.get_mut(held) {
                    *place = byte;
                }
                held = (held + 1).min(character.len());
                match core::str::from_utf8(character.get(..held).unwrap_or(&[])) {
                    Ok(text) => {
                        held = 0;
                        shown(console, if line.push_str(text).is_ok() { text } else { BELL });
                    }
                    // The rest of the character is still to come, or it is none.
                    Err(error) => held = if error.error_len().is_none() { held } else { 0 },
                }
            }
        }
    }
    !line.is_empty()
}
