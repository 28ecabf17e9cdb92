//! What the allocator keeps of what was freed. glibc's defaults keep a burst for ever: one arena for every thread eight
//! times over, and a threshold for large blocks that grows with the largest one freed.

/// Large blocks go back to the system when they are freed, and few arenas keep small ones. To be called before threads
/// begin.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn give_memory_back() {
    const LARGE: libc::c_int = 256 << 10;
    const ARENAS: libc::c_int = 4;
    // SAFETY: these calls set numbers in the allocator, and no other thread is there yet. A refusal leaves the
    // defaults.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Other allocators have no such habit.
#[cfg(not(target_env = "gnu"))]
pub fn give_memory_back() {}
