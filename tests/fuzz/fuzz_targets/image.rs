//! Any bytes as an image: refused, or a model that runs a few tokens. Checksums are put right first, or fuzzing would end
//! at them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pipsqueak::{Image, KvType, Plan, PlanOptions, SessionError, crc::crc32, kernels::select};
use pipsqueak_cli::pool::with_team;
use pipsqueak_tests::engine::{Aligned, Arenas, repair};

fuzz_target!(|data: &[u8]| {
    let mut bytes = Aligned::new(data);
    if crc32(data) & 7 != 0 {
        repair(bytes.bytes_mut());
    }
    let Ok(image) = Image::open(bytes.bytes()) else { return };
    let _ = (image.chat(), image.digest(), pipsqueak::digest::of(&image));
    let _ = (image.verify(), image.vocab(), pipsqueak::image::Text::ALL.map(|text| image.text(text)));
    let kv = KvType::ALL[data.len() % 3];
    let plan = Plan::new(image.config(), PlanOptions { context: 5, kv, batch: 3, logits: 1, threads: 1 });
    if plan.total_bytes() > 1 << 24 {
        return;
    }
    with_team(1, |team| {
        let mut arenas = Arenas::new(&plan);
        let mut session = arenas.session(&image, select::best(), team, &plan);
        let last = image.config().vocab_size - 1;
        match session.prefill(&[0, last, last / 2, 0]).and_then(|()| session.decode(last)) {
            Ok(()) => assert!(session.logits().iter().all(|x| x.is_finite())),
            Err(error) => assert!(matches!(error, SessionError::NotFinite { .. }), "{error}"),
        }
    });
});
