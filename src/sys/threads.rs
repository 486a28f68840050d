/// Blocks every signal in the calling thread, so that handlers run in the loop's thread and no write is interrupted.
pub fn block_all_signals() {
    // Fails for a wrong `how` alone (pthread_sigmask(3)).
    let _infallible = nix::sys::signal::SigSet::all().thread_block();
}

/// Unblocks every signal in the calling thread: for a process that is about to leave and says why, so that TERM and INT end a write
/// to a stderr that is not read.
pub fn unblock_all_signals() {
    // As above.
    let _infallible = nix::sys::signal::SigSet::all().thread_unblock();
}

/// Whether a thread could not be started because a sandbox refuses the system call, as against a machine that is short of
/// something now and may not be later.
pub fn are_forbidden(error: &std::io::Error) -> bool {
    super::raw::is_absent(error)
}
