use crate::model::Time;

/// `CLOCK_MONOTONIC`: stands still in suspend, never goes back. The one place where the program reads the clock.
pub fn now() -> Time {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spec` is a live timespec that the call fills. With this clock and a valid pointer it cannot fail
    // (clock_gettime(2)); if it did, `spec` would still be initialised.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut spec) };
    let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(spec.tv_nsec).unwrap_or(0);
    Time::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Waits for that long. For threads that write only: the loop never sleeps.
pub fn sleep(span: std::time::Duration) {
    std::thread::sleep(span);
}

/// Wall-clock time for people's eyes only.
pub fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
