//! Which processor core a process runs on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// This thread, and what it starts, bound to one core as long as this value.
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    pub(crate) fn to(core: usize) -> anyhow::Result<Self> {
        let before = sched_getaffinity(None)?;
        pin(core)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// Binds this thread, and what it starts from now on, to one core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    anyhow::ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| anyhow::anyhow!("core {core}: {error}"))
}

/// Starts something bound to `core`, while this thread goes back to its own.
pub(crate) fn start_on<T>(core: usize, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let _pinned = Pinned::to(core)?;
    start()
}
