//! What this machine can do at best: read bandwidth and int8 multiply-adds, measured.

use std::{hint::black_box, sync::Barrier, thread, time::Instant};

use pipsqueak::kernels::{
    Kernels,
    arena::{Line, bytes_of_mut},
};

/// Ceilings for a number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes a second from wherever that many bytes lie: memory, or a cache that holds them.
    pub bytes_per_s: f64,
    /// int8 multiply-adds a second of the kernel set's own multiply instruction, from registers.
    pub macs_per_s: f64,
}

/// Bytes a thread reads in all.
const READ_BYTES: usize = 1 << 30;
/// Least and most repetitions of a measurement.
const ROUNDS: std::ops::RangeInclusive<usize> = 10..=1000;
/// Rounds of [`Kernels::peak`] at a time.
const PEAK_ROUNDS: usize = 200_000;

impl Ceilings {
    /// The higher of two measurements: whatever else the machine does only ever lowers one.
    pub fn or_higher(self, other: Self) -> Self {
        Self { bytes_per_s: self.bytes_per_s.max(other.bytes_per_s), macs_per_s: self.macs_per_s.max(other.macs_per_s) }
    }

    /// Measures both, with all threads at work at once, each reading its share of `bytes` again and again; takes a
    /// fraction of a second.
    pub fn measure(kernels: &dyn Kernels, threads: usize, bytes: usize) -> Self {
        let share = (bytes / threads.max(1)).max(4096);
        let rounds = (READ_BYTES / share).clamp(*ROUNDS.start(), *ROUNDS.end());
        let start = Barrier::new(threads);
        let rates = thread::scope(|scope| {
            let measure = || {
                let mut buffer = vec![Line::ZERO; Line::count(share)];
                // Written, so that it is memory of its own and not the system's one page of zeros.
                bytes_of_mut(&mut buffer).fill(1);
                start.wait();
                let bytes = best(rounds, || {
                    black_box(kernels.read(black_box(&buffer)));
                    share
                });
                start.wait();
                (bytes, best(*ROUNDS.start(), || kernels.peak(PEAK_ROUNDS)))
            };
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(measure)).collect();
            handles.into_iter().filter_map(|handle| handle.join().ok()).collect::<Vec<_>>()
        });
        Self {
            bytes_per_s: rates.iter().map(|(bytes, _)| bytes).sum(),
            macs_per_s: rates.iter().map(|(_, macs)| macs).sum(),
        }
    }
}

/// The best rate of `rounds` rounds, in what `job` counts a second.
fn best(rounds: usize, mut job: impl FnMut() -> usize) -> f64 {
    (0..rounds)
        .map(|_| {
            let start = Instant::now();
            let amount = job();
            amount as f64 / start.elapsed().as_secs_f64().max(1e-9)
        })
        .fold(0.0, f64::max)
}
