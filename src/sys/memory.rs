/// Gives the kernel what the allocator keeps of freed memory. Worth its microseconds once, after the file is read: what reading
/// it took is never needed again. Only glibc has it; the allocators of other C libraries keep little.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: an integer goes in; the call works on what the allocator owns and nobody uses (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0)
    };
}
