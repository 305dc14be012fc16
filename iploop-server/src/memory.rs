//! What the system's allocator keeps of memory that nobody uses any more.
//!
//! For glibc on Linux; elsewhere these functions do nothing.

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

/// Gives what is free back to the system: after the start, which needs some 10 MiB more than what follows.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "no safe wrapper is known")]
        // SAFETY: malloc_trim(3) may be called by any thread at any time; it touches only what is free.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}
