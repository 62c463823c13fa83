//! Queries that attend to the same head of the cache together: one in each of sixteen lanes.

use crate::{CacheRows, Queries};

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

/// Whether there are as many rows of `dim` elements.
pub(super) fn holds(rows: &CacheRows<'_>, dim: usize, positions: usize) -> bool {
    let len = match *rows {
        CacheRows::F32(rows) => rows.len(),
        CacheRows::F16(rows) => rows.len(),
        CacheRows::I8 { q, scale } if scale.len() >= positions => q.len(),
        CacheRows::I8 { .. } => return false,
    };
    positions.checked_mul(dim).is_some_and(|need| need <= len)
}
