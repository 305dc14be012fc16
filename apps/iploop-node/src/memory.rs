//! What the system's allocator keeps of memory that nobody uses any more.

/// Gives it back to the system, where that is glibc; elsewhere nothing happens.
///
/// Most of the time an agent needs little: what a busy hour or a hostile hub took belongs to the computer's owner.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "no safe wrapper is known")]
        // SAFETY: malloc_trim(3) may be called by any thread at any time; it touches only what is free.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}
