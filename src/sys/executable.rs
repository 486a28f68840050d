//! Where our own program is, for children that are to run it.

use std::ffi::{CStr, CString, c_char};

/// Paths to try in order. The first means whoever executes it and is right even when the file was replaced or removed meanwhile; the other
/// is what execve(2) was given, for where there is no /proc.
pub fn own() -> Vec<CString> {
    // SAFETY: getauxval takes an integer and has no preconditions.
    let given = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    let given = (!given.is_null()).then(|| {
        // SAFETY: AT_EXECFN points to a string at the top of the stack that stays there for as long as the process (getauxval(3)).
        unsafe { CStr::from_ptr(given) }.to_owned()
    });
    [c"/proc/self/exe".to_owned()].into_iter().chain(given).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_paths_are_this_program() {
        let paths = super::own();
        let files: Vec<_> = paths.iter().map(|path| std::fs::canonicalize(path.to_str().unwrap()).unwrap()).collect();
        assert_eq!(files, vec![std::env::current_exe().unwrap(); 2]);
    }
}
