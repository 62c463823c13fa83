//! What the boards print is what this machine computes, and every board is known to `pack --for`.

use std::{fmt::Write, fs, path::Path};

use pipsqueak::{crc::Crc32, kernels::select};
use pipsqueak_cli::{
    boards,
    digits::{HIDDEN, Net, SIDE},
};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn digits_are_read_as_boards_read_them() {
    let levels: Vec<f32> = read("demos/digits.txt")
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|level| f32::from(level.saturating_sub(b'0').min(9)) / 9.0)
        .collect();
    let pictures: Vec<Vec<f32>> = levels.chunks(usize::from(SIDE * SIDE)).map(<[f32]>::to_vec).collect();
    let mut expected = String::new();
    for (index, reading) in Net::open(HIDDEN, select::best()).unwrap().read(&pictures).unwrap().iter().enumerate() {
        let bits = Crc32::new().update_f32(&reading.scores).finish();
        let _ = writeln!(expected, "picture {} is a {} (scores {bits:08x})", index + 1, reading.class);
    }
    assert_eq!(read("demos/digits.out"), expected);
}

#[test]
fn the_story_is_the_box_s() {
    let box_story = read("../host-cli/box/stories.txt");
    assert_eq!(read("demos/story.out").trim_end(), box_story.trim_end());
}

#[test]
fn every_board_can_be_packed_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if !entry.path().join(".cargo/config.toml").exists() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        let board = boards::by_name(&name).unwrap_or_else(|| panic!("{name} is not in host-cli/src/boards.rs"));
        // The same kernels: a set of its own has its packed models in a folder of its name.
        let config = read(&format!("{name}/.cargo/config.toml"));
        let packed = config.split_once("target/models/").map_or("scalar", |(_, rest)| rest.split_once('/').unwrap().0);
        assert_eq!(board.kernels, packed, "{name}");
        count += 1;
    }
    assert!(count >= 10, "{count} boards");
}
