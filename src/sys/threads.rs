/// Blocks every signal in the calling thread, so that handlers run in the loop's thread and no write is interrupted.
pub fn block_all_signals() {
    // Fails for a wrong `how` alone (pthread_sigmask(3)).
    let _infallible = nix::sys::signal::SigSet::all().thread_block();
}
