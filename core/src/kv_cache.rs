//! The KV cache: keys and values of every position, in one of three number formats, over the caller's arena.

use pipsqueak_kernels::{
    BLOCK, CacheRows, Kernels, NotFinite,
    arena::{Carver, Line, lines_for},
    slice::{part, part_mut},
    team::{Rows, Team, share},
};

use crate::{config::Config, fault::Fault};
use pipsqueak_kernels::ArenaTooSmall;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum KvType {
    /// `f32`: 8 bytes a value pair, nothing lost.
    F32 = 0,
    /// IEEE half precision: 4 bytes a pair.
    F16 = 1,
    /// `i8` with an f16 scale a position and head (or 32 values where heads are smaller): 2 bytes a pair and a little.
    I8 = 2,
}

impl KvType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::I8];

    /// The name used on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        }
    }

    /// Whether this build has the code for caches of this type.
    pub const fn is_linked(self) -> bool {
        match self {
            Self::F32 => cfg!(feature = "cache-f32"),
            Self::F16 => cfg!(feature = "cache-f16"),
            Self::I8 => cfg!(feature = "cache-i8"),
        }
    }

    /// The cargo feature that links it.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::F32 => "cache-f32",
            Self::F16 => "cache-f16",
            Self::I8 => "cache-i8",
        }
    }

    /// This type, among those that are linked: what tells the compiler which code to drop.
    #[inline(always)]
    const fn narrowed(self) -> Self {
        match (Self::F32.is_linked(), Self::F16.is_linked(), Self::I8.is_linked()) {
            (true, false, false) => Self::F32,
            (false, true, false) => Self::F16,
            (false, false, true) => Self::I8,
            _ => self,
        }
    }
}

/// Heads of an int8 cache that share a scale: as many as fill a block, at least one.
const fn heads_per_group(config: &Config) -> usize {
    match BLOCK.checked_div(config.head_dim as usize) {
        Some(heads) if heads > 1 => heads,
        _ => 1,
    }
}

pub(crate) const fn groups(config: &Config) -> usize {
    (config.n_kv_heads as usize).div_ceil(heads_per_group(config))
}

/// Elements of keys (or values) in one layer.
const fn layer_len(config: &Config, context: usize) -> usize {
    config.kv_dim().saturating_mul(context)
}

/// Lines the cache takes for `context` positions.
pub(crate) const fn cache_lines(config: &Config, context: usize, kv: KvType) -> usize {
    const fn lines<T: pipsqueak_kernels::arena::Plain>(len: usize) -> usize {
        match lines_for::<T>(len) {
            Some(lines) => lines,
            None => usize::MAX,
        }
    }
    let layers = config.n_layers as usize;
    let values = layers.saturating_mul(layer_len(config, context));
    let scales = layers.saturating_mul(groups(config)).saturating_mul(context);
    let one = match kv {
        KvType::F32 => lines::<f32>(values),
        KvType::F16 => lines::<u16>(values),
        KvType::I8 => lines::<i8>(values).saturating_add(lines::<u16>(scales)),
    };
    one.saturating_mul(2)
}

#[derive(Debug)]
pub(crate) enum Values<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [u16]),
    I8 { q: &'a mut [i8], scale: &'a mut [u16] },
}

/// Keys and values, each `[layer][kv_head][pos][head_dim]`; scales of an int8 cache `[layer][group][pos]`.
#[derive(Debug)]
pub(crate) struct KvCache<'a> {
    pub(crate) keys: Values<'a>,
    pub(crate) values: Values<'a>,
    kv: KvType,
    pub(crate) context: usize,
    pub(crate) head_dim: usize,
    n_kv_heads: usize,
    heads_per_group: usize,
    groups: usize,
}

impl<'a> KvCache<'a> {
    pub(crate) fn new(
        config: &Config,
        context: usize,
        kv: KvType,
        arena: &'a mut [Line],
    ) -> Result<Self, ArenaTooSmall> {
        let mut carver = Carver::new(arena);
        let layers = config.n_layers as usize;
        let len = layers.saturating_mul(layer_len(config, context));
        let scales = layers.saturating_mul(groups(config)).saturating_mul(context);
        let mut half = || {
            Ok(match kv.narrowed() {
                KvType::F32 => Values::F32(carver.take(len)?),
                KvType::F16 => Values::F16(carver.take(len)?),
                KvType::I8 => Values::I8 { q: carver.take(len)?, scale: carver.take(scales)? },
            })
        };
        Ok(Self {
            keys: half()?,
            values: half()?,
            kv,
            context,
            head_dim: config.head_dim as usize,
            n_kv_heads: config.n_kv_heads as usize,
            heads_per_group: heads_per_group(config),
            groups: groups(config),
        })
    }

    pub(crate) const fn kv(&self) -> KvType {
        self.kv.narrowed()
    }

    /// Units of [`Self::store`]: groups of heads.
    pub(crate) const fn groups(&self) -> usize {
        self.groups
    }

    /// Writes the keys and values of `tokens` consecutive positions from `pos` on, for the head groups `first ..
    /// first + count` of `layer`. `k`, `v`: `[tokens][n_kv_heads * head_dim]`.
    #[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
    pub(crate) fn store<K: Kernels + ?Sized>(
        &mut self,
        kernels: &K,
        team: &Team<'_>,
        layer: usize,
        pos: usize,
        (k, v): (&[f32], &[f32]),
        first: usize,
        count: usize,
    ) -> Result<(), NotFinite> {
        let shape = Shape {
            context: self.context,
            head_dim: self.head_dim,
            heads: self.heads_per_group,
            kv_dim: self.n_kv_heads * self.head_dim,
            pos,
        };
        let groups = self.groups;
        let len = self.context * shape.kv_dim;
        let width = self.context * shape.head_dim * shape.heads;
        let fault = Fault::new();
        // One token's are written before another thread has come to help.
        let alone = Team::alone();
        let team = if k.len() > shape.kv_dim { team } else { &alone };
        for (cache, rows) in [(&mut self.keys, k), (&mut self.values, v)] {
            match cache {
                Values::F32(data) if KvType::F32.is_linked() => {
                    let layer = part_mut(data, layer * len, len);
                    share(team, first, count, Rows::new(layer, width), |group, out| {
                        shape.each(rows, group, out, |x, out| {
                            for (out, x) in out.iter_mut().zip(x) {
                                *out = *x;
                            }
                        });
                    });
                }
                Values::F16(data) if KvType::F16.is_linked() => {
                    let layer = part_mut(data, layer * len, len);
                    share(team, first, count, Rows::new(layer, width), |group, out| {
                        shape.each(rows, group, out, |x, out| fault.note(kernels.store_f16(x, out)));
                    });
                }
                Values::I8 { q, scale } if KvType::I8.is_linked() => {
                    let q = part_mut(q, layer * len, len);
                    let scale = part_mut(scale, layer * groups * self.context, groups * self.context);
                    let rows_of = (Rows::new(q, width), Rows::new(scale, self.context));
                    share(team, first, count, rows_of, |group, (q, scale)| {
                        fault.note(shape.store_i8(kernels, rows, group, q, scale));
                    });
                }
                // What is left out has been refused.
                _ => {}
            }
        }
        fault.result()
    }

    /// Keys of positions `from .. from + len` of one head.
    pub(crate) fn keys(&self, layer: usize, head: usize, from: usize, len: usize) -> CacheRows<'_> {
        self.rows(&self.keys, layer, head, from, len)
    }

    /// Values of positions `from .. from + len` of one head.
    pub(crate) fn values(&self, layer: usize, head: usize, from: usize, len: usize) -> CacheRows<'_> {
        self.rows(&self.values, layer, head, from, len)
    }

    fn rows<'s>(&self, data: &'s Values<'_>, layer: usize, head: usize, from: usize, len: usize) -> CacheRows<'s> {
        let start = ((layer * self.n_kv_heads + head) * self.context + from) * self.head_dim;
        let count = len * self.head_dim;
        match data {
            Values::F32(data) if KvType::F32.is_linked() => CacheRows::F32(part(data, start, count)),
            Values::F16(data) if KvType::F16.is_linked() => CacheRows::F16(part(data, start, count)),
            Values::I8 { q, scale } if KvType::I8.is_linked() => {
                let group = head.checked_div(self.heads_per_group).unwrap_or(0);
                let at = (layer * self.groups + group) * self.context + from;
                CacheRows::I8 { q: part(q, start, count), scale: part(scale, at, len) }
            }
            _ => CacheRows::I8 { q: &[], scale: &[] },
        }
    }
}

/// What `store` needs to know to place one group's rows.
#[derive(Clone, Copy)]
struct Shape {
    context: usize,
    head_dim: usize,
    heads: usize,
    kv_dim: usize,
    pos: usize,
}

impl Shape {
    /// Calls `store` for each token and head of the group, with the head's row and its place in the cache.
    fn each<T>(&self, rows: &[f32], group: usize, out: &mut [T], mut store: impl FnMut(&[f32], &mut [T])) {
        let width = self.heads * self.head_dim;
        for (t, row) in rows.chunks_exact(self.kv_dim.max(1)).enumerate() {
            let start = (group * width).min(row.len());
            let row = part(row, start, width.min(row.len() - start));
            for (h, x) in row.chunks_exact(self.head_dim.max(1)).enumerate() {
                let at = (h * self.context + self.pos + t) * self.head_dim;
                store(x, part_mut(out, at, self.head_dim));
            }
        }
    }

    /// One scale for all heads of the group: they are gathered, quantised together and put in their places.
    fn store_i8<K: Kernels + ?Sized>(
        &self,
        kernels: &K,
        rows: &[f32],
        group: usize,
        q: &mut [i8],
        scale: &mut [u16],
    ) -> Result<(), NotFinite> {
        let width = self.heads * self.head_dim;
        for (t, row) in rows.chunks_exact(self.kv_dim.max(1)).enumerate() {
            let start = (group * width).min(row.len());
            let row = part(row, start, width.min(row.len() - start));
            let pos = self.pos + t;
            let scale = part_mut(scale, pos, 1);
            let stored = if self.heads == 1 {
                kernels.store_i8(row, part_mut(q, pos * self.head_dim, self.head_dim))?
            } else {
                // Several heads share a scale only while they fit one block.
                let mut codes = [0i8; BLOCK];
                let stored = kernels.store_i8(row, part_mut(&mut codes, 0, row.len()))?;
                for (h, codes) in part(&codes, 0, row.len()).chunks_exact(self.head_dim.max(1)).enumerate() {
                    let at = (h * self.context + pos) * self.head_dim;
                    for (out, code) in part_mut(q, at, self.head_dim).iter_mut().zip(codes) {
                        *out = *code;
                    }
                }
                stored
            };
            for scale in scale {
                *scale = stored;
            }
        }
        Ok(())
    }
}
