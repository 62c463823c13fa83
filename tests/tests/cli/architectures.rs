//! Files of every architecture, from import to self-test.

use std::fs;

use pipsqueak::{Config, kernels::select};
use pipsqueak_cli::source::Encoding;
use pipsqueak_tests::tiny_model::{self, TinyModel, tiny_config};

use super::program::{Folder, run};

#[test]
fn every_architecture_packs_runs_and_tests_itself() {
    let folder = Folder::new("architectures");
    let ids: Vec<String> = (0..64).map(|i| (i * 37 % 300).to_string()).collect();
    for (name, config) in tiny_model::architectures(Config { seq_len: 64, ..tiny_config() }, 9) {
        let gguf = TinyModel::random(config, 3).gguf(Encoding::Q8_0);
        let gguf = folder.file(&format!("{name}.gguf"), &gguf.bytes());
        let image = folder.name(&format!("{name}.pips"));
        let packed = run(&["pack", &gguf, "-o", &image]);
        assert_eq!(packed.status, 0, "{name}: {packed:?}");
        let check = run(&["selftest", &image]);
        let right = check.stderr.matches("cache is right").count();
        assert!(check.status == 0 && right == 3 * select::all().count(), "{name}: {check:?}");

        let out = folder.name("logits.f32");
        let logits = |model: &str, more: &[&str]| {
            assert!(run(&[&["logits", model, "--ids", &ids.join(","), "-o", &out], more].concat()).text().is_empty());
            fs::read(&out).unwrap()
        };
        let first = logits(&gguf, &[]);
        // A folder of the same weights says the same.
        let plain = TinyModel::random(config, 3);
        let plain_gguf = folder.file(&format!("{name}-plain.gguf"), &plain.gguf(Encoding::F32).bytes());
        plain.huggingface(Encoding::F32).folder(Some(2)).write(&folder.path().join(name));
        let [got, want] = [folder.name(name), plain_gguf].map(|model| logits(&model, &[]));
        assert!(got == want, "{name}");
        assert_eq!(first.len(), 64 * 300 * 4);
        for more in [&[][..], &["--kernels", "scalar", "--batch", "1"], &["--threads", "2", "--batch", "20"]] {
            assert!(logits(&image, more) == first, "{name} {more:?}");
        }

        assert_eq!(run(&["inspect", &gguf, "--json"]).json()["config"]["architecture"], name);
        let text = run(&["inspect", &image]).text();
        assert!(text.contains(&format!("shape     {name}, dim 64, {} layers", config.n_layers)), "{text}");
        let windows = "window    9 positions in all layers but one in 3";
        assert_eq!(text.contains(windows), name == "gemma3", "{text}");
        // One position more than the model was trained for, or has embeddings for.
        run(&["logits", &image, "--ids", &[&ids.join(","), ",1"].concat(), "-o", &out]).fails(1, &["65", "64"]);
    }
}
