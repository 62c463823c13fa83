//! Which model it is: the digest of [`pipsqueak::digest`], its tensors shared out over threads.

use std::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    thread,
};

use pipsqueak::{Image, digest};

/// The digest that the image carries, or else computed from all of its weights.
pub fn of(image: &Image<'_>, threads: usize) -> u32 {
    image.digest().unwrap_or_else(|| compute(image, threads))
}

/// The digest, computed.
pub fn compute(image: &Image<'_>, threads: usize) -> u32 {
    let entries: Vec<_> = image.entries().collect();
    let sums: Vec<_> = entries.iter().map(|_| AtomicU32::new(0)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((entry, sum)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            entries.get(index).zip(sums.get(index))
        } {
            let mut crc = crc32fast::Hasher::new();
            digest::contents(image, entry, &mut |bytes| crc.update(bytes));
            sum.store(crc.finalize(), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    digest::combine(image, sums.into_iter().map(AtomicU32::into_inner))
}
