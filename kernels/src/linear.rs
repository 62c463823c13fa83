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
/// Tokens of which each member takes a share of its own. What it reads then is what it wrote in the stages before, and in its
/// caches; and kernels that lay tokens out anew do so for fewer jobs. With fewer tokens kernels are better off with all of
/// them.
const TOKENS_PER_MEMBER: usize = 32;
/// Shares of tokens are multiples of this, which are wholes of most kernels' tiles.
const TOKENS: usize = 16;

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
    let members = match NonZeroUsize::new(team.size()) {
        Some(members) if members.get() > 1 => members,
        _ => return run_units(kernels, linears, x, units, 0),
    };
    let shares = if x.tokens / members >= TOKENS_PER_MEMBER { members } else { NonZeroUsize::MIN };
    let jobs = (members.get() * JOBS_PER_MEMBER / shares).min(units.len());
    let jobs = NonZeroUsize::new(jobs).unwrap_or(NonZeroUsize::MIN);
    // Both as even as can be: who has more keeps the others waiting.
    let unit = |job: usize| units.start + units.len() * job / jobs;
    let token = |share: usize| (x.tokens.div_ceil(TOKENS) * share / shares * TOKENS).min(x.tokens);
    let cols = linears.first().map_or(0, |linear| linear.w.cols());
    // A member begins with the share of its own.
    team.run(shares.get() * jobs.get(), &|index| {
        let (share, job) = (index / jobs, index % jobs);
        let first = token(share);
        let x = x.part(first..token(share + 1), cols);
        run_units(kernels, linears, &x, unit(job)..unit(job + 1), first);
    });
}

/// The units `units` for the tokens of `x`, of which the outputs begin with token `first`; nobody else works on them.
fn run_units<K: Kernels + ?Sized>(
    kernels: &K,
    linears: &[Linear<'_>],
    x: &Input<'_>,
    units: Range<usize>,
    first: usize,
) {
    let mut start = 0;
    for linear in linears {
        let end = start + linear.w.panels();
        let (from, to) = (units.start.max(start), units.end.min(end));
        if from < to {
            let (from, to) = (from - start, to - start);
            let rows = linear.w.unit_rows();
            let rows = from * rows..(to * rows).min(linear.w.rows());
            // SAFETY: jobs cover disjoint units of the same tokens, hence disjoint rows of this matrix's outputs, or other
            // tokens, and each job runs once; `linears` stays borrowed, so nobody else reads or writes the outputs.
            let mut tile = unsafe { linear.out.cut(rows, first..first + x.tokens) };
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

#[cfg(all(test, target_has_atomic = "32", feature = "team"))]
mod tests {
    extern crate std;
    use std::{vec, vec::Vec};

    use super::*;
    use crate::{
        Acts, Format, Panel, Scalar,
        arena::{Carver, Line, bytes_of},
        matrix_bytes,
        team::tests::with_workers,
        testing::Rng,
    };

    /// Three matrices, the last rows of each less than a unit, and tokens that come out even for the team and not.
    #[test]
    fn any_team_gives_the_same() {
        let (rows, cols, most) = ([40, 9, 23], 16, 200);
        let mut rng = Rng::new(3);
        let weights = rows.map(|rows| {
            let mut lines = vec![Line::ZERO; Line::count(matrix_bytes(Format::F32, Panel::R1, rows, cols).unwrap())];
            let floats: &mut [f32] = Carver::new(&mut lines).take(rows * cols).unwrap();
            floats.fill_with(|| rng.below(1000) as f32 - 500.0);
            lines
        });
        let matrices: Vec<_> = rows
            .iter()
            .zip(&weights)
            .map(|(rows, lines)| {
                let bytes = matrix_bytes(Format::F32, Panel::R1, *rows, cols).unwrap();
                Matrix::new(Format::F32, Panel::R1, *rows, cols, &bytes_of(lines)[..bytes]).unwrap()
            })
            .collect();
        let x: Vec<f32> = (0..most * cols).map(|_| rng.below(1000) as f32 - 500.0).collect();
        let units = count_units(&matrices);
        let run = |team: &Team<'_>, tokens: usize, units: Range<usize>, store| {
            let mut outs: Vec<_> = rows.iter().map(|rows| vec![0.5; rows * tokens]).collect();
            let mut linears: Vec<_> = matrices
                .iter()
                .zip(&mut outs)
                .map(|(w, out)| Linear { w: *w, out: Tile::whole(out, w.rows(), tokens), store })
                .collect();
            let input = Input { tokens, x: &x[..tokens * cols], acts: Acts::NONE };
            run_linears(&Scalar, team, &mut linears, &input, units);
            outs
        };
        for workers in 0..4 {
            with_workers(workers, |team| {
                for tokens in [1, 2, 63, 64, 65, 100, 128, 199, most] {
                    for units in [0..units, 2..units - 1, 4..5, 3..3] {
                        for store in [Store::Set, Store::Add] {
                            let expected = run(&Team::alone(), tokens, units.clone(), store);
                            let got = run(team, tokens, units.clone(), store);
                            assert!(expected == got, "{workers} workers, {tokens} tokens, units {units:?}, {store:?}");
                        }
                    }
                }
            });
        }
    }
}
