//! An importer's memory is bounded by the file's length, whatever the file claims.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use pipsqueak::{
    Config,
    kernels::{Format, Panel},
};
use pipsqueak_cli::{
    import::{self, gguf, huggingface, llama2c},
    pack::Quant,
    source::Encoding,
};
use pipsqueak_tests::{
    engine::packed,
    gguf_writer::{GgufWriter, Value},
    small_vocab,
    tiny_model::{TinyModel, architectures, tiny_config},
};

/// The system's allocator, with a count of what this thread holds and held at most.
struct Counting;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to `System` as it came; the counters are plain numbers and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.set(NOW.get().saturating_add(layout.size()));
        PEAK.set(PEAK.get().max(NOW.get()));
        // SAFETY: the caller's promises about `layout` are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.set(NOW.get().saturating_sub(layout.size()));
        // SAFETY: `pointer` came from `System` with this layout, as all of ours do.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` held at a time.
fn peak(work: impl FnOnce()) -> usize {
    let before = NOW.get();
    PEAK.set(before);
    work();
    PEAK.get() - before
}

/// A header overwritten at every place with numbers that would be dear to believe.
#[test]
fn claims_are_not_believed() {
    let model = TinyModel::random(tiny_config(), 1);
    for (name, bytes, header_len) in [
        ("gguf", model.gguf(Encoding::Q8_0).bytes(), 1600),
        ("llama2.c version 0", model.llama2c_v0(), 28),
        ("llama2.c version 1", model.llama2c_v1(), 37),
        ("llama2.c version 2", model.llama2c_v2(64), 41),
    ] {
        let mut most = 0;
        for at in 0..header_len {
            for value in [1u32 << 20, 1 << 24, (1 << 28) - 1, i32::MAX as u32, u32::MAX] {
                let mut bytes = bytes.clone();
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                most = most.max(peak(|| drop(import::open(&bytes, None))));
            }
        }
        println!("{name}: {most} bytes at most for a file of {}", bytes.len());
        assert!(most < 64 * 1024, "{name}: {most} bytes");
    }
}

/// The same for a folder: numbers of its configuration and of its header.
#[test]
fn claims_of_a_folder_are_not_believed() {
    let model = TinyModel::random(tiny_config(), 1).huggingface(Encoding::BF16).with_vocab(&small_vocab::bpe());
    let folder = model.folder(None);
    let vocabulary = folder.0["tokenizer.json"].len();
    let mut most = 0;
    for key in
        ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "head_dim"]
    {
        for value in [1u64 << 12, 1 << 20, 1 << 24, u64::from(u32::MAX), u64::MAX] {
            let mut model = model.clone();
            model.config[key] = value.into();
            let folder = model.folder(None);
            most = most.max(peak(|| drop(huggingface::open(&folder.files()))));
            // Without weights to compare it with.
            most = most.max(peak(|| drop(huggingface::vocab_only(&folder.files()))));
        }
    }
    let weights = &folder.0["model.safetensors"];
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    for at in (0..header).step_by(3) {
        let mut folder = folder.clone();
        let bytes = folder.0.get_mut("model.safetensors").unwrap();
        bytes[at..at + 8].copy_from_slice(b"99999999");
        most = most.max(peak(|| drop(huggingface::open(&folder.files()))));
    }
    let bound = 16 * (header + vocabulary);
    println!("folder: {most} bytes at most for a header of {header} and a vocabulary of {vocabulary}");
    assert!(most < bound, "{most} bytes of {bound}");
}

/// A folder is packed tensor by tensor: beside the image there is room for a few rows, not for the weights as `f32`.
#[test]
fn a_folder_is_packed_tensor_by_tensor() {
    let config = Config { dim: 256, hidden_dim: 1024, head_dim: 64, rope_dim: 64, n_layers: 4, ..tiny_config() };
    // GPT-2's matrices lie the other way round in the file.
    let gpt2 = architectures(config, 9).into_iter().filter(|(name, _)| *name == "gpt2");
    for (name, config) in [("llama", config)].into_iter().chain(gpt2) {
        let folder = TinyModel::random(config, 1).huggingface(Encoding::BF16).folder(Some(3));
        let files = folder.files();
        for (quant, part) in [(Format::Q8, 8), (Format::Q4, 4)] {
            let mut image = 0;
            let most = peak(|| {
                let source = huggingface::open(&files).unwrap();
                image = packed(&source, Quant::To(quant), Panel::R8).bytes().len();
            });
            let (weights, quant) = (config.parameters() as usize * 4, quant.name());
            println!("{name}, {quant}: {most} bytes at most for an image of {image}; the weights are {weights} as f32");
            assert!(most < image + 64 * 1024, "{name}: {most} bytes for an image of {image}");
            assert!(image < weights * part / 24, "the image is small beside the weights");
        }
    }
}

/// The densest vocabularies: tokens without a letter.
#[test]
fn empty_tokens() {
    let n = 100_000;
    let mut writer = GgufWriter::default();
    let merges = vec![" ".into(); n];
    writer.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "gpt-2");
    writer.set("tokenizer.ggml.tokens", Value::Strs(vec![String::new(); n]));
    writer.set("tokenizer.ggml.merges", Value::Strs(merges));
    let bytes = writer.bytes();
    let most = peak(|| drop(gguf::vocab_only(&bytes).unwrap()));
    assert!(most < 32 * bytes.len(), "{most} bytes for a file of {}", bytes.len());

    let bytes = vec![0; 4 + 8 * n];
    let most = peak(|| drop(llama2c::tokenizer(&bytes, n as u32).unwrap()));
    assert!(most < 32 * bytes.len(), "{most} bytes for a file of {}", bytes.len());
    assert!(peak(|| drop(llama2c::tokenizer(&bytes[..100], u32::MAX))) < 4096);
}
