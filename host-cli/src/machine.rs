//! What this machine can do at best: read bandwidth and int8 multiply-adds, measured.

use std::{hint::black_box, sync::Barrier, thread, time::Instant};

use pipsqueak::kernels::Kernels;

/// Ceilings for a number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes a second from memory.
    pub bytes_per_s: f64,
    /// int8 multiply-adds a second of the kernel set's own multiply instruction, from registers.
    pub macs_per_s: f64,
}

/// Bytes each thread reads at a time: more than a core's own caches hold, as a model is.
const BUFFER: usize = 32 << 20;
const ROUNDS: usize = 24;
/// Rounds of [`Kernels::peak`] at a time.
const PEAK_ROUNDS: usize = 200_000;

impl Ceilings {
    /// The higher of two measurements: whatever else the machine does only ever lowers one.
    pub fn or_higher(self, other: Self) -> Self {
        Self { bytes_per_s: self.bytes_per_s.max(other.bytes_per_s), macs_per_s: self.macs_per_s.max(other.macs_per_s) }
    }

    /// Measures both, with all threads at work at once; takes a fraction of a second.
    pub fn measure(kernels: &dyn Kernels, threads: usize) -> Self {
        let start = Barrier::new(threads);
        let rates = thread::scope(|scope| {
            let measure = || {
                let buffer = vec![1u64; BUFFER / 8];
                start.wait();
                let bytes = best(|| {
                    black_box(read(black_box(&buffer)));
                    BUFFER
                });
                start.wait();
                (bytes, best(|| kernels.peak(PEAK_ROUNDS)))
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

/// The best rate of a number of rounds, in what `job` counts a second.
fn best(mut job: impl FnMut() -> usize) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let amount = job();
            amount as f64 / start.elapsed().as_secs_f64().max(1e-9)
        })
        .fold(0.0, f64::max)
}

/// Sums independent lanes, so that loads and not additions limit it.
fn read(buffer: &[u64]) -> u64 {
    let mut lanes = [0u64; 32];
    for chunk in buffer.as_chunks::<32>().0 {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*value);
        }
    }
    lanes.into_iter().fold(0, u64::wrapping_add)
}
