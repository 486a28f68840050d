//! What earlier runs that were killed left beside the leftovers. It is taken into the leftovers at the start of the next run, if
//! its owner is known to be dead; otherwise it is named, and left alone.
//!
//! Each step can be repeated: a KILL of the run that adopts loses nothing, and the next one goes on where it was.

use super::file_lock::{Deadline, SideLock, lock_now, side_file};
use super::file_mode::NewFile;
use super::leftovers::options;
use super::leftovers_path::resolve;
use super::line_file::{Failure, LineFile, Locking};
use super::owned_file::{self, FileId, Owner, Purpose, copy_part, owner_path, read_owner, write_owner};
use super::phrases::{counted, why};
use super::reorder::write_over;
use crate::model::Framing;
use crate::sys::clock;
use crate::sys::file_user::FileUser;
use crate::sys::host::Host;
use crate::sys::identity::own_user;
use crate::sys::open as by_path;
use crate::sys::permit;
use log::{info, warn};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A queue whose leftovers are looked after.
#[derive(Clone, Copy, Debug)]
pub struct Heir<'a> {
    pub queue: &'a str,
    pub framing: Framing,
    pub leftovers: &'a Path,
}

/// As [`adopt`], with the rights of the workers' user where others may write beside the leftovers.
pub fn adopt_for_user(heir: Heir, user: Option<&FileUser>) {
    let told = by_path::act(heir.leftovers, user, || {
        adopt(heir, user.map(FileUser::uid));
        Ok(())
    });
    if let Err(error) = told {
        let (queue, path, reason) = (heir.queue, heir.leftovers.display(), why(&error));
        warn!("unfinished items of queue {queue} may be in files beside {path}, which cannot be looked at: {reason}");
    }
}

/// The start waits no longer than this for the lock of the leftovers, however many files there are.
const LOCKS: Duration = Duration::from_secs(1);

/// Takes in what can be taken in, and says what was found. Waits for the lock of the leftovers for at most 1 s in all. `user`: whose
/// files count as our own, beside ours and root's.
pub fn adopt(heir: Heir, user: Option<u32>) {
    let path = resolve(heir.leftovers);
    let found = match temporary_files(&path) {
        Ok(found) => found,
        // Then nothing can be written there either, which is said when it matters.
        Err(_) => return,
    };
    let deadline = Deadline::default();
    deadline.set(clock::now() + LOCKS);
    if let Err(error) = cut_half_an_item(heir, &path, &deadline) {
        let (queue, path, reason) = (heir.queue, path.display(), why(&error));
        warn!("the last item of queue {queue} in {path} may be half an item, which cannot be cut off: {reason}");
    }
    for temp in found {
        if let Err(error) = look_at(heir, user, &path, &temp, &deadline) {
            let (queue, temp, reason) = (heir.queue, temp.display(), why(&error));
            warn!("unfinished items of queue {queue} may be in {temp}, which cannot be taken in: {reason}");
        }
    }
}

/// The names of temporary files, without `.owner`, in order.
fn temporary_files(leftovers: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = owned_file::prefix(leftovers)?;
    let directory = leftovers.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name.as_bytes().starts_with(prefix.as_bytes()) {
            let name = name.as_bytes().strip_suffix(b".owner").unwrap_or(name.as_bytes()).to_vec();
            found.push(directory.join(std::ffi::OsString::from_vec(name)));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// A run that was killed while it appended has left a note of it, and perhaps half an item.
fn cut_half_an_item(heir: Heir, path: &Path, deadline: &Deadline) -> io::Result<()> {
    let noted = fs::symlink_metadata(side_file(path)?).is_ok_and(|side| side.is_file() && side.len() > 0);
    if !noted || FileId::at(path).is_none() {
        return Ok(());
    }
    match SideLock::take(path, deadline) {
        Ok(locked) => {
            let options = options(heir.framing, NewFile::Private, Locking::SideFile);
            LineFile::new(path.to_owned(), options).prepare(&locked).map(drop)
        }
        // The note is that of a living run.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        Err(error) => Err(error),
    }
}

fn look_at(heir: Heir, user: Option<u32>, path: &Path, temp: &Path, deadline: &Deadline) -> io::Result<()> {
    let (queue, shown) = (heir.queue, temp.display());
    let owner_file = match open(&owner_path(temp), libc::O_NOFOLLOW) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Version 0.1 made no owner file. Or the owner has just finished.
            if FileId::at(temp).is_some() {
                let (to, text) = (heir.leftovers.display(), "which an older exeunt left");
                warn!(
                    "unfinished items of queue {queue} are in {shown}, {text}: append them to {to} if it no longer runs"
                );
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if is_a_strangers(&owner_file, user, heir, temp)? {
        return Ok(());
    }
    let free = lock_now(&owner_file);
    let Some(owner) = read_owner(&owner_file)? else {
        // Killed before it had made the other file, or just about to write its name.
        match (free.is_ok(), FileId::at(temp)) {
            (true, None) => owned_file::remove(temp),
            (true, Some(_)) => {
                let to = heir.leftovers.display();
                warn!(
                    "unfinished items of queue {queue} may be in {shown}, whose owner file is damaged: append them to {to} if they are not there"
                );
            }
            (false, _) => {}
        }
        return Ok(());
    };
    match (is_dead(&owner, &Host::this(), free.as_ref().err()), is_for(&owner, heir)) {
        (Some(true), true) => take_in(heir, user, path, temp, &owner_file, owner, deadline),
        (Some(true), false) => {
            let (whose, to) = (&owner.queue, heir.leftovers.display());
            warn!(
                "unfinished items of queue {whose} are in {shown}: they do not fit queue {queue}, which has {to} now"
            );
            Ok(())
        }
        (Some(false), _) => {
            info!(
                "process {} of {} is leaving unfinished items of queue {queue} in {shown}",
                owner.pid, owner.host.name
            );
            Ok(())
        }
        (None, _) => {
            let to = heir.leftovers.display();
            warn!(
                "unfinished items of queue {queue} are in {shown}, and process {} of {} may still run: if not, append them to {to}",
                owner.pid, owner.host.name
            );
            Ok(())
        }
    }
}

/// Says so if another user made this file: where others may write they may make one too, so it is no proof of anything.
fn is_a_strangers(file: &File, user: Option<u32>, heir: Heir, temp: &Path) -> io::Result<bool> {
    let owner = file.metadata()?.uid();
    let strange = ![Some(0), Some(own_user()), user].contains(&Some(owner));
    if strange {
        let (queue, temp, to) = (heir.queue, temp.display(), heir.leftovers.display());
        warn!(
            "{temp} looks like unfinished items of queue {queue}, but user {owner} made it or the file beside it: append it to {to} if it is right"
        );
    }
    Ok(strange)
}

/// Whether the owner is dead; `None` if that cannot be known. `not_free`: why its lock could not be had.
fn is_dead(owner: &Owner, here: &Host, not_free: Option<&io::Error>) -> Option<bool> {
    let held = not_free.is_some_and(|error| error.kind() == io::ErrorKind::ResourceBusy);
    if held {
        return Some(false);
    }
    if here.boot_id.is_empty() || owner.host.boot_id.is_empty() {
        return None;
    }
    if owner.host.boot_id == here.boot_id {
        // The same kernel, whatever the container: the lock says it.
        return (owner.locked && not_free.is_none()).then_some(true);
    }
    // Another boot of this host. Nothing is known of other hosts.
    (!here.name.is_empty() && owner.host.name == here.name).then_some(true)
}

fn is_for(owner: &Owner, heir: Heir) -> bool {
    owner.queue == heir.queue && owner.framing == heir.framing
}

/// The owner is dead, and its owner file is locked by us.
fn take_in(
    heir: Heir,
    user: Option<u32>,
    path: &Path,
    temp: &Path,
    owner_file: &File,
    owner: Owner,
    deadline: &Deadline,
) -> io::Result<()> {
    let locked = SideLock::take(path, deadline)?;
    let data = match open(temp, libc::O_NOFOLLOW) {
        Ok(data) => data,
        // It has become the leftovers, or another run was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            owned_file::remove(temp);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if is_a_strangers(&data, user, heir, temp)? {
        return Ok(());
    }
    let present = FileId::at(path);
    match owner.purpose {
        // All of it stands there too: it was killed before it replaced the leftovers, or put them in order.
        Purpose::Items { also_in: Some(file) } if present == Some(file) => {}
        Purpose::Reorder { ready: false, .. } => {}
        Purpose::Reorder { file, at, length, ready: true } if present == Some(file) => {
            let leftovers = open(path, 0)?;
            // It must not change while another run reads it.
            lock_now(&leftovers)?;
            write_over(&leftovers, at, &data, length, &AtomicU64::default())?;
            info!("the unfinished items of queue {} in {} are in order now", heir.queue, heir.leftovers.display());
        }
        Purpose::Items { .. } | Purpose::Reorder { .. } | Purpose::Appending { .. } => {
            append(heir, path, &data, owner_file, owner, &locked)?;
        }
    }
    owned_file::remove(temp);
    Ok(())
}

/// Appends the whole items of a temporary file to the leftovers, those that are not there yet.
fn append(
    heir: Heir,
    path: &Path,
    data: &File,
    owner_file: &File,
    mut owner: Owner,
    locked: &SideLock,
) -> io::Result<()> {
    let (whole, torn) = whole_items(data, heir.framing)?;
    let mut file = LineFile::new(path.to_owned(), options(heir.framing, NewFile::Private, Locking::SideFile));
    let done = match owner.purpose {
        Purpose::Appending { file: to, at } if FileId::at(path) == Some(to) => {
            already_there(path, at, data, whole, heir.framing)?
        }
        Purpose::Appending { .. } | Purpose::Items { .. } | Purpose::Reorder { .. } => 0,
    };
    let at = file.prepare(locked)?;
    if done == 0
        && let Some(to) = FileId::at(path)
    {
        owner.purpose = Purpose::Appending { file: to, at };
        write_owner(owner_file, &owner)?;
    }
    let mut items = 0;
    copy_part(data, done, whole - done, |piece| {
        items += memchr::memchr_iter(heir.framing.delimiter(), piece).count() as u64;
        file.append_locked(piece, locked).map(drop).map_err(Failure::into_error)
    })?;
    file.sync()?;
    let (queue, to) = (heir.queue, heir.leftovers.display());
    let count = counted(items, "unfinished item");
    info!("{count} of queue {queue}, left by process {} that was killed: appended to {to}", owner.pid);
    if torn > 0 {
        warn!("its last item was cut off after {torn} bytes and is no item of queue {queue}");
    }
    Ok(())
}

/// Every open by path of this module. It never blocks.
fn open(path: &Path, flags: i32) -> io::Result<File> {
    permit()?;
    OpenOptions::new().read(true).write(true).custom_flags(flags | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// How many bytes are whole items, and how many are behind them.
fn whole_items(data: &File, framing: Framing) -> io::Result<(u64, u64)> {
    let length = data.metadata()?.len();
    let (mut at, mut whole) = (0, 0);
    copy_part(data, 0, length, |piece| {
        if let Some(last) = memchr::memrchr(framing.delimiter(), piece) {
            whole = at + last as u64 + 1;
        }
        at += piece.len() as u64;
        Ok(())
    })?;
    Ok((whole, length - whole))
}

/// How many bytes of the whole items an earlier try has appended, in whole items.
fn already_there(path: &Path, at: u64, data: &File, whole: u64, framing: Framing) -> io::Result<u64> {
    let there = open(path, 0)?;
    let length = there.metadata()?.len().saturating_sub(at).min(whole);
    let (mut same, mut done) = (0u64, 0u64);
    let mut other = vec![0; 64 * 1024];
    let told = copy_part(data, 0, length, |piece| {
        let other = other.get_mut(..piece.len()).unwrap_or_default();
        there.read_exact_at(other, at + same)?;
        let equal = piece.iter().zip(other.iter()).take_while(|(ours, theirs)| ours == theirs).count();
        if let Some(last) = memchr::memrchr(framing.delimiter(), piece.get(..equal).unwrap_or(piece)) {
            done = same + last as u64 + 1;
        }
        same += equal as u64;
        if equal < piece.len() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    });
    match told {
        Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(error),
        // What was appended of a half item, with nothing behind it, is taken back.
        Ok(()) if at + same == there.metadata()?.len() && same > done => {
            permit()?;
            open(path, 0)?.set_len(at + done)?;
            Ok(done)
        }
        Ok(()) | Err(_) => Ok(done),
    }
}

#[cfg(test)]
mod tests {
    use super::super::leftovers::{Input, Keeper};
    use super::super::order::Numbers;
    use super::*;
    use crate::sys::kill_after;
    use std::sync::Arc;

    fn keeper(path: &Path, input: Option<Input>) -> Keeper {
        Keeper::new("q", Framing::Line, path, input, Arc::default())
    }

    fn keep(keeper: &mut Keeper, items: &[(u64, &str)]) {
        let (mut frames, mut numbers) = (String::new(), Vec::new());
        for &(number, text) in items {
            frames.push_str(text);
            frames.push('\n');
            Numbers::push(&mut numbers, number, text.len() as u64 + 1, 0);
        }
        assert_eq!(keeper.keep(frames.as_bytes(), &numbers), frames.len());
    }

    fn start(path: &Path) {
        adopt(Heir { queue: "q", framing: Framing::Line, leftovers: path }, None);
    }

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn hidden(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".exeunt-")).collect()
    }

    /// Adopts until nothing is left to be adopted. A process that another test forks has a copy of each lock of ours until it
    /// executes its program, and the owner of a file counts as alive for so long.
    fn start_undisturbed(path: &Path) {
        for _ in 0..1000 {
            start(path);
            if hidden(path.parent().unwrap()).is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Ends `what` at each of its steps, as a KILL does, and the adoption that follows at each of its own.
    /// `judge` sees the leftovers after an adoption that was not disturbed.
    fn killed_at_each_step(before: &str, what: impl Fn(&Path), judge: impl Fn(&[String])) {
        let mut steps = 0;
        loop {
            let mut adoption = 0;
            let done = loop {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("left.txt");
                fs::write(&path, before).unwrap();
                let done = kill_after(steps, || what(&path));
                let adopted = kill_after(adoption, || start(&path));
                start_undisturbed(&path);
                judge(&lines(&path));
                assert_eq!(hidden(directory.path()), [""; 0], "after step {steps} and step {adoption}");
                if adopted {
                    break done;
                }
                adoption += 1;
            };
            if done {
                break;
            }
            steps += 1;
        }
        assert!(steps > 5, "only {steps} steps");
    }

    #[test]
    fn a_kill_while_leftovers_are_put_in_order_loses_and_doubles_nothing() {
        let what = |path: &Path| {
            let mut keeper = keeper(path, None);
            keep(&mut keeper, &[(3, "three"), (4, "four")]);
            keep(&mut keeper, &[(2, "two"), (1, "one")]);
            keeper.finish();
        };
        killed_at_each_step("old\n", what, |lines| {
            let ours = lines.strip_prefix(&["old".to_owned()]).unwrap();
            let mut sorted = ours.to_vec();
            sorted.sort();
            let all = ["four", "one", "three", "two"];
            // What was not handed back yet is not there yet.
            let early = [vec![], vec!["four", "three"]].contains(&sorted.iter().map(String::as_str).collect());
            assert!(sorted == all || early, "{lines:?}");
        });
    }

    #[test]
    fn a_kill_while_our_own_input_is_replaced_loses_and_doubles_nothing() {
        let what = |path: &Path| {
            let file = OpenOptions::new().read(true).open(path).unwrap();
            let input = Input::of(file.try_clone().unwrap(), path, true).unwrap();
            let mut keeper = keeper(path, Some(input));
            io::Seek::seek(&mut &file, io::SeekFrom::Start(6)).unwrap();
            keep(&mut keeper, &[(3, "c")]);
            fs::write(path, "a\nb\nc\nnew\n").unwrap();
            keep(&mut keeper, &[(2, "b")]);
            keeper.finish();
        };
        killed_at_each_step("a\nb\nc\n", what, |lines| {
            let whole = lines == ["a", "b", "c"] || lines == ["a", "b", "c", "new"];
            assert!(whole || lines == ["b", "c", "new"], "{lines:?}");
        });
    }

    /// Another source feeds the queue too, so what is handed back stands in the temporary file only.
    #[test]
    fn a_kill_while_items_of_several_sources_are_kept_loses_nothing_that_was_handed_back() {
        let what = |path: &Path| {
            let file = OpenOptions::new().read(true).open(path).unwrap();
            let mut keeper = keeper(path, Input::of(file.try_clone().unwrap(), path, false));
            io::Seek::seek(&mut &file, io::SeekFrom::Start(2)).unwrap();
            keep(&mut keeper, &[(2, "other")]);
            keep(&mut keeper, &[(1, "a")]);
            keeper.finish();
        };
        killed_at_each_step("a\n", what, |lines| assert!(lines.contains(&"a".to_owned()), "{lines:?}"));
    }

    fn temporary(path: &Path, change: impl Fn(&mut Owner), text: &str) -> PathBuf {
        let mut owned =
            owned_file::OwnedFile::create(path, "q", Framing::Line, Purpose::Items { also_in: None }).unwrap();
        owned.append(text.as_bytes()).unwrap();
        let name = owned.path.clone();
        drop(owned);
        let owner_file = open(&owner_path(&name), 0).unwrap();
        let mut owner = read_owner(&owner_file).unwrap().unwrap();
        change(&mut owner);
        write_owner(&owner_file, &owner).unwrap();
        name
    }

    #[test]
    fn items_of_a_dead_owner_are_adopted_without_the_torn_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        temporary(&path, |_| (), "a\nb\nha");
        start(&path);
        assert_eq!(lines(&path), ["a", "b"]);
        assert_eq!(hidden(directory.path()), [""; 0]);
    }

    #[test]
    fn what_may_have_a_living_owner_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        let other_boot = |owner: &mut Owner| owner.host.boot_id = "another".into();
        let other_host = |owner: &mut Owner| {
            other_boot(owner);
            owner.host.name = "another".into();
        };
        let names = [
            temporary(&path, other_host, "a\n"),
            temporary(&path, |owner| owner.locked = false, "b\n"),
            temporary(&path, |owner| owner.queue = "other".into(), "c\n"),
            temporary(&path, |owner| owner.framing = Framing::Nul, "d\n"),
        ];
        let alive = owned_file::OwnedFile::create(&path, "q", Framing::Line, Purpose::Items { also_in: None }).unwrap();
        fs::write(directory.path().join(".left.txt.exeunt-1-0"), "of version 0.1\n").unwrap();
        start(&path);
        assert!(!path.exists());
        assert!(names.iter().all(|name| name.exists()) && alive.path.exists());
        // Another boot of this host.
        temporary(&path, other_boot, "e\n");
        start(&path);
        assert_eq!(lines(&path), ["e"]);
    }

    /// As root, since it makes files of other users. Each of the two files alone, and both.
    #[test]
    fn files_that_another_user_made_are_left_alone() {
        if own_user() != 0 {
            assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI, but this is not root");
            println!("SKIP: this is not root");
            return;
        }
        for (owner_of_items, owner_of_owner, is_adopted) in [(1000, 0, false), (0, 1000, false), (0, 0, true)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("left.txt");
            let temp = temporary(&path, |_| {}, "forged\n");
            std::os::unix::fs::chown(&temp, Some(owner_of_items), None).unwrap();
            std::os::unix::fs::chown(owner_path(&temp), Some(owner_of_owner), None).unwrap();
            if is_adopted {
                start_undisturbed(&path)
            } else {
                start(&path)
            }
            assert_eq!(path.exists(), is_adopted, "{owner_of_items} {owner_of_owner}");
            assert_eq!(temp.exists(), !is_adopted);
            // The worker's user, whose rights are taken there, makes them in its name.
            adopt(Heir { queue: "q", framing: Framing::Line, leftovers: &path }, Some(1000));
            assert_eq!(lines(&path), ["forged"]);
        }
    }

    #[test]
    fn an_owner_file_that_is_not_whole_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        fs::write(directory.path().join(".left.txt.exeunt-7-0.owner"), "{\"exeu").unwrap();
        start(&path);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
