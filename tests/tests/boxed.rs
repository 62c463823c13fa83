//! The model in the box keeps what it promises: its size, its memory, its checksums, its layout.

use pipsqueak::{
    Image, Plan, PlanOptions,
    image::Text,
    kernels::{Format, Panel},
};
use pipsqueak_cli::boxed;

#[test]
fn fits_a_small_chip() {
    let bytes = boxed::stories();
    assert!(bytes.len() <= 200_000, "{} bytes", bytes.len());
    let image = Image::open(bytes).unwrap();
    image.verify().unwrap();
    for entry in image.entries().filter(|entry| !entry.kind.is_vector()) {
        assert_eq!((entry.format, entry.panel), (Format::Q4, Panel::R1), "{:?} {}", entry.kind, entry.layer);
    }
    // 128 KB, with 8 KB left for the stack and the firmware's own.
    let plan = Plan::new(image.config(), PlanOptions::small(256));
    assert!(plan.total_bytes() <= 120 * 1024, "{} bytes", plan.total_bytes());
}

#[test]
fn says_what_it_is() {
    let image = Image::open(boxed::stories()).unwrap();
    assert_eq!(image.text(Text::Name), Some("stories"));
    assert!(image.text(Text::Licence).is_some() && image.text(Text::Origin).is_some());
    let vocab = image.vocab().unwrap();
    assert!(vocab.bos().is_some() && vocab.stops().next().is_some());
}
