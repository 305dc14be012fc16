//! What the system's allocator keeps of memory that nobody uses any more.
//!
//! For glibc on Linux; elsewhere these functions do nothing.

use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Least time between two times that memory is given back.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(10);
/// Giving back takes at most one part in so many of the time: while it lasts others may wait for the allocator.
const SHARE: u32 = 1_000;

/// Processor cores that share one arena.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const CORES_PER_ARENA: usize = 2;

/// Has all threads allocate from a few arenas, instead of up to eight for each core. To be called before other threads exist.
///
/// What a thread frees goes back to the arena that it came from, and only threads of that arena use it again: with many arenas
/// each keeps the peak of its own past. Measured with 32 stalled uploads on two cores, at the server: 81 KiB a stream in use,
/// 179 KiB resident.
pub fn share_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = i32::try_from(cores.div_ceil(CORES_PER_ARENA)).unwrap_or(i32::MAX);
        // A refusal leaves things as they were.
        #[expect(unsafe_code, reason = "no safe wrapper is known")]
        // SAFETY: mallopt(3) reads its two integers and sets a parameter of the allocator under the allocator's own lock.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    }
}

/// Gives what is free back to the system again and again, until it is dropped.
///
/// What a busy hour or a flood took is free afterwards, and the allocator would keep it: after three waves of hostile devices the
/// server had twice the memory of before (`iploop-bench faults --only hostile-devices`).
pub async fn give_back_always() {
    loop {
        let given = spawn_blocking(|| {
            let began = Instant::now();
            give_back();
            began.elapsed()
        });
        let took = given.await.unwrap_or_default();
        sleep(GIVE_BACK_EVERY.max(took * SHARE)).await;
    }
}

/// Gives what is free back to the system.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "no safe wrapper is known")]
        // SAFETY: malloc_trim(3) may be called by any thread at any time; it touches only what is free.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}
