//! Host threads for a [`Team`]: they spin for a moment, then sleep until the next job.

use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering, fence},
    },
    thread,
    time::{Duration, Instant},
};

use pipsqueak::{
    Image, Plan, PlanOptions, Session, SessionError,
    kernels::{
        Kernels,
        arena::Line,
        team::{Team, Worker},
    },
};

/// Looks at an idle team before a worker goes to sleep: some tens of microseconds, longer than the serial stretches
/// between two products of a forward pass, shorter than a scheduler's slice.
const SPINS: u32 = 4000;
/// A worker offers its core to others this often, between two jobs: sooner than a scheduler takes it away.
const OWN: Duration = Duration::from_millis(1);
/// A sleeping worker looks up this often even if nobody wakes it.
const NAP: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Bed {
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    bell: Condvar,
}

impl Bed {
    fn wake(&self) {
        // Orders the job's publication before the look at `sleepers`; `sleep` does the same the other way round, so that
        // one of the two always sees the other.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.bell.notify_all();
        }
    }

    fn sleep(&self, worker: &Worker<'_, '_>) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !worker.has_work() && !worker.is_done() {
            drop(self.bell.wait_timeout(guard, NAP));
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `job` with a team of `threads` (the calling one included); the others end with it.
pub fn with_team<R>(threads: usize, job: impl FnOnce(&Team<'_>) -> R) -> R {
    let bed = Bed::default();
    let wake = || bed.wake();
    let team = Team::new(Some(&wake));
    thread::scope(|scope| {
        // Dropped on every way out, also when `job` panics: the scope waits for the workers.
        let closer = Closer(&team);
        for _ in 1..threads {
            let worker = team.join();
            let bed = &bed;
            // A thread that cannot be had is help that does not come; the leader does the work.
            let spawned =
                thread::Builder::new().name("pipsqueak".into()).spawn_scoped(scope, move || serve(&worker, bed));
            if spawned.is_err() {
                break;
            }
        }
        job(closer.0)
    })
}

/// A session with a team and arenas of its own, for a job that begins and ends here.
pub fn with_session<R>(
    image: &Image<'_>,
    kernels: &dyn Kernels,
    options: PlanOptions,
    job: impl FnOnce(&mut Session<'_, dyn Kernels + '_>) -> Result<R, SessionError>,
) -> Result<R, SessionError> {
    let plan = Plan::new(image.config(), options);
    let mut scratch = vec![Line::ZERO; plan.scratch_lines()];
    let mut kv = vec![Line::ZERO; plan.kv_lines()];
    with_team(options.threads, |team| job(&mut Session::new(image, kernels, team, &plan, &mut scratch, &mut kv)?))
}

struct Closer<'t, 'h>(&'t Team<'h>);

impl Drop for Closer<'_, '_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn serve(worker: &Worker<'_, '_>, bed: &Bed) {
    let mut idle = 0;
    let mut since = Instant::now();
    while !worker.is_done() {
        if worker.work() {
            idle = 0;
            // Here nobody waits for this worker. Where another program wants the core, better to give it now than to lose
            // it in the middle of a job, for whose end the leader would wait a scheduler's slice.
            if since.elapsed() >= OWN {
                thread::yield_now();
                since = Instant::now();
            }
        } else if idle < SPINS {
            idle += 1;
            std::hint::spin_loop();
        } else {
            bed.sleep(worker);
            idle = 0;
        }
    }
}

/// Multiply-adds of one token below which a second thread costs more than it brings.
const WORTH_SHARING: u64 = 3_000_000;

/// Threads to use when the user names no number: all cores, but one for a small model.
pub fn default_threads(macs_per_token: u64) -> usize {
    if macs_per_token < WORTH_SHARING { 1 } else { thread::available_parallelism().map_or(1, usize::from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_workers_wake_and_end() {
        for threads in 1..4 {
            let total = AtomicUsize::new(0);
            with_team(threads, |team| {
                for pause in [0, 0, 20, 0] {
                    thread::sleep(Duration::from_millis(pause));
                    team.run(100, &|i| {
                        total.fetch_add(i, Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(total.into_inner(), 4 * 4950);
        }
    }
}
