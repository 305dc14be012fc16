//! Which processor core a process runs on.

use rustix::thread::{CpuSet, sched_setaffinity};

/// Binds this thread, and what it starts from now on, to one core.
pub(super) fn pin(core: usize) -> anyhow::Result<()> {
    anyhow::ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| anyhow::anyhow!("core {core}: {error}"))
}

/// Starts something bound to `core`, while this thread goes back to `own`.
pub(super) fn start_on<T>(core: usize, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let own = rustix::thread::sched_getaffinity(None)?;
    pin(core)?;
    let started = start();
    sched_setaffinity(None, &own)?;
    started
}
