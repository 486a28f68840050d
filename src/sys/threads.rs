/// Blocks every signal in the calling thread, so that handlers run in the loop's thread and no write is interrupted.
pub fn block_all_signals() {
    // Fails for a wrong `how` alone (pthread_sigmask(3)).
    let _infallible = nix::sys::signal::SigSet::all().thread_block();
}

/// Whether a thread could not be started because a sandbox refuses the system call, as against a machine that is short of
/// something now and may not be later.
pub fn are_forbidden(error: &std::io::Error) -> bool {
    super::raw::is_absent(error)
}
