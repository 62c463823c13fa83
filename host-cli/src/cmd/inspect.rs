//! `inspect`: a model's parameters, memory and boards.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
};

use pipsqueak::{
    Image, KvType, Plan, PlanOptions,
    config::Arch,
    image::Text,
    kernels::{Format, Panel},
    tensor::TensorKind,
};
use serde_json::json;

use super::print;
use crate::{
    args::InspectArgs,
    boards, engine,
    failure::Failure,
    input::Input,
    pack::{PackOptions, macs_per_token, pack},
};

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    if args.cache {
        let model = engine::open_cached(&args.model, engine::kernels(None)?, None, true)?;
        return show(&model.image()?, args);
    }
    // As it is stored; a foreign file as its canonical image would be.
    let input = Input::open(args.model.model.as_deref())?;
    let path = input.path();
    let tokenizer = args.model.tokenizer.tokenizer.as_deref();
    let fail = |error: &dyn Display| Failure::new(format_args!("{}: {error}", path.display()));
    if let Some(bytes) = input.image().filter(|_| tokenizer.is_none()) {
        return show(&Image::open(bytes).map_err(|error| fail(&error))?, args);
    }
    let parts = input.parts(tokenizer)?;
    let canonical = |_: Format| Panel::R1;
    let options = PackOptions::keep(&canonical, engine::open_threads(None));
    let packed = pack(&parts, &options).map_err(|error| fail(&error))?;
    packed.converted().iter().for_each(|converted| eprintln!("pipsqueak: {converted}"));
    show(&Image::open(packed.bytes()).map_err(Failure::new)?, args)
}

fn show(image: &Image<'_>, args: &InspectArgs) -> Result<(), Failure> {
    let longest = image.config().seq_len as usize;
    let context = args.ctx.map_or(boards::DEFAULT_CONTEXT.min(longest), |ctx| ctx as usize);
    if args.json { print_json(image, context) } else { print(&describe(image, context)) }
}

/// Parameters and bytes by role.
fn by_kind(image: &Image<'_>) -> BTreeMap<TensorKind, (u64, u64, Vec<Format>)> {
    let mut kinds: BTreeMap<TensorKind, (u64, u64, Vec<Format>)> = BTreeMap::new();
    for entry in image.entries() {
        let (parameters, bytes, formats) = kinds.entry(entry.kind).or_default();
        *parameters += u64::from(entry.rows) * u64::from(entry.cols);
        *bytes += entry.len;
        if !formats.contains(&entry.format) {
            formats.push(entry.format);
        }
    }
    kinds
}

fn plan(image: &Image<'_>, context: usize, kv: KvType) -> Plan {
    Plan::new(image.config(), PlanOptions { kv, ..PlanOptions::small(context) })
}

fn describe(image: &Image<'_>, context: usize) -> String {
    let c = image.config();
    let mut out = String::new();
    let text = |text| image.text(text).unwrap_or("-");
    let _ = writeln!(
        out,
        "name      {}\nlicence   {}\norigin    {}",
        text(Text::Name),
        text(Text::Licence),
        text(Text::Origin)
    );
    let _ = writeln!(
        out,
        "shape     {}, dim {}, {} layers, {} heads of {} ({} for keys and values), hidden {}, vocabulary {}, context {}",
        c.arch.name(),
        c.dim,
        c.n_layers,
        c.n_heads,
        c.head_dim,
        c.n_kv_heads,
        c.hidden_dim,
        c.vocab_size,
        c.seq_len
    );
    if let Arch::Gemma3 { window, global_every } = c.arch
        && window > 0
    {
        let layers =
            if global_every > 0 { format!("all layers but one in {global_every}") } else { "all layers".into() };
        let _ = writeln!(out, "window    {window} positions in {layers}");
    }
    let _ = writeln!(
        out,
        "size      {} parameters, {} bytes, {} multiply-adds a token",
        c.parameters(),
        image.len(),
        macs_per_token(c)
    );
    let _ = writeln!(out, "\n  {:<16} {:>14} {:>14}  format", "matrix", "parameters", "bytes");
    for (kind, (parameters, bytes, formats)) in by_kind(image) {
        let formats: Vec<_> = formats.into_iter().map(Format::name).collect();
        let _ = writeln!(out, "  {:<16} {parameters:>14} {bytes:>14}  {}", kind.name(), formats.join(", "));
    }
    let _ = writeln!(out, "\nmemory for {context} positions, one token at a time");
    for kv in KvType::ALL {
        let plan = plan(image, context, kv);
        let _ = writeln!(
            out,
            "  {:<4} cache {:>12} bytes, scratch {:>10}, together {:>12}",
            kv.name(),
            plan.kv_bytes(),
            plan.scratch_bytes(),
            plan.total_bytes()
        );
    }
    let _ = writeln!(
        out,
        "\nboards, with an int8 cache of {context} positions; flash with the program, RAM with stack and statics"
    );
    out + &boards::table(image, context, boards::ALL)
}

fn print_json(image: &Image<'_>, context: usize) -> Result<(), Failure> {
    let c = image.config();
    let tensors: Vec<_> = by_kind(image)
        .into_iter()
        .map(|(kind, (parameters, bytes, formats))| {
            let formats: Vec<_> = formats.into_iter().map(Format::name).collect();
            json!({"name": kind.name(), "parameters": parameters, "bytes": bytes, "formats": formats})
        })
        .collect();
    let memory: Vec<_> = KvType::ALL
        .into_iter()
        .map(|kv| {
            let plan = plan(image, context, kv);
            json!({"kv": kv.name(), "kv_bytes": plan.kv_bytes(), "scratch_bytes": plan.scratch_bytes()})
        })
        .collect();
    let boards: Vec<_> = boards::ALL.iter().map(|board| boards::fit(image, context, board)).collect();
    let value = json!({
        "name": image.text(Text::Name), "licence": image.text(Text::Licence), "origin": image.text(Text::Origin),
        "config": {
            "architecture": c.arch.name(), "dim": c.dim, "hidden_dim": c.hidden_dim, "n_layers": c.n_layers, "n_heads": c.n_heads,
            "n_kv_heads": c.n_kv_heads, "head_dim": c.head_dim, "vocab_size": c.vocab_size, "seq_len": c.seq_len,
            "tied_head": c.tied_head,
        },
        "parameters": c.parameters(), "bytes": image.len(), "macs_per_token": macs_per_token(c),
        "tensors": tensors, "context": context, "memory": memory, "boards": boards,
    });
    print(&(value.to_string() + "\n"))
}
