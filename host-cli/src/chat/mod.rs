//! Talking with a model: its chat template, the pieces of it that an image carries, conversations and their tokens.

mod conversation;
mod pieces;
mod talk;
mod template;

pub use conversation::{Aligned, Conversation, NoteError, Shape, Turn, Whole, aligned};
pub use pieces::{PiecesError, section};
pub use talk::{Answer, Settings, Stopped, Talk, TalkError};
pub use template::{FUEL, MAX_SOURCE, Role, Template, TemplateError};
