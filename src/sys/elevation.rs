//! Whether executing this program gave us rights that our caller does not have.

use super::raw::check;
use std::ptr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elevation {
    /// We are who our caller is.
    None,
    /// Real and effective ids differ: a set-user-ID or set-group-ID program, or a caller that was one itself.
    Ids { real: (u32, u32), effective: (u32, u32) },
    /// The executable has capabilities of its own (capabilities(7)).
    FileCapabilities,
}

/// To be asked before anything is read: a caller with fewer rights chose our arguments, environment and directory.
pub fn elevation() -> Elevation {
    // SAFETY: none of the four has preconditions or can fail.
    let (real, effective) = unsafe { ((libc::getuid(), libc::getgid()), (libc::geteuid(), libc::getegid())) };
    if real != effective {
        return Elevation::Ids { real, effective };
    }
    // SAFETY: getauxval takes an integer; AT_SECURE is 0 where the kernel does not tell.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    // A change of security label sets it as well (getauxval(3)).
    if secure && has_capabilities() { Elevation::FileCapabilities } else { Elevation::None }
}

fn has_capabilities() -> bool {
    let (path, name) = (c"/proc/self/exe", c"security.capability");
    // SAFETY: two C strings; with no room given, only the length is asked for.
    check(unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), ptr::null_mut(), 0) }).is_ok_and(|length| length > 0)
}
