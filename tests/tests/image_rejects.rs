//! Nothing in an image is trusted: whatever is wrong is a typed error when it is opened, or one when it runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pipsqueak::{
    Config, ConfigError, Image, ImageError, KvType, Plan, PlanOptions, Session, SessionError, TensorKind,
    config::Arch,
    crc::crc32,
    image::{ENTRY_BYTES, Entry, HEADER_BYTES, Header, Part, Section},
    kernels::{Format, LayoutError, Panel, select, team::Team},
};
use pipsqueak_cli::pack::{ModelParts, PackOptions, Quant, pack};
use pipsqueak_tests::{
    engine::{Aligned, Arenas, TinyFile, repair},
    rng::Rng,
    small_vocab,
    tiny_model::{self, TinyModel, tiny_config},
};

const DIRECTORY: usize = 0;
const ROPE: usize = 1;
const VOCABULARY: usize = 2;
const TEXT: usize = 3;
const GOLDEN: usize = 4;
const PARTS: [Part; 5] = [Part::Directory, Part::Rope, Part::Vocabulary, Part::Text, Part::Golden];

fn config() -> Config {
    Config { dim: 32, hidden_dim: 40, n_heads: 2, n_kv_heads: 1, head_dim: 16, tied_head: false, ..tiny_config() }
}

fn file() -> TinyFile {
    let mut file = TinyFile::new(TinyModel::random(config(), 1));
    file.vocab = Some(small_vocab::sentencepiece());
    file
}

/// A small image with everything an image may carry.
fn whole(format: Format, panel: Panel) -> Aligned {
    let file = file();
    let parts = ModelParts::from_source(&file.source()).unwrap();
    let panel = |_: Format| panel;
    let quant = Quant::To(format);
    let options = PackOptions { quant, head: quant, golden: Some(select::best()), ..PackOptions::keep(&panel, 1) };
    let packed = pack(&parts, &options).unwrap();
    Image::open(packed.bytes()).unwrap().verify().unwrap();
    Aligned::new(packed.bytes())
}

fn open(image: &Aligned) -> Result<(), ImageError> {
    Image::open(image.bytes()).map(|_| ())
}

/// A few tokens, in a batch and one by one.
fn run(image: &Image<'_>) -> Result<(), SessionError> {
    let options = PlanOptions { context: 6, kv: KvType::F16, batch: 4, logits: 1, threads: 1 };
    run_with(image, options)
}

fn run_with(image: &Image<'_>, options: PlanOptions) -> Result<(), SessionError> {
    let plan = Plan::new(image.config(), options);
    let Arenas { mut scratch, mut kv } = Arenas::new(&plan);
    let team = Team::alone();
    let mut session = Session::new(image, select::best(), &team, &plan, &mut scratch, &mut kv)?;
    let last = image.config().vocab_size - 1;
    session.prefill(&[0, 1.min(last), 2.min(last), last])?;
    session.decode(0)?;
    session.decode(last)?;
    assert!(session.logits().iter().all(|x| x.is_finite()));
    Ok(())
}

#[test]
fn every_truncation() {
    let image = whole(Format::Q8, Panel::R4);
    let full = image.bytes().len();
    for len in 0..full {
        match Image::open(&image.bytes()[..len]) {
            Err(ImageError::Truncated { got, .. }) if got == len as u64 => {}
            other => panic!("{len} of {full} bytes: {other:?}"),
        }
    }
    // More than the image is fine: flash is larger.
    let mut longer = image.bytes().to_vec();
    longer.extend([0xff; 100]);
    assert_eq!(Image::open(Aligned::new(&longer).bytes()).unwrap().len(), full);
}

#[test]
fn every_byte_of_header_and_tables() {
    let mut image = whole(Format::Q4, Panel::R1);
    let header = Header::parse(image.bytes()).unwrap();
    let mut checked = 0;
    let mut spans = vec![(Part::Header, 0, HEADER_BYTES)];
    let sections = PARTS.into_iter().zip(header.sections);
    spans.extend(sections.map(|(part, section)| (part, section.offset as usize, section.len as usize)));
    for (part, start, len) in spans {
        assert!(len > 0, "{part}");
        for at in start..start + len {
            for flip in [0x01, 0x80, 0xff] {
                image.bytes_mut()[at] ^= flip;
                let error = open(&image).err();
                let right = match error {
                    Some(ImageError::Magic { .. }) => at < 4,
                    Some(ImageError::Version { .. }) => at == 4 || at == 5,
                    Some(ImageError::Checksum { part: found, .. }) => found == part,
                    _ => false,
                };
                assert!(right, "{part}, byte {at}: {error:?}");
                image.bytes_mut()[at] ^= flip;
                checked += 1;
            }
        }
    }
    open(&image).unwrap();
    println!("{checked} corruptions");
}

#[test]
fn verify_sees_every_weight() {
    for (format, panel) in [(Format::Q4M, Panel::R8), (Format::F16, Panel::R1)] {
        let mut image = whole(format, panel);
        let entries: Vec<Entry> = Image::open(image.bytes()).unwrap().entries().collect();
        for entry in entries {
            let (start, len) = (entry.offset as usize, entry.len as usize);
            // Every byte of small tensors, some of large ones, the last one always.
            for at in (start..start + len).step_by(len / 97 + 1).chain([start + len - 1]) {
                image.bytes_mut()[at] ^= 0x10;
                let error = Image::open(image.bytes()).unwrap().verify().unwrap_err();
                let part = Part::Tensor { kind: entry.kind, layer: entry.layer };
                assert!(matches!(error, ImageError::Checksum { part: found, .. } if found == part), "{error:?}");
                image.bytes_mut()[at] ^= 0x10;
            }
        }
        Image::open(image.bytes()).unwrap().verify().unwrap();
    }
}

#[test]
fn a_wrong_base_address() {
    let image = whole(Format::F32, Panel::R1);
    for shift in [1, 2, 4, 8, 16, 32, 63] {
        let mut moved = vec![0; shift];
        moved.extend(image.bytes());
        let moved = Aligned::new(&moved);
        assert_eq!(Image::open(&moved.bytes()[shift..]).err(), Some(ImageError::Misaligned), "{shift}");
    }
}

/// Random damage. With `fix`, checksums are put right again, so that what is behind them is reached.
fn damage(rng: &mut Rng, image: &mut Aligned, fix: bool) {
    let header = Header::parse(image.bytes()).unwrap();
    let spans: Vec<(usize, usize)> = [(0, HEADER_BYTES)]
        .into_iter()
        .chain(header.sections.iter().map(|section| (section.offset as usize, section.len as usize)))
        .chain([(0, image.bytes().len())])
        .collect();
    for _ in 0..1 + rng.below(4) {
        let (start, len) = spans[rng.below(spans.len())];
        let at = start + rng.below(len);
        let width = [1, 1, 2, 4, 8][rng.below(5)];
        let value = match rng.below(4) {
            0 => rng.next_u64(),
            1 => u64::MAX,
            2 => 1 << rng.below(64),
            _ => rng.below(300) as u64,
        };
        for (byte, new) in image.bytes_mut()[at..].iter_mut().zip(value.to_le_bytes()).take(width) {
            *byte = new;
        }
    }
    if fix {
        repair(image.bytes_mut());
    }
}

#[test]
fn random_damage() {
    let mut rng = Rng::new(11);
    let [mut refused, mut ran, mut not_finite] = [0; 3];
    for (format, panel) in
        [(Format::Q8, Panel::R8), (Format::Q4, Panel::R16), (Format::Q4M, Panel::R1), (Format::F32, Panel::R1)]
    {
        let good = whole(format, panel);
        for round in 0..3000 {
            let mut image = good.clone();
            damage(&mut rng, &mut image, round % 3 != 0);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let image = Image::open(image.bytes()).ok()?;
                // What an image says about itself can be asked, whatever it is.
                let _ = image.verify();
                let _ = image.config().parameters();
                let _ = (image.text(pipsqueak::image::Text::Name), image.golden(KvType::F16), image.vocab());
                let fits = Plan::new(image.config(), PlanOptions { batch: 4, ..PlanOptions::small(6) }).total_bytes();
                (fits < 1 << 28).then(|| run(&image))
            }));
            match outcome {
                Ok(None) => refused += 1,
                Ok(Some(Ok(()))) => ran += 1,
                Ok(Some(Err(SessionError::NotFinite { .. }))) => not_finite += 1,
                other => panic!("{} round {round}: {other:?}", format.name()),
            }
        }
    }
    println!("{refused} refused, {ran} ran, {not_finite} became NaN or infinite");
    assert!(refused > 1000 && ran > 1000 && not_finite > 10);
}

/// An image taken apart, to be put together wrongly but with the right checksums.
struct Forge {
    image: Aligned,
    header: Header,
}

impl Forge {
    fn new(image: &Aligned) -> Self {
        Self { image: image.clone(), header: Header::parse(image.bytes()).unwrap() }
    }

    fn section(&self, index: usize) -> Vec<u8> {
        let Section { offset, len, .. } = self.header.sections[index];
        self.image.bytes()[offset as usize..][..len as usize].to_vec()
    }

    /// The image with another content in a section, at a new place behind everything.
    fn with_section(mut self, index: usize, content: &[u8]) -> Self {
        let mut bytes = self.image.bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        let offset = bytes.len() as u64;
        bytes.extend(content);
        self.image = Aligned::new(&bytes);
        self.header.file_len = bytes.len() as u64;
        self.header.sections[index] = Section { offset, len: content.len() as u64, crc: crc32(content) };
        self
    }

    fn with_entries(mut self, change: impl FnOnce(&mut Vec<Entry>)) -> Self {
        let mut entries: Vec<Entry> = Image::open(self.image.bytes()).unwrap().entries().collect();
        change(&mut entries);
        self.header.n_tensors = entries.len() as u32;
        let content: Vec<u8> = entries.iter().flat_map(Entry::to_bytes).collect();
        self.with_section(DIRECTORY, &content)
    }

    fn open(mut self) -> Result<Aligned, ImageError> {
        self.image.bytes_mut()[..HEADER_BYTES].copy_from_slice(&self.header.to_bytes());
        open(&self.image).map(|()| self.image)
    }
}

macro_rules! refused {
    ($forge:expr, $pattern:pat $(if $guard:expr)?) => {
        match $forge.open().map(|_| ()) {
            Err($pattern) $(if $guard)? => {}
            other => panic!("line {}: {other:?}", line!()),
        }
    };
}

#[test]
fn forged_headers() {
    let good = whole(Format::Q8, Panel::R1);
    let header = |change: &dyn Fn(&mut Header)| {
        let mut forge = Forge::new(&good);
        change(&mut forge.header);
        forge
    };
    header(&|_| {}).open().unwrap();

    type Field = fn(&mut Config) -> &mut u32;
    let fields: [(&str, Field); 9] = [
        ("dim", |c| &mut c.dim),
        ("hidden_dim", |c| &mut c.hidden_dim),
        ("n_layers", |c| &mut c.n_layers),
        ("n_heads", |c| &mut c.n_heads),
        ("n_kv_heads", |c| &mut c.n_kv_heads),
        ("head_dim", |c| &mut c.head_dim),
        ("vocab_size", |c| &mut c.vocab_size),
        ("seq_len", |c| &mut c.seq_len),
        ("rope_dim", |c| &mut c.rope_dim),
    ];
    for (name, field) in fields {
        for value in [0, u32::MAX, 1 << 31, 1 << 24, 1 << 16, 4096, 17, 3, 1] {
            let result = header(&|h| *field(&mut h.config) = value).open();
            match result {
                Err(ImageError::Config(ConfigError::OutOfRange { field: found, .. })) => {
                    assert!(found == name || found == "n_heads * head_dim", "{name} = {value}: {found}");
                }
                Err(_) => {
                    assert!(value != 0 || name == "rope_dim", "{name} = {value}: {result:?}", result = result.err())
                }
                // Only the context says nothing about any tensor.
                Ok(image) => {
                    assert!(name == "seq_len" || *field(&mut config()) == value, "{name} = {value}");
                    run(&Image::open(image.bytes()).unwrap()).unwrap();
                }
            }
        }
    }
    for value in [f32::NAN, f32::INFINITY, -1.0, 1.0] {
        refused!(
            header(&|h| h.config.norm_eps = value),
            ImageError::Config(ConfigError::NotANumber { field: "norm_eps", .. })
        );
    }
    for value in [f32::NAN, f32::INFINITY, -1.0, 0.0] {
        refused!(
            header(&|h| h.config.att_scale = value),
            ImageError::Config(ConfigError::NotANumber { field: "att_scale", .. })
        );
    }
    refused!(
        header(&|h| h.config.n_kv_heads = 3),
        ImageError::Config(ConfigError::Heads { n_heads: 2, n_kv_heads: 3 })
    );
    refused!(header(&|h| h.config.rope_dim = 18), ImageError::Config(ConfigError::RopeDim { rope_dim: 18, .. }));
    refused!(header(&|h| h.config.rope_dim = 15), ImageError::Config(ConfigError::RopeDim { rope_dim: 15, .. }));
    refused!(header(&|h| h.config.rope_dim = 14), ImageError::Section { part: Part::Rope });
    refused!(header(&|h| h.config.tied_head = true), ImageError::UnexpectedTensor { .. });
    for n in [0, 1, 20, 22, 1 << 20, u32::MAX] {
        refused!(header(&|h| h.n_tensors = n), ImageError::Section { part: Part::Directory });
    }
    // Codes that the types cannot hold.
    for (at, field) in [(68, "rope_pairs"), (69, "activation"), (70, "tied_head"), (71, "architecture")] {
        for code in [5u8, 255] {
            let mut image = good.clone();
            image.bytes_mut()[at] = code;
            repair(image.bytes_mut());
            let error = open(&image).unwrap_err();
            assert_eq!(error, ImageError::Config(ConfigError::Unknown { field, got: code.into() }));
        }
    }
    for (at, code, field) in [(68, 3, "rope_pairs"), (69, 3, "activation"), (70, 2, "tied_head")] {
        let mut image = good.clone();
        image.bytes_mut()[at] = code;
        repair(image.bytes_mut());
        let error = open(&image).unwrap_err();
        assert_eq!(error, ImageError::Config(ConfigError::Unknown { field, got: code.into() }));
    }
    // Another architecture has other tensors, or another RoPE.
    let arch = |arch| header(&|h| h.config.arch = arch);
    refused!(arch(Arch::Qwen2), ImageError::MissingTensor { kind: TensorKind::Bq, layer: 0 });
    refused!(arch(Arch::Qwen3), ImageError::MissingTensor { kind: TensorKind::RmsQ, layer: 0 });
    refused!(arch(Arch::Gpt2), ImageError::MissingTensor { kind: TensorKind::PositionEmbedding, layer: 0 });
    let gemma3 = |window, global_every| Arch::Gemma3 { window, global_every };
    refused!(arch(gemma3(0, 0)), ImageError::MissingTensor { kind: TensorKind::RmsQ, layer: 0 });
    refused!(arch(gemma3(8, 6)), ImageError::Section { part: Part::Rope });
    refused!(
        arch(gemma3((1 << 24) + 1, 6)),
        ImageError::Config(ConfigError::OutOfRange { field: "window", got: 0x100_0001, max: 0x100_0000 })
    );
    for (at, error) in [(4, ImageError::Version { got: 2 }), (6, ImageError::Arithmetic { got: 2 })] {
        let mut image = good.clone();
        image.bytes_mut()[at] = 2;
        repair(image.bytes_mut());
        assert_eq!(open(&image), Err(error));
    }

    let len = good.bytes().len() as u64;
    for file_len in [len + 1, len + 64, u64::MAX, 1 << 32] {
        refused!(header(&|h| h.file_len = file_len), ImageError::Truncated { need, got }
            if need == file_len && got == len);
    }
    for file_len in [0, 1, 255, 256, 300] {
        refused!(header(&|h| h.file_len = file_len), ImageError::Range { part: Part::Directory, .. });
    }
    // All but the last tensor.
    refused!(header(&|h| h.file_len = len - 64), ImageError::Range { part: Part::Tensor { .. }, .. });
    for (index, part) in PARTS.into_iter().enumerate() {
        let section = |change: &dyn Fn(&mut Section)| header(&|h| change(&mut h.sections[index]));
        for offset in [u64::MAX, u64::MAX - 63, len, 1 << 32, 1 << 63] {
            let offset = offset & !63;
            refused!(section(&|s| s.offset = offset), ImageError::Range { part: found, .. } if found == part);
        }
        for offset in [1, 4, 32] {
            refused!(section(&|s| s.offset += offset), ImageError::Range { part: found, .. } if found == part);
        }
        for len in [u64::MAX, len, u64::MAX - good.bytes().len() as u64, 1 << 32] {
            refused!(section(&|s| s.len = len), ImageError::Range { part: found, .. } if found == part);
        }
        refused!(section(&|s| s.crc ^= 1), ImageError::Checksum { part: found, .. } if found == part);
    }
}

#[test]
fn forged_directories() {
    let good = whole(Format::Q8, Panel::R4);
    let entries = |change: &dyn Fn(&mut Vec<Entry>)| Forge::new(&good).with_entries(change);
    let one = |at: usize, change: &dyn Fn(&mut Entry)| entries(&|all| change(&mut all[at]));
    entries(&|_| {}).open().unwrap();
    let all: Vec<Entry> = Image::open(good.bytes()).unwrap().entries().collect();
    let at = |kind| all.iter().position(|entry| entry.kind == kind).unwrap();
    let (embedding, norm, wq, w2) =
        (at(TensorKind::TokenEmbedding), at(TensorKind::RmsAtt), at(TensorKind::Wq), at(TensorKind::W2));

    for (i, Entry { kind, layer, .. }) in all.iter().copied().enumerate() {
        refused!(entries(&|all| all.retain(|entry| Entry::key(entry.kind, entry.layer) != Entry::key(kind, layer))), ImageError::MissingTensor { kind: k, layer: l }
            if (k, l) == (kind, layer));
        refused!(entries(&|all| all.insert(i, all[i])), ImageError::UnexpectedTensor { key }
            if key == Entry::key(kind, layer));
        for offset in [u64::MAX, u64::MAX - 63, good.bytes().len() as u64 * 2, 1 << 63] {
            refused!(one(i, &|e| e.offset = offset), ImageError::Range { part: Part::Tensor { kind: k, layer: l }, .. }
                if (k, l) == (kind, layer));
        }
        refused!(one(i, &|e| e.len = u64::MAX), ImageError::Range { .. });
        refused!(one(i, &|e| e.len -= 1), ImageError::Layout { error: LayoutError::Size { .. }, .. });
        refused!(one(i, &|e| e.len = 0), ImageError::Layout { error: LayoutError::Size { .. }, .. });
        for shift in [1, 2, 4, 32] {
            // Backwards, so that it stays inside the file.
            refused!(one(i, &|e| e.offset -= shift), ImageError::Layout { error: LayoutError::Alignment { .. }, .. });
        }
        for rows in [0, 33, u32::MAX] {
            refused!(one(i, &|e| e.rows = rows), ImageError::Shape { .. });
        }
        for cols in [0, 31, u32::MAX] {
            refused!(one(i, &|e| e.cols = cols), ImageError::Shape { .. });
        }
    }
    refused!(entries(&|all| all.clear()), ImageError::MissingTensor { kind: TensorKind::TokenEmbedding, layer: 0 });
    refused!(entries(&|all| all.swap(wq, wq + 1)), ImageError::MissingTensor { kind: TensorKind::Wq, layer: 0 });
    refused!(entries(&|all| all.reverse()), ImageError::MissingTensor { kind: TensorKind::TokenEmbedding, .. });
    refused!(entries(&|all| all.extend([all[wq]; 3])), ImageError::UnexpectedTensor { .. });
    let beyond = |all: &mut Vec<Entry>| all.push(Entry { layer: 2, ..all[wq] });
    refused!(entries(&beyond), ImageError::UnexpectedTensor { .. });
    refused!(one(wq, &|e| e.layer = (1 << 24) - 2), ImageError::MissingTensor { kind: TensorKind::Wq, layer: 0 });
    // Another role of the same shape, out of its place.
    refused!(one(wq, &|e| e.kind = TensorKind::Wo), ImageError::MissingTensor { kind: TensorKind::Wq, layer: 0 });

    for format in [Format::F16, Format::BF16, Format::Q8, Format::Q4, Format::Q4M] {
        refused!(one(norm, &|e| e.format = format), ImageError::Shape { kind: TensorKind::RmsAtt, .. });
    }
    refused!(one(norm, &|e| e.panel = Panel::R4), ImageError::Layout { error: LayoutError::Panel { .. }, .. });
    refused!(one(wq, &|e| e.format = Format::F32), ImageError::Layout { error: LayoutError::Panel { .. }, .. });
    refused!(one(w2, &|e| e.format = Format::Q4), ImageError::Layout { error: LayoutError::Size { .. }, .. });
    refused!(one(embedding, &|e| e.panel = Panel::R16), ImageError::Layout { error: LayoutError::Size { .. }, .. });
    // Numbers that the types cannot hold.
    for (field, value) in [(0, 13u8), (0, 255), (4, 6), (4, 255), (5, 6), (5, 255)] {
        let forge = Forge::new(&good);
        let mut content = forge.section(DIRECTORY);
        content[wq * ENTRY_BYTES + field] = value;
        refused!(forge.with_section(DIRECTORY, &content), ImageError::UnexpectedTensor { .. });
    }
    // A layer's kind without a layer, and the other way round.
    for (index, key) in [(wq, TensorKind::Wq as u32), (embedding, 1 << 8)] {
        let forge = Forge::new(&good);
        let mut content = forge.section(DIRECTORY);
        content[index * ENTRY_BYTES..][..4].copy_from_slice(&key.to_le_bytes());
        refused!(forge.with_section(DIRECTORY, &content), ImageError::UnexpectedTensor { key: found } if found == key);
    }
    for len in [ENTRY_BYTES - 1, ENTRY_BYTES + 1, 7] {
        let forge = Forge::new(&good);
        let mut content = forge.section(DIRECTORY);
        content.resize(content.len() + len, 0);
        refused!(forge.with_section(DIRECTORY, &content), ImageError::Section { part: Part::Directory });
    }

    // Tensors may lie on each other, or on the header: they are only numbers. What they give is some number or NotFinite.
    let on_each_other = one(wq, &|e| e.offset = all[at(TensorKind::Wo)].offset).open().unwrap();
    run(&Image::open(on_each_other.bytes()).unwrap()).unwrap();
    let on_the_header = one(norm, &|e| e.offset = 0).open().unwrap();
    match run(&Image::open(on_the_header.bytes()).unwrap()) {
        Ok(()) | Err(SessionError::NotFinite { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn forged_tables() {
    let good = whole(Format::Q8, Panel::R4);
    let with = |index: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let forge = Forge::new(&good);
        let mut content = forge.section(index);
        change(&mut content);
        forge.with_section(index, &content)
    };
    let bad = |part| ImageError::Section { part };
    for grow in [-32i64, -4, -1, 1, 4, 64] {
        let change = |c: &mut Vec<u8>| c.resize((c.len() as i64 + grow) as usize, 0);
        assert_eq!(with(ROPE, &change).open().err(), Some(bad(Part::Rope)), "{grow}");
        assert_eq!(with(GOLDEN, &change).open().err(), Some(bad(Part::Golden)), "{grow}");
    }
    for count in [0u32, 7, 9, 1 << 20, u32::MAX] {
        let forge = with(GOLDEN, &|c| c[..4].copy_from_slice(&count.to_le_bytes()));
        assert_eq!(forge.open().err(), Some(bad(Part::Golden)), "{count}");
    }
    let none = with(GOLDEN, &Vec::clear).open().unwrap();
    assert_eq!(Image::open(none.bytes()).unwrap().golden(KvType::F32), None);
    // A golden prompt beyond the vocabulary is found when it is run.
    let forge = with(GOLDEN, &|c| c[4..8].fill(0xff));
    let image = forge.open().unwrap();
    let image = Image::open(image.bytes()).unwrap();
    let (prompt, _) = image.golden(KvType::F32).unwrap();
    let sums = pipsqueak_cli::pack::golden::sums(&image, select::best(), 1, KvType::F32, prompt);
    assert_eq!(sums, Err(SessionError::Token { id: u32::MAX, vocab_size: 300 }));

    let record = |tag: u32, len: u32, text: &[u8]| [&tag.to_le_bytes()[..], &len.to_le_bytes(), text].concat();
    for (text, fine) in [
        (record(1, 0, b""), true),
        (record(99, 3, b"abc"), true),
        (record(1, 4, b"abc"), false),
        (record(1, u32::MAX, b"abc"), false),
        (record(1, 2, b"abc"), false),
        (record(1, 3, b"a\xffc"), false),
        (record(2, 2, "é".as_bytes()), true),
        (vec![0; 7], false),
        (vec![0; 8], true),
    ] {
        let result = with(TEXT, &|c| c.clone_from(&text)).open();
        assert_eq!(result.is_ok(), fine, "{text:?}");
        assert!(fine || result.err() == Some(bad(Part::Text)), "{text:?}");
    }

    let mut vocab = small_vocab::sentencepiece();
    vocab.tokens.pop();
    let section = pipsqueak_cli::vocab::build(&vocab).unwrap();
    let forge = with(VOCABULARY, &|c| c.clone_from(&section));
    refused!(forge, ImageError::VocabSize { need: 300, got: 299 });
    let forge = with(VOCABULARY, &|c| c.truncate(100));
    refused!(forge, ImageError::Vocab(_));
    let forge = with(VOCABULARY, &|c| c.push(0));
    refused!(forge, ImageError::Vocab(_));
    let none = with(VOCABULARY, &Vec::clear).open().unwrap();
    assert!(Image::open(none.bytes()).unwrap().vocab().is_none());
}

/// Every tensor in turn gets a NaN or an infinity: the session says where it noticed.
#[test]
fn weights_that_are_no_numbers() {
    for tied_head in [false, true] {
        let activations = [0, 1, 2].map(|code| pipsqueak::config::Activation::from_code(code).unwrap());
        let llama = activations.map(|activation| Config { activation, ..config() });
        let others = tiny_model::architectures(config(), 3).map(|(_, config)| config);
        for config in llama.into_iter().chain(others) {
            let file = TinyFile::new(TinyModel::random(Config { tied_head, ..config }, 1));
            for format in Format::ALL {
                let panel = if format.is_quantised() { Panel::R4 } else { Panel::R1 };
                let packed = file.pack(format, panel);
                let entries: Vec<Entry> = Image::open(packed.bytes()).unwrap().entries().collect();
                for entry in entries {
                    // The first number of row 0: a weight, or the scale of its first block.
                    let bad: [&[u8]; 3] = match (entry.format, format.is_quantised()) {
                        (Format::F32, _) => [&[0, 0, 0xc0, 0x7f], &[0, 0, 0x80, 0x7f], &[0, 0, 0x80, 0xff]],
                        (Format::BF16, _) => [&[0xc0, 0x7f], &[0x80, 0x7f], &[0x80, 0xff]],
                        _ => [&[0, 0x7e], &[0, 0x7c], &[0, 0xfc]],
                    };
                    for bad in bad {
                        let mut image = Aligned::new(packed.bytes());
                        image.bytes_mut()[entry.offset as usize..][..bad.len()].copy_from_slice(bad);
                        let image = Image::open(image.bytes()).unwrap();
                        for kv in KvType::ALL {
                            let options = PlanOptions { context: 6, kv, batch: 4, logits: 1, threads: 1 };
                            let result = run_with(&image, options);
                            let what = (format.name(), entry.kind.name(), entry.layer, kv.name(), bad, config);
                            assert!(matches!(result, Err(SessionError::NotFinite { .. })), "{what:?}: {result:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_packer_refuses_what_is_no_number() {
    for kind in [TensorKind::TokenEmbedding, TensorKind::RmsFfn, TensorKind::Wv, TensorKind::W2, TensorKind::OutputHead]
    {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e9] {
            let mut model = TinyModel::random(config(), 1);
            let tensor = model.tensors.iter_mut().find(|tensor| tensor.kind == kind).unwrap();
            *tensor.values.last_mut().unwrap() = bad;
            let file = TinyFile::new(model);
            let parts = ModelParts::from_source(&file.source()).unwrap();
            for format in Format::ALL {
                let quant = Quant::To(format);
                let panel = |_: Format| Panel::R1;
                let options = PackOptions { quant, head: quant, ..PackOptions::keep(&panel, 2) };
                let result = pack(&parts, &options);
                // A large number is fine where the format holds it.
                let holds = bad == 1e9 && (kind.is_vector() || matches!(format, Format::F32 | Format::BF16));
                match result {
                    Ok(_) => assert!(holds, "{} {bad} {}", kind.name(), format.name()),
                    Err(error) => {
                        let line = error.to_string();
                        let named = line.contains(kind.name()) || line.contains(&format!("{kind:?}"));
                        assert!(!holds && named && !line.contains('\n'), "{} {bad}: {line}", kind.name());
                    }
                }
            }
        }
    }
    // From an image, whose weights nobody has looked at.
    for format in [Format::F32, Format::F16, Format::Q8, Format::Q4M] {
        let mut image = whole(format, Panel::R1);
        let find = |entry: &Entry| entry.kind == TensorKind::W3 && entry.layer == 1;
        let entry = Image::open(image.bytes()).unwrap().entries().find(find).unwrap();
        let nan: &[u8] = if format == Format::F32 { &[0, 0, 0xc0, 0x7f] } else { &[0, 0x7e] };
        image.bytes_mut()[entry.offset as usize..][..nan.len()].copy_from_slice(nan);
        let image = Image::open(image.bytes()).unwrap();
        let parts = ModelParts::from_image(&image);
        for quant in [Quant::Keep, Quant::To(Format::F32), Quant::To(Format::Q8), Quant::To(Format::Q4)] {
            let panel = |_: Format| Panel::R8;
            let result = pack(&parts, &PackOptions { quant, head: quant, ..PackOptions::keep(&panel, 1) });
            let line = result.err().map(|error| error.to_string());
            let want = "tensor w3 of layer 1, row 0: a value is NaN or infinite: the image is damaged";
            assert_eq!(line.as_deref(), Some(want), "{} to {quant:?}", format.name());
        }
    }
}
