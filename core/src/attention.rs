//! Attention's own work: biases, norms and RoPE of queries and keys, and queries over the cache.

use core::num::NonZeroUsize;

use pipsqueak_kernels::{
    BLOCK, Kernels, NotFinite, Pairs, Queries, Query, Tile,
    scalar::{self, from_start},
    slice::{copy, part, part_mut},
};

use crate::{
    buffers::{ActBuffer, act_row},
    config::{Config, RopePairs},
    image::Image,
    kv_cache::{KvCache, KvType},
    stage::HeadCursor,
    tensor::TensorKind,
};

/// Positions whose values are summed before they join the rest.
pub(crate) const CHUNK: usize = 64;

/// What becomes of one token's queries, keys and values before RoPE, where the architecture has it.
pub(crate) struct Heads<'a> {
    /// Biases of queries, keys and values.
    biases: Option<[&'a [f32]; 3]>,
    /// Weights of the RMSNorm of each query and each key.
    norms: Option<[&'a [f32]; 2]>,
    eps: f32,
}

impl<'a> Heads<'a> {
    /// The vectors that an architecture has; `None` when one is missing.
    pub(crate) fn of(image: &Image<'a>, layer: u32) -> Option<Self> {
        let config = image.config();
        let vector = |kind| image.vector(kind, layer);
        let (mut biases, mut norms) = (None, None);
        if config.arch.has_qkv_bias() {
            biases = Some([vector(TensorKind::Bq)?, vector(TensorKind::Bk)?, vector(TensorKind::Bv)?]);
        }
        if config.arch.has_head_norms() {
            norms = Some([vector(TensorKind::RmsQ)?, vector(TensorKind::RmsK)?]);
        }
        Some(Self { biases, norms, eps: config.norm_eps })
    }

    /// Adds the biases, then normalises each head of `q` and `k`. `work` has room for a head.
    pub(crate) fn token<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        [q, k, v]: [&mut [f32]; 3],
        work: &mut [f32],
    ) -> Result<(), NotFinite> {
        if let Some([bq, bk, bv]) = self.biases {
            scalar::add(q, bq);
            scalar::add(k, bk);
            scalar::add(v, bv);
        }
        if let Some(norms) = self.norms {
            for (heads, weight) in [q, k].into_iter().zip(norms) {
                for head in heads.chunks_exact_mut(weight.len().max(1)) {
                    let x = part_mut(work, 0, head.len());
                    copy(x, head);
                    kernels.rmsnorm(x, weight, self.eps, head)?;
                }
            }
        }
        Ok(())
    }
}

/// RoPE of one token's heads, and its queries quantised for an int8 cache.
pub(crate) struct Rotate<'a> {
    pub(crate) config: &'a Config,
    pub(crate) angles: &'a [f32],
    /// Whether the layer has the RoPE of those with a sliding window.
    pub(crate) local: bool,
    pub(crate) quantise: bool,
}

impl Rotate<'_> {
    pub(crate) fn token<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        t: usize,
        q: &mut [f32],
        k: &mut [f32],
        v: &[f32],
        (query, scale, sum): (&mut [i8], &mut [f32], &mut [i32]),
    ) -> Result<(), NotFinite> {
        if !(kernels.all_finite(q) && kernels.all_finite(k) && kernels.all_finite(v)) {
            return Err(NotFinite);
        }
        let head_dim = (self.config.head_dim as usize).max(1);
        let rope_dim = self.config.rope_dim as usize;
        let tables = self.config.rope_tables();
        let angles = part(self.angles, (t * tables + (self.local && tables > 1) as usize) * rope_dim, rope_dim);
        let pairs = match self.config.rope_pairs {
            RopePairs::Interleaved if RopePairs::Interleaved.is_linked() => Some(Pairs::Interleaved),
            RopePairs::HalfSplit if RopePairs::HalfSplit.is_linked() => Some(Pairs::HalfSplit),
            // What is left out has been refused.
            _ => None,
        };
        if let Some(pairs) = pairs {
            for head in q.chunks_exact_mut(head_dim).chain(k.chunks_exact_mut(head_dim)) {
                kernels.rotate(part_mut(head, 0, rope_dim), angles, pairs);
            }
        }
        if self.quantise {
            let blocks = head_dim.div_ceil(BLOCK);
            // Counted, not zipped: zipped chunks keep a division by zero when optimised for size.
            for (index, head) in q.chunks_exact(head_dim).enumerate() {
                let at = index * blocks;
                let q = part_mut(query, at * BLOCK, blocks * BLOCK);
                kernels.quantise(head, act_row((q, part_mut(scale, at, blocks), part_mut(sum, at, blocks))))?;
            }
        }
        Ok(())
    }
}

/// Attention of one layer's queries over the cache. A unit is a head of a token: `t * n_heads + head`.
pub(crate) struct Attention<'a, 'c> {
    pub(crate) config: &'a Config,
    pub(crate) cache: &'a KvCache<'c>,
    pub(crate) layer: usize,
    pub(crate) pos: usize,
    pub(crate) q: &'a [f32],
    pub(crate) query: &'a ActBuffer<'a>,
}

impl Attention<'_, '_> {
    /// One head's attention; `out`: `[head_dim]`, `scores`: `[context]`.
    pub(crate) fn head<K: Kernels + ?Sized>(&self, kernels: &K, unit: usize, scores: &mut [f32], out: &mut [f32]) {
        let Head { kv_head, len, query } = self.of(unit);
        let start = self.start(len);
        let first = start / CHUNK;
        let scores = part_mut(scores, first * CHUNK, len - first * CHUNK);
        let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0);
        for (chunk, scores) in (first..).zip(scores.chunks_mut(CHUNK)) {
            let (from, scores) = from_start(chunk * CHUNK, start, scores);
            let keys = self.cache.keys(self.layer, kv_head, from, scores.len());
            let found = kernels.att_scores(&query, &keys, self.config.att_scale, scores);
            max = if found > max { found } else { max };
        }
        out.fill(0.0);
        for (chunk, scores) in (first..).zip(scores.chunks_mut(CHUNK)) {
            let values = self.cache.values(self.layer, kv_head, chunk * CHUNK, scores.len());
            sum += kernels.att_values(scores, max, &values, out);
        }
        for out in out {
            *out /= sum;
        }
    }

    /// The first position that a query over `len` positions looks at: 0, or what the layer's sliding window leaves.
    #[inline(always)]
    fn start(&self, len: usize) -> usize {
        match self.config.window(self.layer as u32) {
            Some(window) => len.saturating_sub(window),
            None => 0,
        }
    }

    /// How `n` tokens' queries are taken together, in as many lanes as kernels want; `None` where one head after the other is
    /// better.
    pub(crate) fn groups(&self, wanted: usize, n: usize) -> Option<Groups> {
        let kv_heads = NonZeroUsize::new(self.config.n_kv_heads as usize)?;
        let heads = self.config.n_heads as usize / kv_heads;
        let tokens = NonZeroUsize::new(wanted.checked_div(heads)?.min(n))?;
        // With half of the lanes empty nothing is won.
        (tokens.get() * heads * 2 >= wanted).then_some(Groups { kv_heads, heads, tokens })
    }

    /// Piece `index` of all tokens' attention, a group of tokens and a head of the cache.
    pub(crate) fn group<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        groups: &Groups,
        index: usize,
        scores: &mut [f32],
        out: &mut Tile<'_>,
    ) {
        let Groups { kv_heads, heads, tokens } = *groups;
        let (t, kv_head) = (index / kv_heads * tokens.get(), index % kv_heads);
        let unit = t * self.config.n_heads as usize + kv_head * heads;
        self.together(kernels, unit, (t, kv_head, heads), scores, out);
    }

    /// Attention of consecutive units from `first` on, as many as `out` has room for; `few` of those that share a head of the
    /// cache at once.
    pub(crate) fn heads<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        few: usize,
        first: usize,
        scores: &mut [f32],
        mut out: &mut [f32],
    ) {
        let head_dim = (self.config.head_dim as usize).max(1);
        let (Some(n_heads), Some(kv_heads)) =
            (NonZeroUsize::new(self.config.n_heads as usize), NonZeroUsize::new(self.config.n_kv_heads as usize))
        else {
            return;
        };
        let shared_by = NonZeroUsize::new(n_heads.get() / kv_heads).unwrap_or(NonZeroUsize::MIN);
        let mut unit = first;
        while out.len() >= head_dim {
            let (t, head) = (unit / n_heads, unit % n_heads);
            let left = shared_by.get() - head % shared_by;
            let count = left.min(few.max(1)).min(out.len() / head_dim);
            let (here, rest) = out.split_at_mut_checked(count * head_dim).unwrap_or_default();
            let mut tile = Tile::whole(here, count * head_dim, 1);
            self.together(kernels, unit, (t, head / shared_by, count), scores, &mut tile);
            (unit, out) = (unit + count, rest);
        }
    }

    /// Attention of `heads` heads from unit `unit` on, of token `t` and those after it that `out` has room for, over one head of
    /// the cache.
    fn together<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        unit: usize,
        (t, kv_head, heads): (usize, usize, usize),
        scores: &mut [f32],
        out: &mut Tile<'_>,
    ) {
        let head_dim = self.config.head_dim as usize;
        let stride = self.config.n_heads as usize;
        let blocks = head_dim.div_ceil(BLOCK);
        let (q, scale): (&[i8], &[f32]) = match self.cache.kv() {
            KvType::I8 => (rest(self.query.q, unit * blocks * BLOCK), rest(self.query.scale, unit * blocks)),
            _ => (&[], &[]),
        };
        let queries = Queries {
            x: rest(self.q, unit * head_dim),
            q,
            scale,
            head_dim,
            heads,
            stride,
            tokens: out.tokens(),
            first_len: self.pos + t + 1,
            window: self.config.window(self.layer as u32).unwrap_or(usize::MAX),
            att_scale: self.config.att_scale,
        };
        let len = queries.last_len();
        let (keys, values) =
            (self.cache.keys(self.layer, kv_head, 0, len), self.cache.values(self.layer, kv_head, 0, len));
        kernels.attend(&queries, &keys, &values, scores, out);
    }

    /// What a unit is about.
    #[inline(always)]
    pub(crate) fn of(&self, unit: usize) -> Head<'_> {
        let config = self.config;
        let head_dim = config.head_dim as usize;
        let n_heads = config.n_heads as usize;
        let t = unit.checked_div(n_heads).unwrap_or(0);
        let shared_by = n_heads.checked_div(config.n_kv_heads as usize).unwrap_or(1);
        let kv_head = (unit - t * n_heads).checked_div(shared_by).unwrap_or(0);
        let x = part(self.q, unit * head_dim, head_dim);
        let query = if self.cache.kv() == KvType::I8 {
            let blocks = head_dim.div_ceil(BLOCK);
            let q = part(self.query.q.as_chunks::<BLOCK>().0, unit * blocks, blocks).as_flattened();
            Query { x, q: part(q, 0, head_dim), scale: part(self.query.scale, unit * blocks, blocks) }
        } else {
            Query { x, q: &[], scale: &[] }
        };
        Head { kv_head, len: self.pos + t + 1, query }
    }

    /// The next chunk of one head's two passes; `true` when the head is done.
    pub(crate) fn chunk<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        head: &Head<'_>,
        cursor: &mut HeadCursor,
        scores: &mut [f32],
        out: &mut [f32],
    ) -> bool {
        let start = self.start(head.len);
        let from = (start / CHUNK + cursor.chunk) * CHUNK;
        let count = CHUNK.min(head.len.saturating_sub(from));
        let scores = part_mut(scores, from, count);
        cursor.chunk += 1;
        let last = from + count >= head.len;
        if !cursor.values {
            let (from, scores) = from_start(from, start, scores);
            let keys = self.cache.keys(self.layer, head.kv_head, from, scores.len());
            let max = kernels.att_scores(&head.query, &keys, self.config.att_scale, scores);
            cursor.max = if max > cursor.max { max } else { cursor.max };
            if last {
                (cursor.values, cursor.chunk) = (true, 0);
                out.fill(0.0);
            }
            return false;
        }
        let values = self.cache.values(self.layer, head.kv_head, from, count);
        cursor.sum += kernels.att_values(scores, cursor.max, &values, out);
        if last {
            for out in out {
                *out /= cursor.sum;
            }
        }
        last
    }
}

/// How queries are taken together.
pub(crate) struct Groups {
    pub(crate) kv_heads: NonZeroUsize,
    /// Query heads of a head of the cache.
    pub(crate) heads: usize,
    /// Tokens of a group; the last may have fewer.
    pub(crate) tokens: NonZeroUsize,
}

/// What follows the first `at` elements.
fn rest<T>(data: &[T], at: usize) -> &[T] {
    data.get(at..).unwrap_or(&[])
}

/// One head of a token.
pub(crate) struct Head<'a> {
    /// The head of the cache it reads.
    kv_head: usize,
    /// Positions it looks at.
    len: usize,
    query: Query<'a>,
}
