//! What this machine can do at best: read bandwidth and int8 multiply-adds, measured.

use std::{hint::black_box, thread, time::Instant};

use pipsqueak::kernels::Kernels;

/// Ceilings for a number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes a second from memory.
    pub bytes_per_s: f64,
    /// int8 multiply-adds a second of the kernel set's own multiply instruction, from registers.
    pub macs_per_s: f64,
}

/// Bytes each thread reads: far more than a core's caches hold.
const BUFFER: usize = 64 << 20;
const ROUNDS: usize = 12;

impl Ceilings {
    /// The higher of two measurements: whatever else the machine does only ever lowers one.
    pub fn or_higher(self, other: Self) -> Self {
        Self { bytes_per_s: self.bytes_per_s.max(other.bytes_per_s), macs_per_s: self.macs_per_s.max(other.macs_per_s) }
    }

    /// Measures both; takes a fraction of a second.
    pub fn measure(kernels: &dyn Kernels, threads: usize) -> Self {
        let buffers: Vec<Vec<u64>> = (0..threads).map(|i| vec![i as u64 + 1; BUFFER / 8]).collect();
        let bytes_per_s = best(|| {
            together(&buffers, |buffer| {
                black_box(read(buffer));
            });
            (threads * BUFFER) as f64
        });
        let macs_per_s = best(|| {
            let rounds = 400_000;
            let counts = together(&buffers, |_| kernels.peak(rounds));
            counts.into_iter().sum::<usize>() as f64
        });
        Self { bytes_per_s, macs_per_s }
    }
}

fn best(mut job: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let amount = job();
            amount / start.elapsed().as_secs_f64().max(1e-9)
        })
        .fold(0.0, f64::max)
}

fn together<R: Send>(buffers: &[Vec<u64>], job: impl Fn(&[u64]) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let job = &job;
        let handles: Vec<_> = buffers.iter().map(|buffer| scope.spawn(move || job(buffer))).collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
    })
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
