//! Products shared out over a team: several matrices with the same input, unit by unit.

use core::{num::NonZeroUsize, ops::Range};

use crate::{Gate, Input, Kernels, Matrix, Store, Tile, slice::part, team::Team};

/// One product of a stage: `out[t] = w x[t]`, or added to it.
#[derive(Debug)]
pub struct Linear<'a> {
    /// The weights.
    pub w: Matrix<'a>,
    /// `[tokens][w.rows()]`.
    pub out: Tile<'a>,
    /// Whether to overwrite or to add.
    pub store: Store,
}

/// Jobs a worker gets on average: enough that one which started late does not keep the others waiting.
const JOBS_PER_MEMBER: usize = 4;

/// Runs the units `units` of the stage's products, counted through `linears` in order; one unit is
/// [`Matrix::unit_rows`] rows for all tokens. All matrices have the same number of columns.
pub fn run_linears<K: Kernels + ?Sized>(
    kernels: &K,
    team: &Team<'_>,
    linears: &mut [Linear<'_>],
    x: &Input<'_>,
    units: Range<usize>,
) {
    let linears = &*linears;
    let jobs = match team.size() {
        1 => return run_units(kernels, linears, x, units),
        size => (size * JOBS_PER_MEMBER).min(units.len()),
    };
    let jobs = NonZeroUsize::new(jobs).unwrap_or(NonZeroUsize::MIN);
    // As even as units allow: who has more keeps the others waiting.
    let cut = |job: usize| units.start + units.len() * job / jobs;
    team.run(jobs.get(), &|job| run_units(kernels, linears, x, cut(job)..cut(job + 1)));
}

/// The units `units`, which nobody else works on.
fn run_units<K: Kernels + ?Sized>(kernels: &K, linears: &[Linear<'_>], x: &Input<'_>, units: Range<usize>) {
    let mut start = 0;
    for linear in linears {
        let end = start + linear.w.panels();
        let (from, to) = (units.start.max(start), units.end.min(end));
        if from < to {
            let (from, to) = (from - start, to - start);
            let rows = linear.w.unit_rows();
            let first_row = from * rows;
            let count = (to * rows).min(linear.w.rows()) - first_row;
            // SAFETY: jobs cover disjoint unit ranges, hence disjoint rows of this matrix's outputs, and each job runs
            // once; `linears` stays borrowed, so nobody else reads or writes the outputs.
            let mut tile = unsafe { linear.out.strip(first_row, count) };
            kernels.matmul(&linear.w, from..to, x, &mut tile, linear.store);
        }
        start = end;
    }
}

/// A function without a gate, `x[i] = f(x[i])`: the gated unit of `x` with ones, which change no bits.
pub fn activate<K: Kernels + ?Sized>(kernels: &K, function: Gate, x: &mut [f32]) {
    const ONES: [f32; 64] = [1.0; 64];
    for x in x.chunks_mut(ONES.len()) {
        kernels.gate(function, x, part(&ONES, 0, x.len()));
    }
}

/// Units of a stage's products.
pub fn count_units<'a>(matrices: impl IntoIterator<Item = &'a Matrix<'a>>) -> usize {
    matrices.into_iter().map(Matrix::panels).sum()
}
