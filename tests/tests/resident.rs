//! Opening a packed image reads its tables, and a token reads the weights it needs: counted in pages of the mapped file.
#![cfg(target_os = "linux")]

use std::{fs, path::Path};

use pipsqueak::{
    Config, KvType, PlanOptions,
    image::Entry,
    kernels::{Format, Panel, select},
    tensor::TensorKind,
};
use pipsqueak_cli::{model::Model, pool::with_session};
use pipsqueak_tests::{
    engine::TinyFile,
    tiny_model::{TinyModel, tiny_config},
};

/// Bytes of the mapped file that are in this process's memory.
fn resident(path: &Path) -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
    let rss = lines.find_map(|line| line.strip_prefix("Rss:")).expect("the file is mapped");
    rss.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

#[test]
fn a_packed_image_is_read_where_it_is_needed() {
    // A large embedding, of which a token needs a row, and a head of its own.
    let config = Config { vocab_size: 120_000, tied_head: false, ..tiny_config() };
    let packed = TinyFile::new(TinyModel::random(config, 1)).pack(Format::F32, Panel::R1);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("resident-{}.pips", std::process::id()));
    fs::write(&path, packed.bytes()).unwrap();
    // Around a byte that is read, the system may map a stretch of what it has at hand: two megabytes, on some.
    const AROUND: u64 = 8 << 20;

    let model = Model::open(Some(&path), None, select::best(), 1, &|_, _| panic!("it was packed again")).unwrap();
    let image = model.image().unwrap();
    let len = |entry: Option<Entry>| entry.unwrap().len;
    let embedding = len(image.entries().find(|entry| entry.kind == TensorKind::TokenEmbedding));
    assert!(embedding > 3 * AROUND);
    let opened = resident(&path);
    assert!(opened <= AROUND, "opening made {opened} bytes resident");

    let options = PlanOptions { context: 4, kv: KvType::F32, batch: 1, logits: 1, threads: 1 };
    with_session(&image, select::best(), options, |session| {
        session.prefill(&[30_000])?;
        assert_eq!(session.logits().len(), 120_000);
        Ok(())
    })
    .unwrap();
    let answered = resident(&path);
    let needed = image.len() as u64 - embedding;
    assert!(
        (needed - AROUND..=needed + AROUND).contains(&answered),
        "a token made {answered} bytes resident, not {needed}"
    );
    // The measure measures: checking all weights reads all of them.
    image.verify().unwrap();
    assert!(resident(&path) >= image.len() as u64 - AROUND);
    fs::remove_file(&path).unwrap();
}
