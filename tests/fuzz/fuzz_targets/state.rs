//! Any bytes as a saved session: refused, or a session that goes on. Checksums, the model's digest and the length are
//! put right first, or fuzzing would end at them.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pipsqueak::{
    Image, KvType, Plan, PlanOptions, SessionError,
    crc::crc32,
    digest,
    kernels::{Format, Panel, select, team::Team},
    state::{STATE_HEADER_BYTES, StateError, StateHeader, state_bytes},
};
use pipsqueak_cli::pack::Packed;
use pipsqueak_tests::engine::Arenas;

fn model() -> &'static Packed {
    static MODEL: OnceLock<Packed> = OnceLock::new();
    MODEL.get_or_init(|| pipsqueak_fuzz::state_model().pack(Format::Q8, Panel::R4))
}

/// Puts right what would be looked at before the rest.
fn repair(bytes: &mut [u8], image: &Image<'_>) {
    if bytes.len() < STATE_HEADER_BYTES + 4 {
        return;
    }
    let (head, body) = bytes.split_at_mut(STATE_HEADER_BYTES);
    let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i])) as usize;
    let kv = KvType::ALL[head[32] as usize % 3];
    let need = state_bytes(image.config(), kv, number(20), number(24), number(28));
    head[..8].copy_from_slice(b"PIPK\x01\0\x01\0");
    head[8..16].copy_from_slice(&need.to_le_bytes());
    head[16..20].copy_from_slice(&digest::of(image).to_le_bytes());
    head[32] = kv as u8;
    let crc = crc32(&head[..60]);
    head[60..].copy_from_slice(&crc.to_le_bytes());
    let end = (need as usize).saturating_sub(STATE_HEADER_BYTES + 4);
    if let Some((content, rest)) = body.split_at_mut_checked(end)
        && let Some(stored) = rest.first_chunk_mut::<4>()
    {
        *stored = crc32(content).to_le_bytes();
    }
}

fuzz_target!(|data: &[u8]| {
    let image = Image::open(model().bytes()).expect("the model");
    let mut bytes = data.to_vec();
    if crc32(data) & 7 != 0 {
        repair(&mut bytes, &image);
    }
    let kv = StateHeader::parse(&bytes).map_or(KvType::F16, |header| header.kv);
    let plan = Plan::new(image.config(), PlanOptions { context: 12, kv, batch: 3, logits: 1, threads: 1 });
    let mut arenas = Arenas::new(&plan);
    let team = Team::alone();
    let mut session = arenas.session(&image, select::best(), &team, &plan);
    session.fill(&[1, 2]).expect("two tokens");
    let mut rest = &bytes[..];
    let (mut tokens, mut note) = ([0; 64], [0; 16]);
    let restored = session.restore(digest::of(&image), &mut tokens, &mut note, &mut |out| {
        let (piece, after) = rest.split_at(out.len().min(rest.len()));
        out[..piece.len()].copy_from_slice(piece);
        rest = after;
        piece.len()
    });
    match restored {
        Ok(header) => {
            assert_eq!(session.position(), header.position);
            // What was read is written the same.
            let mut again = Vec::new();
            let note = &note[..header.note.min(note.len())];
            let saved = session.save(header.model, &tokens[..header.tokens], note, &mut |piece| {
                again.extend(piece);
                Ok(())
            });
            assert_eq!(saved, Ok(()));
            if header.note == note.len() {
                assert!(again == bytes[..again.len()]);
            }
        }
        Err(StateError::Truncated { .. } | StateError::Checksum { .. } | StateError::Token { .. }) => {
            assert!(matches!(session.position(), 0 | 2));
        }
        Err(_) => assert_eq!(session.position(), 2),
    }
    if session.remaining() > 1 {
        match session.prefill(&[3, 0]) {
            Ok(()) => assert!(session.logits().iter().all(|x| x.is_finite())),
            Err(error) => assert!(matches!(error, SessionError::NotFinite { .. }), "{error}"),
        }
    }
});
