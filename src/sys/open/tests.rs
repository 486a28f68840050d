//! These change owners, so they need root. Each opens in a thread of the test, whose rights are its own.

use super::*;
use crate::model::Identity;
use crate::model::identity::Account;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const WORKER: u32 = 1000;
const SHARED: u32 = 4321;

/// `None`, with a word on why, where this is not root; with `CI` set that is a failure.
fn directory() -> Option<TempDir> {
    if crate::sys::identity::own_user() != 0 {
        assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI, but this is not root");
        println!("SKIP: this is not root");
        return None;
    }
    Some(tempfile::tempdir().unwrap())
}

/// A directory with this owner and mode, whatever the umask.
fn make(path: &Path, owner: u32, group: u32, mode: u32) {
    fs::DirBuilder::new().mode(0o700).create(path).unwrap();
    chown(path, Some(owner), Some(group)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A file of root's that nobody else may read.
fn secret(path: &Path) {
    fs::write(path, "root-only\n").unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn worker() -> FileUser {
    worker_in(&[])
}

fn worker_in(groups: &[u32]) -> FileUser {
    let account = |id: u32| Account { id, name: id.to_string() };
    let groups = Some(groups.iter().copied().map(account).collect());
    let user = Identity { user: Some(account(WORKER)), group: Some(account(WORKER)), groups, ..Identity::default() };
    FileUser::of(&user).unwrap()
}

fn read(path: &Path) -> Result<String, i32> {
    let opened = open_raw(path, How::read(), &worker());
    let mut text = String::new();
    opened?.read_to_string(&mut text).unwrap();
    Ok(text)
}

fn append(path: &Path) -> Result<(), i32> {
    append_as(path, &worker())
}

fn append_as(path: &Path, user: &FileUser) -> Result<(), i32> {
    open_raw(path, How::append(0o666), user)?.write_all(b"line\n").unwrap();
    Ok(())
}

/// As a forked child does it, with the number of the error.
fn open_raw(path: &Path, how: How, user: &FileUser) -> Result<File, i32> {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    open_name(&name, how, Some(user)).map(File::from).map_err(|error| error.raw_os_error().unwrap())
}

#[test]
fn links_of_root_are_followed_in_directories_of_root() {
    let Some(made) = directory() else { return };
    let at = |name: &str| made.path().join(name);
    // As Kubernetes mounts a secret.
    make(&at("..2026_11_28"), 0, 0, 0o755);
    secret(&at("..2026_11_28/token"));
    symlink("..2026_11_28", at("..data")).unwrap();
    symlink("..data/token", at("token")).unwrap();
    assert_eq!(read(&at("token")), Ok("root-only\n".to_owned()));
    // A log directory that is a link.
    make(&at("disk"), 0, 0, 0o700);
    symlink(at("disk"), at("logs")).unwrap();
    symlink("./../disk/../logs/real.log", at("disk/web.log")).unwrap();
    assert_eq!(append(&at("logs//web.log")), Ok(()));
    let written = fs::metadata(at("disk/real.log")).unwrap();
    assert_eq!((written.uid(), written.len()), (0, 5));
}

#[test]
fn a_link_in_a_directory_of_the_worker_is_not_followed() {
    let Some(made) = directory() else { return };
    fs::set_permissions(made.path(), Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| made.path().join(name);
    secret(&at("secret"));
    make(&at("mine"), WORKER, WORKER, 0o755);
    symlink(at("secret"), at("mine/done.txt")).unwrap();
    assert_eq!(append(&at("mine/done.txt")), Err(libc::ELOOP));
    assert_eq!(read(&at("mine/done.txt")), Err(libc::ELOOP));
    // Nor does a directory that is a link lead further than the worker comes.
    make(&at("closed"), 0, 0, 0o700);
    secret(&at("closed/secret"));
    symlink(at("closed"), at("mine/sub")).unwrap();
    assert_eq!(read(&at("mine/sub/secret")), Err(libc::EACCES));
    assert_eq!(append(&at("mine/sub/new")), Err(libc::EACCES));
    // A link of its own that root put into a directory of root's.
    symlink(at("secret"), at("its-link")).unwrap();
    std::os::unix::fs::lchown(at("its-link"), Some(WORKER), Some(WORKER)).unwrap();
    assert_eq!(read(&at("its-link")), Err(libc::ELOOP));
    assert_eq!(fs::read_to_string(at("secret")).unwrap(), "root-only\n");
    assert!(!at("closed/new").exists());
}

/// The kernel follows links of /proc past all directories on the way, such as one to a directory that we have open, or are in.
#[test]
fn a_link_to_a_directory_that_we_have_open_is_not_followed_into_a_closed_one() {
    let Some(made) = directory() else { return };
    let at = |name: &str| made.path().join(name);
    make(&at("closed"), 0, 0, 0o700);
    make(&at("closed/inner"), 0, 0, 0o755);
    fs::write(at("closed/inner/.env"), "nobody else comes here\n").unwrap();
    fs::set_permissions(at("closed/inner/.env"), Permissions::from_mode(0o666)).unwrap();
    let open = File::open(at("closed/inner")).unwrap();
    make(&at("mine"), WORKER, WORKER, 0o755);
    for (name, way) in [("a", format!("/proc/self/fd/{}", open.as_raw_fd())), ("b", "/proc/self/cwd".to_owned())] {
        symlink(way, at("mine").join(name)).unwrap();
    }
    assert_eq!(read(&at("mine/a/.env")), Err(libc::ELOOP));
    assert_eq!(append(&at("mine/a/.env")), Err(libc::ELOOP));
    assert_eq!(append(&at("mine/a/new")), Err(libc::ELOOP));
    assert_eq!(read(&at("mine/b/Cargo.toml")), Err(libc::ELOOP));
    // Its own links lead it where it may go.
    make(&at("mine/real"), WORKER, WORKER, 0o755);
    fs::set_permissions(made.path(), Permissions::from_mode(0o755)).unwrap();
    for (name, way) in [("c", at("mine/real")), ("d", "./../mine//real/".into()), ("e", "d/.".into())] {
        symlink(way, at("mine").join(name)).unwrap();
        assert_eq!(append(&at("mine").join(name).join("file")), Ok(()), "{name}");
    }
    assert_eq!(fs::read_to_string(at("mine/real/file")).unwrap(), "line\n".repeat(3));
    symlink("round", at("mine/round")).unwrap();
    assert_eq!(read(&at("mine/round/file")), Err(libc::ELOOP));
}

#[test]
fn in_a_directory_of_the_worker_only_its_own_regular_files_are_opened() {
    let Some(made) = directory() else { return };
    let at = |name: &str| made.path().join(name);
    make(&at("mine"), WORKER, WORKER, 0o755);
    secret(&at("mine/secret"));
    assert_eq!(read(&at("mine/secret")), Err(libc::EACCES));
    fs::write(at("mine/a"), "a").unwrap();
    chown(at("mine/a"), Some(WORKER), None).unwrap();
    fs::hard_link(at("mine/a"), at("mine/b")).unwrap();
    assert_eq!(append(&at("mine/b")), Err(libc::EMLINK));
    assert_eq!(read(&at("mine/b")), Ok("a".to_owned()));
    nix::unistd::mkfifo(&at("mine/fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    assert_eq!(append(&at("mine/fifo")), Err(libc::EINVAL));
    assert_eq!(read(&at("mine/fifo")), Err(libc::EINVAL));
    assert_eq!(read(&at("mine")), Err(libc::EISDIR));
    assert_eq!(read(&at("mine/missing")), Err(libc::ENOENT));
}

#[test]
fn a_file_that_is_made_in_a_directory_of_the_worker_belongs_to_the_worker() {
    let Some(made) = directory() else { return };
    let path = made.path().join("mine/done.txt");
    // The way there is root's alone: it is the directory's descriptor that is gone on from.
    make(&made.path().join("mine"), WORKER, WORKER, 0o755);
    assert_eq!(append(&path), Ok(()));
    assert_eq!(append(&path), Ok(()));
    let written = fs::metadata(&path).unwrap();
    assert_eq!((written.uid(), written.gid(), written.len()), (WORKER, WORKER, 10));
}

#[test]
fn in_the_directory_of_a_group_the_groups_of_the_worker_count() {
    let Some(made) = directory() else { return };
    let shared = made.path().join("shared");
    make(&shared, 0, SHARED, 0o2775);
    assert_eq!(append_as(&shared.join("a"), &worker_in(&[SHARED])), Ok(()));
    assert_eq!(fs::metadata(shared.join("a")).map(|it| (it.uid(), it.gid())).unwrap(), (WORKER, SHARED));
    // One that is not in the group has no hand in it, so that our own rights cannot be used by it.
    assert_eq!(append_as(&shared.join("b"), &worker()), Ok(()));
    assert_eq!(fs::metadata(shared.join("b")).unwrap().uid(), 0);
}

/// Such as /var/log where a group may write in it, or a volume of another user.
#[test]
fn where_only_others_than_the_worker_may_write_our_own_rights_are_used_and_no_link_is_followed() {
    let Some(made) = directory() else { return };
    let at = |name: &str| made.path().join(name);
    let user = worker();
    for (name, owner, mode) in [("log", 0, 0o2775), ("volume", 2000, 0o755), ("closed", 2000, 0o700)] {
        make(&at(name), owner, SHARED, mode);
        make(&at(name).join("app"), 0, 0, 0o755);
        for place in [at(name), at(name).join("app")] {
            assert_eq!(append(&place.join("new")), Ok(()), "{}", place.display());
            assert_eq!(fs::metadata(place.join("new")).unwrap().uid(), 0);
            secret(&place.join("token"));
            assert_eq!(read(&place.join("token")), Ok("root-only\n".to_owned()));
            let weakness = Weakness { directory: at(name) };
            assert_eq!(shortfall(&place.join("new"), &user), Some(Shortfall::OwnRights(weakness)));
            let removed = act(&place.join("new"), Some(&user), || fs::remove_file(place.join("new")));
            assert_eq!(removed.unwrap_err().raw_os_error(), Some(libc::EACCES));
            fs::remove_file(place.join("new")).unwrap();
            symlink("token", place.join("link")).unwrap();
            fs::hard_link(place.join("token"), place.join("second")).unwrap();
            for linked in ["link", "second", "token"] {
                // A link is ELOOP where the worker may look at it.
                let refused = [read(&place.join(linked)).map(drop), append(&place.join(linked))];
                refused
                    .iter()
                    .for_each(|it| assert!(matches!(it, Err(libc::EACCES | libc::ELOOP)), "{linked}: {it:?}"));
            }
        }
        symlink("app", at(name).join("up")).unwrap();
        assert_eq!(append(&at(name).join("up/new")), Err(libc::EACCES));
        // The worker has a hand in a directory further on.
        make(&at(name).join("mine"), WORKER, WORKER, 0o755);
        secret(&at(name).join("mine/token"));
        assert_eq!(read(&at(name).join("mine/token")), Err(libc::EACCES));
        let weakness = Weakness { directory: at(name) };
        assert_eq!(shortfall(&at(name).join("mine/token"), &user), Some(Shortfall::Refused(weakness)));
    }
}

#[test]
fn a_sticky_directory_is_trusted_with_directories_alone() {
    let Some(made) = directory() else { return };
    let at = |name: &str| made.path().join(name);
    make(&at("tmp"), 0, 0, 0o1777);
    make(&at("tmp/ours"), 0, 0, 0o700);
    assert_eq!(append(&at("tmp/ours/file")), Ok(()));
    assert_eq!(fs::metadata(at("tmp/ours/file")).unwrap().uid(), 0);
    secret(&at("secret"));
    symlink(at("secret"), at("tmp/link")).unwrap();
    assert_eq!(append(&at("tmp/link")), Err(libc::ELOOP));
    symlink(at("tmp/ours"), at("tmp/linked")).unwrap();
    assert_eq!(append(&at("tmp/linked/file")), Err(libc::EACCES));
    assert_eq!(append(&at("tmp/new")), Ok(()));
    assert_eq!(fs::metadata(at("tmp/new")).unwrap().uid(), WORKER);
    // A directory that anybody may do anything in.
    make(&at("open"), 0, 0, 0o777);
    make(&at("open/ours"), 0, 0, 0o700);
    assert_eq!(append(&at("open/ours/file")), Err(libc::EACCES));
}

/// The worker exchanges a directory for a link to one that is closed to it, and back, while we open a file in it.
#[test]
fn a_directory_that_becomes_a_link_at_any_moment_never_leads_out() {
    let Some(made) = directory() else { return };
    let at = |name: &str| made.path().join(name);
    make(&at("closed"), 0, 0, 0o700);
    secret(&at("closed/file"));
    make(&at("mine"), WORKER, WORKER, 0o755);
    make(&at("mine/real"), WORKER, WORKER, 0o755);
    fs::write(at("mine/real/file"), "its own\n").unwrap();
    chown(at("mine/real/file"), Some(WORKER), None).unwrap();
    symlink(at("closed"), at("mine/link")).unwrap();
    fs::rename(at("mine/real"), at("mine/sub")).unwrap();
    let over = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                fs::rename(at("mine/sub"), at("mine/real")).unwrap();
                fs::rename(at("mine/link"), at("mine/sub")).unwrap();
                fs::rename(at("mine/sub"), at("mine/link")).unwrap();
                fs::rename(at("mine/real"), at("mine/sub")).unwrap();
            }
        });
        // Looked at when the other thread is at its end: a panic here would leave it at work.
        let found: Vec<_> = (0..2000).map(|_| read(&at("mine/sub/file"))).collect();
        over.store(true, Ordering::Relaxed);
        found
    });
    for told in found {
        match told {
            Ok(text) => assert_eq!(text, "its own\n"),
            Err(errno) => assert!([libc::EACCES, libc::ENOENT].contains(&errno), "{errno}"),
        }
    }
}

#[test]
fn all_rights_are_given_back() {
    let Some(made) = directory() else { return };
    let mine = made.path().join("mine");
    make(&mine, WORKER, WORKER, 0o755);
    let rights = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let kept = |line: &&str| ["Uid:", "Gid:", "Groups:", "Cap"].iter().any(|key| line.starts_with(key));
        // SAFETY: PR_GET_DUMPABLE takes no argument.
        let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        (status.lines().filter(kept).map(str::to_owned).collect::<Vec<_>>(), dumpable)
    };
    let before = rights();
    // Known before any change of rights in this process, which makes it undumpable for a moment.
    let user = worker_in(&[SHARED, 5]);
    append_as(&mine.join("a"), &user).unwrap();
    assert_eq!(append_as(&mine.join("missing/a"), &user), Err(libc::ENOENT));
    act(&mine.join("a"), Some(&user), || {
        let theirs = rights().0;
        assert_ne!(theirs, before.0);
        // One within the other.
        append_as(&mine.join("a"), &user).unwrap();
        assert_eq!(rights().0, theirs);
        fs::rename(mine.join("a"), mine.join("b"))
    })
    .unwrap();
    assert_eq!(rights().0, before.0);
    // Another test may hold a user's rights at this moment.
    for _ in 0..1000 {
        if rights().1 == user.dumpable_before() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("it is not dumpable again");
}

#[test]
fn what_is_done_to_a_path_is_done_with_the_same_rights() {
    let Some(made) = directory() else { return };
    let at = |name: &str| made.path().join(name);
    make(&at("closed"), 0, 0, 0o700);
    make(&at("mine"), WORKER, WORKER, 0o755);
    symlink(at("closed"), at("mine/sub")).unwrap();
    secret(&at("closed/left.txt"));
    let user = worker();
    let removed = act(&at("mine/sub/left.txt"), Some(&user), || fs::remove_file(at("mine/sub/left.txt")));
    assert_eq!(removed.unwrap_err().raw_os_error(), Some(libc::EACCES));
    act(&at("closed/left.txt"), Some(&user), || fs::remove_file(at("closed/left.txt"))).unwrap();
}

#[test]
fn why_a_path_was_not_opened_is_told_in_words() {
    let Some(made) = directory() else { return };
    let at = |name: &str| made.path().join(name);
    make(&at("mine"), WORKER, WORKER, 0o755);
    secret(&at("mine/secret"));
    symlink("secret", at("mine/link")).unwrap();
    let told = |name: &str| {
        let error = open(&at(name), How::append(0o666), Some(&worker())).unwrap_err();
        (error.kind(), error.to_string())
    };
    assert_eq!(told("mine/link").1, "it is a link, and others may write in its directory");
    let denied = "user 1000 may not, and others may write in its directory".to_owned();
    assert_eq!(told("mine/secret"), (io::ErrorKind::PermissionDenied, denied));
    assert_eq!(told("missing/file").0, io::ErrorKind::NotFound);
    assert!(!follows_links(&at("mine/link"), Some(&worker())) && follows_links(&at("link"), Some(&worker())));
    assert!(follows_links(&at("mine/link"), None));
}

#[test]
fn the_names_of_our_own_descriptors_are_no_paths() {
    for (path, number) in [
        ("/dev/stdin", Some(0)),
        ("/dev/stdout", Some(1)),
        ("/dev/stderr", Some(2)),
        ("/dev/fd/12", Some(12)),
        ("/proc/self/fd/3", Some(3)),
        ("/dev/fd/", None),
        ("/dev/fd/+3", None),
        ("/dev/fd/3/x", None),
        ("/dev/fd/99999999999", None),
        ("/dev/stdout2", None),
    ] {
        assert_eq!(own_descriptor(Path::new(path)), number, "{path}");
    }
    let Some(_made) = directory() else { return };
    // A socket has no name by which it could be opened.
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let path = format!("/proc/self/fd/{}", ours.as_raw_fd());
    open(Path::new(&path), How::append(0o666), Some(&worker())).unwrap().write_all(b"line").unwrap();
    let mut read = [0; 4];
    theirs.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"line");
}

#[test]
fn a_weakness_is_named_by_its_directory() {
    let Some(made) = directory() else { return };
    let at = |name: &str| made.path().join(name);
    make(&at("mine"), WORKER, WORKER, 0o755);
    let directory = |name: &str| weakness(&at(name)).map(|weakness| weakness.directory);
    assert_eq!(directory("left.txt"), None);
    assert_eq!(directory("missing/left.txt"), None);
    assert_eq!(directory("mine/left.txt"), Some(at("mine")));
    assert_eq!(weakness(Path::new("/tmp/left.txt")).unwrap().directory, Path::new("/tmp"));
    assert_eq!(weakness(Path::new("/dev/stdout")), None);
}

#[test]
fn users_that_are_not_our_own_are_found_if_there_is_only_one() {
    let Some(_made) = directory() else { return };
    let user = |id: u32| Identity { user: Some(Account { id, name: id.to_string() }), ..Identity::default() };
    let (none, ours, one, other) = (Identity::default(), user(0), user(WORKER), user(2000));
    let uid = |programs: &[&Identity]| FileUser::only_one_of(programs.iter().copied()).map(|user| user.uid());
    assert_eq!(uid(&[&none, &ours]), None);
    assert_eq!(uid(&[&none, &one, &ours, &one]), Some(WORKER));
    assert_eq!(uid(&[&one, &other]), None);
}
