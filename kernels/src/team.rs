//! Sharing a job out by index over workers: host threads, a second core, or nobody.
//!
//! The leader publishes a job of `n` indices and works on it itself; whoever is in [`Worker::work`] takes indices too.
//! Nobody waits for a worker that has not come: a worker busy elsewhere, or descheduled, costs its share of the help and
//! nothing more. Which index runs where never changes a result.
//!
//! Each member has a range of indices of its own, so that it walks through neighbouring data, whose next piece its fetches
//! ahead bring; who is done takes from the ranges of others.

use core::marker::PhantomData;

#[cfg(all(target_has_atomic = "32", feature = "team"))]
mod shared {
    use core::{
        cell::UnsafeCell,
        hint::spin_loop,
        num::NonZeroUsize,
        sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    };

    type Job = *const (dyn Fn(usize) + Sync);

    /// Workers that may enter the present job; the low bits of the gate count those inside.
    const OPEN: u32 = 1 << 31;

    /// Ranges of indices; with more members some share one.
    const RANGES: usize = if cfg!(target_pointer_width = "64") { 16 } else { 2 };

    /// Indices that are left, in a cache line of their own where there are caches to speak of.
    #[cfg_attr(target_pointer_width = "64", repr(align(64)))]
    struct Range {
        next: AtomicUsize,
        end: AtomicUsize,
    }

    impl Range {
        const fn empty() -> Self {
            Self { next: AtomicUsize::new(0), end: AtomicUsize::new(0) }
        }

        fn set(&self, next: usize, end: usize) {
            self.next.store(next, Ordering::Relaxed);
            self.end.store(end, Ordering::Relaxed);
        }

        fn is_empty(&self) -> bool {
            self.next.load(Ordering::Relaxed) >= self.end.load(Ordering::Relaxed)
        }

        fn take(&self) -> Option<usize> {
            // Read first: were it read after, an index taken last would be lost to a leader who has found nothing left and shuts.
            let end = self.end.load(Ordering::Relaxed);
            // Without the look, an empty range's line would wander between those who find it empty.
            if self.next.load(Ordering::Relaxed) >= end {
                return None;
            }
            let index = self.next.fetch_add(1, Ordering::AcqRel);
            (index < end).then_some(index)
        }
    }

    /// A team of one leader and any number of workers.
    pub struct Team<'h> {
        gate: AtomicU32,
        ranges: [Range; RANGES],
        /// Ranges in use.
        count: AtomicUsize,
        job: UnsafeCell<Option<Job>>,
        members: AtomicU32,
        leading: AtomicBool,
        closed: AtomicBool,
        wake: Option<&'h (dyn Fn() + Sync)>,
    }

    // SAFETY: `job` is written only by the one leader (`leading`), while the gate is shut and nobody is inside; workers read
    // it only after they entered through the open gate (acquire), which the leader opened after writing (release). The
    // closure behind the pointer is `Sync` and outlives the job, because `run` does not return while anyone is inside.
    unsafe impl Sync for Team<'_> {}
    // SAFETY: nothing in a team is tied to a thread; between jobs it holds no pointer that is followed.
    unsafe impl Send for Team<'_> {}

    impl<'h> Team<'h> {
        /// A team without workers yet. `wake` is called whenever a job is published, to rouse sleeping workers.
        pub const fn new(wake: Option<&'h (dyn Fn() + Sync)>) -> Self {
            Self {
                gate: AtomicU32::new(0),
                ranges: [const { Range::empty() }; RANGES],
                count: AtomicUsize::new(0),
                job: UnsafeCell::new(None),
                members: AtomicU32::new(0),
                leading: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                wake,
            }
        }

        /// The leader and all workers that joined.
        pub fn size(&self) -> usize {
            self.members.load(Ordering::Relaxed) as usize + 1
        }

        /// Adds the calling thread or core; it is counted until the handle is dropped.
        pub fn join(&self) -> Worker<'_, 'h> {
            let others = self.members.fetch_add(1, Ordering::Relaxed) as usize;
            Worker { team: self, home: others + 1 }
        }

        /// Tells workers that no more jobs come: [`Worker::is_done`] turns true.
        pub fn close(&self) {
            self.closed.store(true, Ordering::Release);
            if let Some(wake) = self.wake {
                wake();
            }
        }

        /// Runs `job(0) .. job(n - 1)`, each once, in any order, on leader and workers; returns when all are done.
        pub fn run(&self, n: usize, job: &(dyn Fn(usize) + Sync)) {
            let alone = n < 2 || self.members.load(Ordering::Relaxed) == 0;
            // A second leader, or a job started inside a job, runs by itself.
            if alone || self.leading.swap(true, Ordering::Acquire) {
                (0..n).for_each(job);
                return;
            }
            // SAFETY: only lifetimes change. The pointer is followed only by those inside the gate, and `Shut` below waits
            // for them before this function ends, on every path.
            let pointer = unsafe { core::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(job) };
            // SAFETY: the gate is shut and nobody is inside (the last `run` saw to that), and `leading` keeps others out.
            unsafe { *self.job.get() = Some(pointer) };
            self.lay_out(n);
            self.gate.store(OPEN, Ordering::Release);
            if let Some(wake) = self.wake {
                wake();
            }
            let _shut = Shut(self);
            self.take(0, job);
        }

        /// Cuts `0 .. n` into a range for each member.
        fn lay_out(&self, n: usize) {
            let count = NonZeroUsize::new(self.size().min(RANGES)).unwrap_or(NonZeroUsize::MIN);
            let (each, more) = (n / count, n % count);
            let mut start = 0;
            for (at, range) in self.ranges.iter().take(count.get()).enumerate() {
                let end = start + each + (at < more) as usize;
                range.set(start, end);
                start = end;
            }
            self.count.store(count.get(), Ordering::Relaxed);
        }

        /// The ranges in use, beginning with a member's own.
        fn ranges(&self, home: usize) -> impl Iterator<Item = &Range> {
            let used = self.ranges.get(..self.count.load(Ordering::Relaxed)).unwrap_or(&[]);
            let (before, from) = used.split_at_checked(home).unwrap_or((used, &[]));
            from.iter().chain(before)
        }

        fn take(&self, home: usize, job: &(dyn Fn(usize) + Sync)) {
            for range in self.ranges(home) {
                while let Some(index) = range.take() {
                    job(index);
                }
            }
        }
    }

    /// Ends a job when dropped, also while unwinding: shuts the gate and waits for those inside.
    struct Shut<'t, 'h>(&'t Team<'h>);

    impl Drop for Shut<'_, '_> {
        fn drop(&mut self) {
            // Nobody may find work any more, should the leader's own part have ended early.
            // Only ends are moved: with `next` set back too, an index might be taken twice by who still sees the old end.
            self.0.ranges.iter().for_each(|range| range.end.store(0, Ordering::Relaxed));
            self.0.gate.fetch_and(!OPEN, Ordering::AcqRel);
            while self.0.gate.load(Ordering::Acquire) != 0 {
                spin_loop();
            }
            self.0.leading.store(false, Ordering::Release);
        }
    }

    /// A worker's membership of a team.
    pub struct Worker<'t, 'h> {
        team: &'t Team<'h>,
        /// The range it begins with.
        home: usize,
    }

    impl Worker<'_, '_> {
        /// Helps with the present job, if there is one with indices left; returns whether it did anything.
        pub fn work(&self) -> bool {
            let team = self.team;
            if !self.has_work() {
                return false;
            }
            let mut gate = team.gate.load(Ordering::Relaxed);
            loop {
                if gate & OPEN == 0 {
                    return false;
                }
                match team.gate.compare_exchange_weak(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(now) => gate = now,
                }
            }
            let _leave = Leave(team);
            // SAFETY: we are inside the gate, so the leader wrote the pointer before opening it and neither changes it nor
            // lets the closure go until we have left.
            if let Some(job) = unsafe { *team.job.get() } {
                // SAFETY: as above, the closure is alive.
                team.take(self.home, unsafe { &*job });
            }
            true
        }

        /// Whether a job with indices left is open.
        pub fn has_work(&self) -> bool {
            let team = self.team;
            team.gate.load(Ordering::Acquire) & OPEN != 0 && team.ranges(self.home).any(|range| !range.is_empty())
        }

        /// Whether the team was closed.
        pub fn is_done(&self) -> bool {
            self.team.closed.load(Ordering::Acquire)
        }
    }

    impl Drop for Worker<'_, '_> {
        fn drop(&mut self) {
            self.team.members.fetch_sub(1, Ordering::Relaxed);
        }
    }

    struct Leave<'t, 'h>(&'t Team<'h>);

    impl Drop for Leave<'_, '_> {
        fn drop(&mut self) {
            self.0.gate.fetch_sub(1, Ordering::Release);
        }
    }
}

#[cfg(not(all(target_has_atomic = "32", feature = "team")))]
mod shared {
    use core::marker::PhantomData;

    /// A team of one: this target has no compare-and-swap, or the feature `team` is left out.
    pub struct Team<'h>(PhantomData<&'h ()>);

    impl<'h> Team<'h> {
        /// A team of one.
        pub const fn new(_wake: Option<&'h (dyn Fn() + Sync)>) -> Self {
            Self(PhantomData)
        }

        /// One.
        pub fn size(&self) -> usize {
            1
        }

        /// Runs `job(0) .. job(n - 1)` in order.
        #[inline]
        pub fn run(&self, n: usize, job: &(impl Fn(usize) + Sync)) {
            (0..n).for_each(job);
        }
    }
}

pub use shared::*;

impl Team<'static> {
    /// A team of one.
    pub const fn alone() -> Self {
        Self::new(None)
    }
}

impl core::fmt::Debug for Team<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Team").field("size", &self.size()).finish()
    }
}

/// Something that falls into disjoint parts by index, to be worked on at the same time.
///
/// # Safety
/// Parts with different indices must not overlap, so that they may be used on different threads at once.
pub unsafe trait Parts: Sync {
    /// What one index gets.
    type Part;

    /// The part with this index.
    ///
    /// # Safety
    /// * No index may be asked for again while its part is alive.
    unsafe fn part(&self, index: usize) -> Self::Part;
}

/// A slice in rows of equal width.
#[derive(Debug)]
pub struct Rows<'a, T> {
    start: *mut T,
    len: usize,
    width: usize,
    _data: PhantomData<&'a mut [T]>,
}

impl<'a, T: Send> Rows<'a, T> {
    /// `data` in rows of `width`.
    pub fn new(data: &'a mut [T], width: usize) -> Self {
        Self { start: data.as_mut_ptr(), len: data.len(), width, _data: PhantomData }
    }
}

// SAFETY: sharing `Rows` only gives access to elements through `part`, whose callers promise that no two threads hold the
// same part; elements are `Send`.
unsafe impl<T: Send> Sync for Rows<'_, T> {}

// SAFETY: rows with different indices start `width` apart and have at most `width` elements.
unsafe impl<'a, T: Send> Parts for Rows<'a, T> {
    type Part = &'a mut [T];

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let start = index.saturating_mul(self.width).min(self.len);
        let len = self.width.min(self.len - start);
        // SAFETY: `start + len <= self.len`; the caller promises that nobody else holds this row.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// Parts dealt out like cards: hand `i` gets parts `first + i`, `first + i + hands` ... before `last`.
#[derive(Debug)]
pub struct Dealt<'p, P> {
    parts: &'p P,
    first: usize,
    last: usize,
    hands: core::num::NonZeroUsize,
}

impl<'p, P: Parts> Dealt<'p, P> {
    /// Deals parts `first .. last` out to `hands`.
    pub fn new(parts: &'p mut P, first: usize, last: usize, hands: core::num::NonZeroUsize) -> Self {
        Self { parts, first, last, hands }
    }
}

/// One hand of [`Dealt`]: its parts with their indices.
#[derive(Debug)]
pub struct Hand<'p, P> {
    parts: &'p P,
    next: usize,
    last: usize,
    step: usize,
}

impl<P: Parts> Iterator for Hand<'_, P> {
    type Item = (usize, P::Part);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.last {
            return None;
        }
        let index = self.next;
        self.next = index.saturating_add(self.step);
        // SAFETY: parts of a hand are visited once, in rising order, and hands share none.
        Some((index, unsafe { self.parts.part(index) }))
    }
}

// SAFETY: two hands' parts have indices that differ modulo `hands`, so they are different parts; a part is handed out once
// because an iterator only moves forward, and the exclusive borrow of all parts keeps others away.
unsafe impl<'p, P: Parts> Parts for Dealt<'p, P> {
    type Part = Hand<'p, P>;

    unsafe fn part(&self, index: usize) -> Hand<'p, P> {
        // A hand beyond the table gets nothing.
        let next = if index < self.hands.get() { self.first.saturating_add(index) } else { self.last };
        Hand { parts: self.parts, next, last: self.last, step: self.hands.get() }
    }
}

macro_rules! tuple_parts {
    ($($name:ident)+) => {
        // SAFETY: each member keeps its own parts disjoint, and members are disjoint borrows.
        unsafe impl<$($name: Parts),+> Parts for ($($name,)+) {
            type Part = ($($name::Part,)+);

            #[allow(non_snake_case)]
            unsafe fn part(&self, index: usize) -> Self::Part {
                let ($($name,)+) = self;
                // SAFETY: passed on to the caller.
                ($(unsafe { $name.part(index) },)+)
            }
        }
    };
}
tuple_parts!(A B);
tuple_parts!(A B C);
tuple_parts!(A B C D);

/// Runs `job(i, part i)` for every `i` of `first .. first + n` on the team.
pub fn share<P: Parts>(team: &Team<'_>, first: usize, n: usize, parts: P, job: impl Fn(usize, P::Part) + Sync) {
    team.run(n, &|i| {
        let index = first.saturating_add(i);
        // SAFETY: `run` calls each index once, so no part is handed out twice.
        job(index, unsafe { parts.part(index) });
    });
}

#[cfg(all(test, target_has_atomic = "32", feature = "team"))]
pub(crate) mod tests {
    extern crate std;
    use std::{sync::atomic::AtomicUsize, sync::atomic::Ordering, thread, vec};

    use super::*;

    /// Lets the workers go, also when a test fails.
    struct Closer<'t>(&'t Team<'t>);

    impl Drop for Closer<'_> {
        fn drop(&mut self) {
            self.0.close();
        }
    }

    /// Runs `job` with a team of a leader and so many workers.
    pub(crate) fn with_workers(workers: usize, job: impl FnOnce(&Team<'_>)) {
        let team = Team::new(None);
        thread::scope(|scope| {
            let closer = Closer(&team);
            for _ in 0..workers {
                let worker = team.join();
                scope.spawn(move || {
                    while !worker.is_done() {
                        if !worker.work() {
                            core::hint::spin_loop();
                        }
                    }
                });
            }
            job(closer.0);
        });
    }

    #[test]
    fn every_index_runs_once_with_any_number_of_workers() {
        for workers in 0..4 {
            with_workers(workers, |team| {
                assert_eq!(team.size(), workers + 1);
                // Short jobs most of all: who takes the last index of a range may still be about to when the leader finds it empty.
                for round in (0..200).chain((0..300_000).map(|round| round % 7)) {
                    let mut hits = vec![0u32; round * 3];
                    let seen = AtomicUsize::new(0);
                    share(team, 0, round, Rows::new(&mut hits, 3), |i, row| {
                        row.fill(i as u32 + 1);
                        seen.fetch_add(1, Ordering::Relaxed);
                    });
                    assert_eq!(seen.into_inner(), round);
                    assert!(hits.iter().enumerate().all(|(i, hit)| *hit as usize == i / 3 + 1));
                }
            });
        }
    }

    #[test]
    fn a_job_inside_a_job_runs_alone() {
        let team = Team::new(None);
        let _member = team.join();
        let count = AtomicUsize::new(0);
        team.run(4, &|_| {
            team.run(5, &|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(count.into_inner(), 20);
    }
}
