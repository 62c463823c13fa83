//! What this machine can do at best: read bandwidth and int8 multiply-adds, measured.

use std::{fs, hint::black_box, sync::Barrier, thread, time::Instant};

use pipsqueak::kernels::{
    Kernels,
    arena::{Line, bytes_of_mut},
};

use crate::pages::Lines;

/// What the processor calls itself, as far as the system tells; else its architecture.
pub fn cpu() -> String {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = known.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).into()
}

/// Cores that this program may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

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
        let threads = threads.max(1);
        let share = (bytes / threads).max(4096);
        let rounds = (READ_BYTES / share).clamp(*ROUNDS.start(), *ROUNDS.end());
        let line = Barrier::new(threads);
        let times = thread::scope(|scope| {
            let measure = || {
                // The kind of memory that weights have, and written: else it is the system's one page of zeros.
                let mut buffer = Lines::zeroed(Line::count(share)).ok();
                let buffer = buffer.as_deref_mut().unwrap_or_default();
                bytes_of_mut(buffer).fill(1);
                let mut macs = 0;
                let read = time_each(&line, rounds, || {
                    black_box(kernels.read(black_box(buffer)));
                });
                let multiply = time_each(&line, *ROUNDS.start(), || macs = kernels.peak(PEAK_ROUNDS));
                (read, multiply, macs)
            };
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(measure)).collect();
            handles.into_iter().filter_map(|handle| handle.join().ok()).collect::<Vec<_>>()
        });
        let macs: usize = times.iter().map(|(_, _, macs)| macs).sum();
        Self {
            bytes_per_s: (share * threads) as f64 / shortest(times.iter().map(|(read, ..)| read)),
            macs_per_s: macs as f64 / shortest(times.iter().map(|(_, multiply, _)| multiply)),
        }
    }
}

/// Seconds of each of `rounds` rounds of `job`, which all threads begin together.
fn time_each(line: &Barrier, rounds: usize, mut job: impl FnMut()) -> Vec<f64> {
    (0..rounds)
        .map(|_| {
            line.wait();
            let start = Instant::now();
            job();
            start.elapsed().as_secs_f64()
        })
        .collect()
}

/// The round that was over first, a round being over when its last thread is: else a thread that has a cache or the memory
/// for itself, because another one is late, would pass for what all of them get at once.
fn shortest<'a>(threads: impl Iterator<Item = &'a Vec<f64>> + Clone) -> f64 {
    let rounds = threads.clone().map(Vec::len).min().unwrap_or(0);
    (0..rounds)
        .map(|round| threads.clone().filter_map(|times| times.get(round)).fold(0.0, |a: f64, b| a.max(*b)))
        .fold(f64::INFINITY, f64::min)
        .max(1e-9)
}
