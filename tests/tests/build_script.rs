//! The packer as a firmware's `build.rs` calls it: from a path to the bytes that the program includes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pipsqueak::{
    Image,
    kernels::{Format, Panel},
};
use pipsqueak_cli::{
    boards, boxed,
    failure::Failure,
    pack::{Quant, Recipe, Step},
    source::Encoding,
};
use pipsqueak_tests::{
    engine::Aligned,
    small_vocab,
    tiny_model::{TinyModel, tiny_config},
};

/// What the page and the documentation show, with the folder that cargo would name.
fn build(model: &Path, recipe: &Recipe<'_>, out_dir: &Path) -> Result<(), Failure> {
    let image = recipe.pack(Some(model))?;
    fs::write(out_dir.join("model.pips"), image.bytes()).map_err(Failure::new)
}

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_build_script_packs_any_model_for_any_board() {
    let folder = Folder::new("build-script");
    let model = TinyModel::random(tiny_config(), 1);
    let gguf = folder.0.join("model.gguf");
    fs::write(&gguf, model.gguf(Encoding::Q8_0).bytes()).unwrap();
    let hf = folder.0.join("hugging face");
    model.huggingface(Encoding::F32).with_vocab(&small_vocab::sentencepiece()).folder(Some(2)).write(&hf);
    let image_of = |model: &Path, recipe: Recipe<'_>| {
        build(model, &recipe, &folder.0).unwrap();
        Aligned::new(&fs::read(folder.0.join("model.pips")).unwrap())
    };
    for board in boards::ALL {
        let bytes = image_of(&gguf, Recipe::for_target(board.name));
        let image = Image::open(bytes.bytes()).unwrap();
        image.verify().unwrap();
        let quantised = || image.entries().filter(|entry| entry.format.is_quantised());
        assert!(quantised().count() == 15 && quantised().all(|entry| entry.panel == board.panel()), "{}", board.name);
        assert!(image.golden(pipsqueak::KvType::I8).is_some(), "a self-test on the board needs one");
    }
    // Rounded, weighted by what the model writes itself, or by a text; the head wider unless told otherwise.
    for (recipe, head) in [
        (Recipe { quant: Quant::To(Format::Q4), ..Recipe::for_target("dsp") }, Format::Q8),
        (
            Recipe { quant: Quant::To(Format::Q4), calibration: Some("the and"), ..Recipe::for_target("dsp") },
            Format::Q8,
        ),
        (
            Recipe { quant: Quant::To(Format::Q4), head: Some(Quant::To(Format::F16)), ..Recipe::for_target("dsp") },
            Format::F16,
        ),
    ] {
        let bytes = image_of(&hf, recipe);
        let image = Image::open(bytes.bytes()).unwrap();
        for entry in image.entries().filter(|entry| !entry.kind.is_vector()) {
            let embedding = entry.kind == pipsqueak::tensor::TensorKind::TokenEmbedding;
            assert_eq!(entry.format, if embedding { head } else { Format::Q4 }, "{:?}", entry.kind);
            assert!(!entry.format.is_quantised() || entry.panel == Panel::D4);
        }
        // The number of threads changes no byte.
        assert!(
            image_of(&hf, Recipe { threads: Some(1), ..recipe }).bytes()
                == image_of(&hf, Recipe { threads: Some(3), ..recipe }).bytes()
        );
    }
}

#[test]
fn steps_are_told_in_order() {
    let seen = std::sync::Mutex::new(Vec::new());
    let recipe = Recipe { quant: Quant::To(Format::Q4M), ..Recipe::for_target("scalar") };
    let image = recipe
        .pack_with(None, &|step, done, total| {
            assert!(done <= total, "{step:?}: {done} of {total}");
            let mut seen = seen.lock().unwrap();
            if seen.last() != Some(&step) {
                seen.push(step);
            }
        })
        .unwrap();
    assert_eq!(seen.into_inner().unwrap(), [Step::Writing, Step::Measuring, Step::Packing]);
    let boxed = Image::open(boxed::stories()).unwrap();
    assert_eq!(Image::open(image.bytes()).unwrap().config(), boxed.config());
}

/// The example `build` of `pipsqueak-cli`, with the profile of these tests.
fn example() -> PathBuf {
    let this = env::current_exe().expect("this test's file");
    let profile = this.ancestors().nth(2).and_then(Path::file_name).and_then(|name| name.to_str());
    let profile = profile.filter(|name| *name != "debug").unwrap_or("dev");
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--package",
            "pipsqueak-cli",
            "--example",
            "build",
            "--message-format",
            "json",
            "--profile",
            profile,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the example does not build");
    let text = String::from_utf8(output.stdout).expect("JSON lines");
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    executable.expect("an example was built")
}

/// The build script of docs/firmware.md, run as cargo runs one: in the package's folder, told where to write.
#[test]
fn the_page_s_build_script_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/firmware.md")).unwrap();
    let source = fs::read_to_string(root.join("host-cli/examples/build.rs")).unwrap();
    let (_, code) = source.split_once("\n\n").unwrap();
    assert!(
        page.contains(&format!("```rust\n{code}```")),
        "host-cli/examples/build.rs is not what docs/firmware.md shows"
    );

    let folder = Folder::new("build-script-page");
    let (package, out_dir) = (folder.0.join("package"), folder.0.join("out"));
    fs::create_dir_all(package.join("models")).unwrap();
    fs::create_dir_all(&out_dir).unwrap();
    let script = example();
    let run = || Command::new(&script).current_dir(&package).env("OUT_DIR", &out_dir).output().unwrap();
    let output = run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.starts_with("Error: models/stories.gguf: "), "{said}");

    let model = TinyModel::random(tiny_config(), 2).gguf(Encoding::Q4_0).bytes();
    fs::write(package.join("models/stories.gguf"), model).unwrap();
    let output = run();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"cargo::rerun-if-changed=models/stories.gguf\n");
    let bytes = Aligned::new(&fs::read(out_dir.join("stories.pips")).unwrap());
    let image = Image::open(bytes.bytes()).unwrap();
    image.verify().unwrap();
    assert!(image.entries().all(|entry| !entry.format.is_quantised() || entry.panel == Panel::D4));
}

/// One plain line, as a failed build shows it.
#[test]
fn faults_are_told_in_words() {
    let folder = Folder::new("build-script-faults");
    let model = TinyModel::random(tiny_config(), 1);
    let gguf = folder.0.join("model.gguf");
    let bytes = model.gguf(Encoding::Q8_0).bytes();
    fs::write(&gguf, &bytes).unwrap();
    let fault = |model: &Path, recipe: Recipe<'_>| {
        let failure = build(model, &recipe, &folder.0).unwrap_err();
        assert_eq!(format!("{failure:?}"), failure.message, "what a `main` prints");
        assert!(!failure.message.contains('\n'));
        failure.to_string()
    };
    let said = fault(&gguf, Recipe::for_target("atari"));
    assert!(said.contains("atari: known are the kernel sets scalar, neon") && said.contains("microbit"), "{said}");
    let said = fault(&folder.0.join("none.gguf"), Recipe::KEEP);
    assert!(said.contains("none.gguf: "), "{said}");
    let said = fault(&gguf, Recipe { calibration: Some("a text"), ..Recipe::KEEP });
    assert!(said.contains("no vocabulary"), "{said}");
    fs::write(&gguf, &bytes[..bytes.len() - 1]).unwrap();
    let said = fault(&gguf, Recipe::KEEP);
    assert!(said.contains("model.gguf: tensor ") && said.contains("is it complete?"), "{said}");
}
