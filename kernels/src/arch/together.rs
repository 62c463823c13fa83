//! Queries that attend to the same head of the cache together: one in each of sixteen lanes.

use crate::{CacheRows, Queries, Tile, scalar::CHUNK};

/// Queries at once.
pub(super) const LANES: usize = 16;
/// The widest head.
pub(super) const MAX_DIM: usize = 256;

/// Queries of heads of this width at once.
pub(super) fn lanes(head_dim: usize) -> usize {
    if head_dim.is_multiple_of(LANES) && (LANES..=MAX_DIM).contains(&head_dim) { LANES } else { 1 }
}

/// The lanes in use, and what each looks at.
pub(super) struct Lanes {
    pub(super) count: usize,
    /// Each lane's query in `[tokens][stride]`; unused lanes repeat the first.
    pub(super) unit: [i32; LANES],
    /// The first position a lane looks at.
    pub(super) start: [i32; LANES],
    /// The first one after those; unused lanes look at none.
    pub(super) end: [i32; LANES],
}

impl Lanes {
    /// `None` when the queries are too many, or their shape is not one for these kernels.
    pub(super) fn of(queries: &Queries<'_>) -> Option<Self> {
        let count = queries.tokens.checked_mul(queries.heads)?;
        if lanes(queries.head_dim) == 1 || count == 0 || count > LANES {
            return None;
        }
        let (mut unit, mut start, mut end) = ([0; LANES], [0; LANES], [0; LANES]);
        let all = (0..queries.tokens).flat_map(|t| (0..queries.heads).map(move |h| (t, h)));
        for ((t, h), ((unit, start), end)) in all.zip(unit.iter_mut().zip(&mut start).zip(&mut end)) {
            *unit = i32::try_from(t * queries.stride + h).ok()?;
            *start = i32::try_from(queries.start(t)).ok()?;
            *end = i32::try_from(queries.first_len + t).ok()?;
        }
        Some(Self { count, unit, start, end })
    }
}

/// What queries look at, with the whole chunks before every window passed over.
#[derive(Clone, Copy)]
pub(super) struct Stretch<'a> {
    pub(super) keys: CacheRows<'a>,
    pub(super) values: CacheRows<'a>,
    /// The position it begins with, a multiple of a chunk.
    pub(super) first: usize,
    /// Positions.
    pub(super) len: usize,
    /// Those at the beginning that the first token's window leaves out, fewer than a chunk.
    #[cfg(target_arch = "x86_64")]
    pub(super) skipped: usize,
}

impl<'a> Stretch<'a> {
    /// `None` when there is nothing to look at, or lengths do not fit each other.
    pub(super) fn of(
        queries: &Queries<'_>,
        keys: &CacheRows<'a>,
        values: &CacheRows<'a>,
        out: &Tile<'_>,
    ) -> Option<Self> {
        let (dim, positions) = (queries.head_dim, queries.last_len());
        let start = queries.start(0);
        let first = start / CHUNK * CHUNK;
        let fits = out.tokens() == queries.tokens && out.rows() == queries.heads * dim;
        if !fits || first >= positions || !holds(keys, dim, positions) || !holds(values, dim, positions) {
            return None;
        }
        let len = positions - first;
        let (keys, values) = (keys.part(dim, first, len), values.part(dim, first, len));
        Some(Self {
            keys,
            values,
            first,
            len,
            #[cfg(target_arch = "x86_64")]
            skipped: start - first,
        })
    }

    /// `scores` as a row of positions for each of `H` queries; `None` when they are too few.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn rows<'s, const H: usize>(&self, scores: &'s mut [f32]) -> Option<[&'s mut [f32]; H]> {
        let mut rows = scores.chunks_exact_mut(self.len.max(1));
        let rows: [&mut [f32]; H] = core::array::from_fn(|_| rows.next().unwrap_or_default());
        rows.iter().all(|row| row.len() == self.len).then_some(rows)
    }
}

/// Whether there are as many rows of `dim` elements.
fn holds(rows: &CacheRows<'_>, dim: usize, positions: usize) -> bool {
    let len = match *rows {
        CacheRows::F32(rows) => rows.len(),
        CacheRows::F16(rows) => rows.len(),
        CacheRows::I8 { q, scale } if scale.len() >= positions => q.len(),
        CacheRows::I8 { .. } => return false,
    };
    positions.checked_mul(dim).is_some_and(|need| need <= len)
}

/// Row `unit` of `width` numbers.
#[inline]
pub(super) fn row<T>(data: &[T], unit: i32, width: usize) -> Option<&[T]> {
    let start = usize::try_from(unit).ok()?.checked_mul(width)?;
    data.get(start..start.checked_add(width)?)
}
