//! The forward pass: every stage of the decoder in the paper's order, and how many units each has.
//!
//! Sources: Vaswani et al. 2017, arXiv:1706.03762 (attention); Touvron et al. 2023, arXiv:2307.09288 (this decoder).

use core::num::NonZeroUsize;

use pipsqueak_kernels::{
    BLOCK, Input, Kernels, Linear, Matrix, NotFinite, Pieces, Store, Tile,
    linear::{activate, count_units},
    math::{cos_sin, sqrt},
    run_linears, scalar,
    slice::{part, part_mut},
    team::{Dealt, Rows, Team, share},
};

use crate::{
    attention::{Attention, CHUNK, Heads, Rotate},
    buffers::{ActBuffer, act_row, split3},
    fault::Fault,
    image::{Image, Layer},
    kv_cache::KvType,
    session::{Session, SessionError},
    stage::{Cursor, HeadCursor, Stage},
    tensor::TensorKind,
};

/// What an exponential counts as, in multiply-adds.
const EXP_COST: usize = 32;

impl<K: Kernels + ?Sized> Session<'_, K> {
    /// Units of the present stage, and what one costs in multiply-adds.
    pub(crate) fn count_units(&self) -> (usize, usize) {
        let config = self.image.config();
        let (n, dim, hidden) = (self.n, config.dim as usize, config.hidden_dim as usize);
        let Layer { wq, wk, wv, wo, w1, w2, w3, .. } = &self.layer;
        let product = |matrices: &[&Matrix<'_>], rows: usize| {
            let macs = matrices.iter().map(|w| w.unit_macs()).max().unwrap_or(0);
            (count_units(matrices.iter().copied()), macs.saturating_mul(rows))
        };
        match self.cursor.stage {
            Stage::Embed => (n, dim),
            Stage::Angles => (n, config.rope_dim as usize * config.rope_tables() * EXP_COST),
            Stage::AttNorm | Stage::FfnNorm => (n, 4 * dim),
            Stage::Qkv => product(&[wq, wk, wv], n),
            Stage::Rotate => (n, 2 * (config.q_dim() + 2 * config.kv_dim())),
            Stage::Store => (self.cache.groups(), 2 * n * config.kv_dim()),
            // Upper bound: the last token's.
            Stage::Attend => (n * config.n_heads as usize, self.head_cost(self.pos + n)),
            Stage::AttQuantise => (n, 2 * config.q_dim()),
            Stage::AttOut => product(&[wo], n),
            Stage::AttJoin | Stage::FfnJoin => (n, 4 * dim),
            Stage::GateUp if !config.arch.has_gate() => product(&[w1], n),
            Stage::GateUp => product(&[w1, w3], n),
            Stage::Gate => (n, hidden * (EXP_COST + 4)),
            Stage::Down => product(&[w2], n),
            Stage::FinalNorm => (self.rows, 4 * dim),
            Stage::Head => product(&[&self.wcls], self.rows),
            Stage::Check => (self.rows, config.vocab_size as usize),
        }
    }

    /// One head's attention over `len` positions, or those of them that the layer looks at.
    fn head_cost(&self, len: usize) -> usize {
        let config = self.image.config();
        let seen = match config.window(self.cursor.layer) {
            Some(window) => len.min(window.saturating_add(CHUNK)),
            None => len,
        };
        seen.saturating_mul(2 * config.head_dim as usize + EXP_COST)
    }

    /// Does as much of the present stage as `budget` allows and returns what it cost; `None` when not even one unit fits,
    /// unless one `must` be done.
    pub(crate) fn advance(&mut self, budget: usize, must: bool) -> Result<Option<usize>, SessionError> {
        let (total, cost) = self.units;
        let cost = cost.max(1);
        let first = self.cursor.unit;
        if self.cursor.stage == Stage::Attend && (self.head_started() || cost > budget) {
            return Ok(self.attend_slice(budget, must));
        }
        let affordable = budget.checked_div(cost).unwrap_or(0);
        let count = affordable.max(must as usize).min(total.saturating_sub(first));
        if count == 0 && first < total {
            return Ok(None);
        }
        if count > 0 {
            let (stage, layer) = (self.cursor.stage, self.cursor.layer);
            self.run_units(first, count).map_err(|NotFinite| SessionError::NotFinite { stage, layer })?;
        }
        self.cursor.unit = first + count;
        Ok(Some(count.saturating_mul(cost)))
    }

    /// Units `first .. first + count` of the present stage.
    fn run_units(&mut self, first: usize, count: usize) -> Result<(), NotFinite> {
        let Self { image, kernels, team, cache, buf, layer, wcls, n, rows, pos, .. } = self;
        let (kernels, team, n, rows, pos) = (*kernels, *team, *n, *rows, *pos);
        let config = image.config();
        let (dim, hidden) = (config.dim as usize, config.hidden_dim as usize);
        let (q_dim, kv_dim) = (config.q_dim(), config.kv_dim());
        let units = first..first + count;
        match self.cursor.stage {
            Stage::Embed => {
                let Some(table) = image.matrix(TensorKind::TokenEmbedding, 0) else { return Err(NotFinite) };
                let (x, tokens) = (part_mut(buf.x, 0, n * dim), &*buf.tokens);
                let fault = Fault::new();
                share(team, first, count, Rows::new(&mut *x, dim), |t, row| {
                    let token = tokens.get(t).copied().unwrap_or(0);
                    let found = table.row(token as usize, row);
                    if config.arch.scales_embedding() {
                        scalar::scale(row, sqrt(dim as f32));
                    }
                    fault.note(if found && kernels.all_finite(row) { Ok(()) } else { Err(NotFinite) });
                });
                if config.arch.has_positions() {
                    let positions = image.matrix(TensorKind::PositionEmbedding, 0).ok_or(NotFinite)?;
                    share(team, first, count, (Rows::new(x, dim), Rows::new(buf.xb, dim)), |t, (row, at)| {
                        let found = positions.row(pos + t, at);
                        scalar::add(row, at);
                        fault.note(if found && kernels.all_finite(at) { Ok(()) } else { Err(NotFinite) });
                    });
                }
                fault.result()
            }
            Stage::Angles => {
                let width = config.rope_dim as usize * config.rope_tables();
                share(team, first, count, Rows::new(part_mut(buf.angles, 0, n * width), width.max(1)), |t, row| {
                    for (turns, pair) in image.rope().iter().zip(row.as_chunks_mut::<2>().0) {
                        *pair = cos_sin(turns.wrapping_mul((pos + t) as u32)).into();
                    }
                });
                Ok(())
            }
            Stage::AttNorm => {
                let quantised = any_quantised(&[&layer.wq, &layer.wk, &layer.wv]);
                let bias = self.cursor.bias(image, TensorKind::BiasAtt)?;
                let norm = Norm { weight: layer.rms_att, bias, eps: config.norm_eps, quantised, skip: 0 };
                norm.run(kernels, team, buf.x, buf.xb, &mut buf.acts, (first, count))
            }
            Stage::Qkv => {
                let [q, k, v] = split3(buf.wide, [n * q_dim, n * kv_dim, n * kv_dim]);
                let mut linears = [
                    set(layer.wq, q, q_dim, n), //
                    set(layer.wk, k, kv_dim, n),
                    set(layer.wv, v, kv_dim, n),
                ];
                let x = Input { tokens: n, x: part(buf.xb, 0, n * dim), acts: buf.acts.view(n, dim) };
                run_linears(kernels, team, &mut linears, &x, units);
                Ok(())
            }
            Stage::Rotate => {
                let [q, k, v] = split3(buf.wide, [n * q_dim, n * kv_dim, n * kv_dim]);
                if config.arch.has_qkv_bias() || config.arch.has_head_norms() {
                    let heads = Heads::of(image, self.cursor.layer).ok_or(NotFinite)?;
                    let fault = Fault::new();
                    let rows = (Rows::new(&mut *q, q_dim), Rows::new(&mut *k, kv_dim), Rows::new(&mut *v, kv_dim));
                    share(team, first, count, (rows, Rows::new(buf.xb, q_dim)), |_, ((q, k, v), work)| {
                        fault.note(heads.token(kernels, [q, k, v], work));
                    });
                    fault.result()?;
                }
                let rotate = Rotate {
                    config,
                    angles: buf.angles,
                    local: config.window(self.cursor.layer).is_some(),
                    quantise: cache.kv() == KvType::I8,
                };
                let heads = (Rows::new(q, q_dim), Rows::new(k, kv_dim), Rows::new(v, kv_dim));
                let head_blocks = config.n_heads as usize * (config.head_dim as usize).div_ceil(BLOCK);
                let query = buf.query.rows(head_blocks * BLOCK);
                let fault = Fault::new();
                share(team, first, count, (heads, query), |t, ((q, k, v), query)| {
                    fault.note(rotate.token(kernels, t, q, k, v, query));
                });
                fault.result()
            }
            Stage::Store => {
                let [_, k, v] = split3(buf.wide, [n * q_dim, n * kv_dim, n * kv_dim]);
                cache.store(kernels, team, self.cursor.layer as usize, pos, (k, v), first, count)
            }
            Stage::Attend => {
                let [q, ..] = split3(buf.wide, [n * q_dim, n * kv_dim, n * kv_dim]);
                let layer = self.cursor.layer as usize;
                let slots = NonZeroUsize::new(self.plan.sizes.slots).unwrap_or(NonZeroUsize::MIN);
                // What the compiler knows to be one where kernels take one query at a time.
                let head_dim = config.head_dim as usize;
                let (wanted, few) = (kernels.att_lanes(head_dim), kernels.att_few(head_dim));
                let lanes = if wanted > 1 || few > 1 { self.plan.options.lanes() } else { 1 };
                let attention = Attention { config, cache, layer, pos, q, query: &buf.query };
                let xb = part_mut(buf.xb, 0, n * q_dim);
                let scores = Rows::new(buf.scores, self.plan.options.context * lanes);
                if wanted > 1
                    && wanted <= lanes
                    && count == self.units.0
                    && let Some(groups) = attention.groups(wanted, n)
                {
                    let out = Tile::whole(xb, q_dim, n);
                    let rows = groups.heads * config.head_dim as usize;
                    let mut pieces = Pieces::new(out, rows, groups.kv_heads, groups.tokens.get());
                    let count = (n.saturating_sub(1) / groups.tokens + 1) * groups.kv_heads.get();
                    let hands = Dealt::new(&mut pieces, 0, count, slots);
                    share(team, 0, slots.get().min(count), (hands, scores), |_, (hand, scores)| {
                        for (index, mut out) in hand {
                            attention.group(kernels, &groups, index, scores, &mut out);
                        }
                    });
                    return Ok(());
                }
                if few > 1 && few <= lanes {
                    // Neighbours, so that heads that share one of the cache come together: rather one hand a thread than
                    // more, as long as it is of few heads.
                    let threads = self.plan.options.threads.max(1);
                    let each = count.div_ceil(slots.get()).max(count.div_ceil(threads).min(2 * few)).max(1);
                    let hands = Rows::new(part_mut(xb, first * head_dim, count * head_dim), each * head_dim);
                    share(team, 0, count.div_ceil(each), (hands, scores), |hand, (out, scores)| {
                        attention.heads(kernels, few, first + hand * each, scores, out);
                    });
                    return Ok(());
                }
                let mut rows = Rows::new(xb, config.head_dim as usize);
                let hands = Dealt::new(&mut rows, first, first + count, slots);
                share(team, 0, slots.get().min(count), (hands, scores), |_, (hand, scores)| {
                    for (unit, out) in hand {
                        attention.head(kernels, unit, scores, out);
                    }
                });
                Ok(())
            }
            Stage::AttQuantise => {
                if !layer.wo.format().is_quantised() {
                    return Ok(());
                }
                let xb = part(buf.xb, 0, n * q_dim);
                let fault = Fault::new();
                share(team, first, count, buf.acts.rows(q_dim), |t, row| {
                    fault.note(kernels.quantise(part(xb, t * q_dim, q_dim), act_row(row)));
                });
                fault.result()
            }
            Stage::AttOut => {
                let x = Input { tokens: n, x: part(buf.xb, 0, n * q_dim), acts: buf.acts.view(n, q_dim) };
                // With a norm on the way, beside the residual stream.
                let (out, store) =
                    if config.arch.has_post_norms() { (&mut *buf.wide, Store::Set) } else { (&mut *buf.x, Store::Add) };
                let out = Tile::whole(part_mut(out, 0, n * dim), dim, n);
                run_linears(kernels, team, &mut [Linear { w: layer.wo, out, store }], &x, units);
                Ok(())
            }
            Stage::AttJoin if config.arch.joins() => {
                let join =
                    Join::of(image, self.cursor.layer, TensorKind::RmsPostAtt, TensorKind::Bo).ok_or(NotFinite)?;
                join.run(kernels, team, buf.x, buf.wide, buf.xb, (first, count))
            }
            Stage::FfnNorm => {
                let quantised = any_quantised(&[&layer.w1, &layer.w3]);
                let bias = self.cursor.bias(image, TensorKind::BiasFfn)?;
                let norm = Norm { weight: layer.rms_ffn, bias, eps: config.norm_eps, quantised, skip: 0 };
                norm.run(kernels, team, buf.x, buf.xb, &mut buf.acts, (first, count))
            }
            Stage::GateUp => {
                let x = Input { tokens: n, x: part(buf.xb, 0, n * dim), acts: buf.acts.view(n, dim) };
                if !config.arch.has_gate() {
                    let up = part_mut(buf.wide, 0, n * hidden);
                    run_linears(kernels, team, &mut [set(layer.w1, up, hidden, n)], &x, units);
                    return Ok(());
                }
                let [gate, up, _] = split3(buf.wide, [n * hidden, n * hidden, 0]);
                let mut linears = [set(layer.w1, gate, hidden, n), set(layer.w3, up, hidden, n)];
                run_linears(kernels, team, &mut linears, &x, units);
                Ok(())
            }
            Stage::Gate => {
                let function = config.activation.gate();
                let quantised = layer.w2.format().is_quantised();
                if !config.arch.has_gate() {
                    let bias = image.vector(TensorKind::B1, self.cursor.layer).ok_or(NotFinite)?;
                    let rows = Rows::new(part_mut(buf.wide, 0, n * hidden), hidden);
                    let fault = Fault::new();
                    share(team, first, count, (rows, buf.acts.rows(hidden)), |_, (x, row)| {
                        scalar::add(x, bias);
                        let fine = kernels.all_finite(x);
                        activate(kernels, function, x);
                        fault.note(match (fine, quantised) {
                            (false, _) => Err(NotFinite),
                            (true, true) => kernels.quantise(x, act_row(row)),
                            (true, false) => Ok(()),
                        });
                    });
                    return fault.result();
                }
                let [gate, up, _] = split3(buf.wide, [n * hidden, n * hidden, 0]);
                let parts = (Rows::new(gate, hidden), Rows::new(up, hidden), buf.acts.rows(hidden));
                let fault = Fault::new();
                share(team, first, count, parts, |_, (gate, up, row)| {
                    // The gate swallows NaN (its exponential is clamped), so look before it.
                    let fine = kernels.all_finite(gate);
                    kernels.gate(function, gate, up);
                    fault.note(match (fine, quantised) {
                        (false, _) => Err(NotFinite),
                        (true, true) => kernels.quantise(gate, act_row(row)),
                        (true, false) => Ok(()),
                    });
                });
                fault.result()
            }
            Stage::Down => {
                let gate = part(buf.wide, 0, n * hidden);
                let x = Input { tokens: n, x: gate, acts: buf.acts.view(n, hidden) };
                let (out, store) =
                    if config.arch.has_post_norms() { (&mut *buf.xb, Store::Set) } else { (&mut *buf.x, Store::Add) };
                let out = Tile::whole(part_mut(out, 0, n * dim), dim, n);
                run_linears(kernels, team, &mut [Linear { w: layer.w2, out, store }], &x, units);
                Ok(())
            }
            Stage::FfnJoin if config.arch.joins() => {
                let join =
                    Join::of(image, self.cursor.layer, TensorKind::RmsPostFfn, TensorKind::B2).ok_or(NotFinite)?;
                join.run(kernels, team, buf.x, buf.xb, buf.wide, (first, count))
            }
            // No such stage where nothing joins.
            Stage::AttJoin | Stage::FfnJoin => Ok(()),
            Stage::FinalNorm => {
                let Some(weight) = image.vector(TensorKind::RmsFinal, 0) else { return Err(NotFinite) };
                let quantised = wcls.format().is_quantised();
                let bias = self.cursor.bias(image, TensorKind::BiasFinal)?;
                let norm = Norm { weight, bias, eps: config.norm_eps, quantised, skip: n - rows };
                norm.run(kernels, team, buf.x, buf.xb, &mut buf.acts, (first, count))
            }
            Stage::Head => {
                let vocab = config.vocab_size as usize;
                let x = Input { tokens: rows, x: part(buf.xb, 0, rows * dim), acts: buf.acts.view(rows, dim) };
                let out = Tile::whole(part_mut(buf.logits, 0, rows * vocab), vocab, rows);
                run_linears(kernels, team, &mut [Linear { w: *wcls, out, store: Store::Set }], &x, units);
                Ok(())
            }
            Stage::Check => {
                let vocab = config.vocab_size as usize;
                let logits = part(buf.logits, first * vocab, count * vocab);
                if kernels.all_finite(logits) { Ok(()) } else { Err(NotFinite) }
            }
        }
    }

    fn head_started(&self) -> bool {
        self.head.values || self.head.chunk > 0
    }

    /// Attention in slices of one chunk of one head, for budgets below a whole head.
    fn attend_slice(&mut self, budget: usize, must: bool) -> Option<usize> {
        let Self { image, kernels, cache, buf, n, pos, .. } = self;
        let (kernels, n, pos) = (*kernels, *n, *pos);
        let config = image.config();
        let (q_dim, kv_dim) = (config.q_dim(), config.kv_dim());
        let cost = CHUNK * (config.head_dim as usize + EXP_COST);
        if budget < cost && !must {
            return None;
        }
        let [q, ..] = split3(buf.wide, [n * q_dim, n * kv_dim, n * kv_dim]);
        let attention = Attention { config, cache, layer: self.cursor.layer as usize, pos, q, query: &buf.query };
        let unit = self.cursor.unit;
        let out = part_mut(buf.xb, unit * config.head_dim as usize, config.head_dim as usize);
        let scores = part_mut(buf.scores, 0, self.plan.options.context);
        if attention.chunk(kernels, &attention.of(unit), &mut self.head, scores, out) {
            self.head = HeadCursor::START;
            self.cursor.unit += 1;
        }
        Some(cost)
    }
}

fn any_quantised(matrices: &[&Matrix<'_>]) -> bool {
    matrices.iter().any(|w| w.format().is_quantised())
}

fn set<'a>(w: Matrix<'a>, out: &'a mut [f32], rows: usize, tokens: usize) -> Linear<'a> {
    Linear { w, out: Tile::whole(out, rows, tokens), store: Store::Set }
}

impl Cursor {
    /// The bias of a norm where norms have one.
    fn bias<'a>(&self, image: &Image<'a>, kind: TensorKind) -> Result<Option<&'a [f32]>, NotFinite> {
        if !image.config().arch.has_layer_norm() {
            return Ok(None);
        }
        let layer = if kind.per_layer() { self.layer } else { 0 };
        image.vector(kind, layer).ok_or(NotFinite).map(Some)
    }
}

/// RMSNorm of rows of the residual stream, or LayerNorm where there is a bias, quantised when a product that follows wants it
/// so.
struct Norm<'a> {
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
    quantised: bool,
    /// Rows of the residual stream before the first one wanted.
    skip: usize,
}

impl Norm<'_> {
    fn run<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        team: &Team<'_>,
        x: &[f32],
        xb: &mut [f32],
        acts: &mut ActBuffer<'_>,
        (first, count): (usize, usize),
    ) -> Result<(), NotFinite> {
        let dim = self.weight.len();
        let fault = Fault::new();
        share(team, first, count, (Rows::new(xb, dim), acts.rows(dim)), |t, (xb, row)| {
            let x = part(x, (self.skip + t) * dim, dim);
            let normed = match self.bias {
                Some(bias) if cfg!(feature = "arch-gpt2") => kernels.layernorm(x, self.weight, bias, self.eps, xb),
                _ => kernels.rmsnorm(x, self.weight, self.eps, xb),
            };
            fault.note(match normed {
                Ok(()) if self.quantised => kernels.quantise(xb, act_row(row)),
                other => other,
            });
        });
        fault.result()
    }
}

/// What a block gives, on its way to the residual stream: its norm, or the bias that was not added with it.
struct Join<'a> {
    norm: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
    eps: f32,
}

impl<'a> Join<'a> {
    /// The vectors that an architecture has; `None` when one is missing.
    fn of(image: &Image<'a>, layer: u32, norm: TensorKind, bias: TensorKind) -> Option<Self> {
        let config = image.config();
        let vector = |wanted: bool, kind| if wanted { image.vector(kind, layer).map(Some) } else { Some(None) };
        Some(Self {
            norm: vector(config.arch.has_post_norms(), norm)?,
            bias: vector(config.arch.has_biases(), bias)?,
            eps: config.norm_eps,
        })
    }

    /// `x[t] = x[t] + rmsnorm(from[t])`, the norm by way of `work`; then `x[t] = x[t] + bias`. All `[tokens][dim]`.
    fn run<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        team: &Team<'_>,
        x: &mut [f32],
        from: &[f32],
        work: &mut [f32],
        (first, count): (usize, usize),
    ) -> Result<(), NotFinite> {
        let dim = self.norm.or(self.bias).unwrap_or(&[]).len();
        let fault = Fault::new();
        share(team, first, count, (Rows::new(x, dim), Rows::new(work, dim)), |t, (x, work)| {
            if let Some(norm) = self.norm {
                fault.note(kernels.rmsnorm(part(from, t * dim, dim), norm, self.eps, work));
                scalar::add(x, work);
            }
            if let Some(bias) = self.bias {
                scalar::add(x, bias);
            }
        });
        fault.result()
    }
}
