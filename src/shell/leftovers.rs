//! The file that unfinished items are left in.
//!
//! Items are appended to the file itself as they are handed back, under its lock, so that a KILL in mid-stop loses none of them and
//! several runs may share the file. Where a worker gives back an item that is older than those in the file, our own part of
//! it is put in order at the end.
//!
//! If the file is our own input, its items must not be there twice. Then items go to a temporary file, which replaces
//! the leftovers at the end, together with what this run has not read of them. Until then the leftovers are as they were.

use super::file_lock::{Deadline, SideLock};
use super::file_mode::{NewFile, take_after, take_after_metadata};
use super::leftovers_path::{in_its_directory, numbered, resolve, sync_directory};
use super::line_file::{Failure, Kinds, LineFile, Locking, Options, whole_until};
use super::order::{Numbers, Order};
use super::owned_file::{FileId, OwnedFile, Purpose, copy_part};
use super::reorder::{self, Failed};
use crate::model::Framing;
use crate::sys::file_user::FileUser;
use crate::sys::open as by_path;
use crate::sys::permit;
use log::warn;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keeps the unfinished items of one queue.
#[derive(Debug)]
pub struct Keeper {
    queue: String,
    framing: Framing,
    /// As the file of the plan says.
    asked: PathBuf,
    /// With links resolved.
    path: PathBuf,
    input: Option<Input>,
    deadline: Arc<Deadline>,
    /// Counts what the disk has taken at the end.
    moved: Arc<AtomicU64>,
    file: LineFile,
    order: Order,
    temp: Option<OwnedFile>,
    order_in_temp: Order,
    /// `left.txt.N`, or the file itself without its lock: where items go since the lock could not be had.
    instead: Option<LineFile>,
    places: Vec<Place>,
    trouble: Option<io::Error>,
    /// With whose rights all this is done where others may write; see [`by_path::act`].
    user: Option<FileUser>,
}

/// The leftovers as the input of this run.
#[derive(Debug)]
pub struct Input {
    /// Its position is that of the first byte that this run has not accepted.
    pub file: File,
    /// The position when the run began.
    pub start: u64,
    /// No other source feeds the queue.
    pub sole: bool,
    /// How many items were read from it before anything else, if it is not standard input. Those have the first numbers, if
    /// no other source feeds the queue.
    pub taken: Option<Arc<AtomicU64>>,
}

/// A file with unfinished items of this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    pub items: u64,
}

/// How the keeping ended.
#[derive(Debug, Default)]
pub struct Kept {
    /// Where the items are that were kept.
    pub places: Vec<Place>,
    pub trouble: Option<io::Error>,
}

impl Keeper {
    /// Touches nothing on disk.
    pub fn new(queue: &str, framing: Framing, asked: &Path, input: Option<Input>, deadline: Arc<Deadline>) -> Keeper {
        let path = resolve(asked);
        let file = LineFile::new(path.clone(), options(framing, NewFile::Private, Locking::SideFile));
        Keeper {
            queue: queue.to_owned(),
            framing,
            asked: asked.to_owned(),
            path,
            input,
            deadline,
            moved: Arc::default(),
            file,
            order: Order::default(),
            temp: None,
            order_in_temp: Order::default(),
            instead: None,
            places: Vec::new(),
            trouble: None,
            user: None,
        }
    }

    /// Counts there how much was copied at the end.
    pub fn counting(self, moved: Arc<AtomicU64>) -> Keeper {
        Keeper { moved, ..self }
    }

    /// The items are those of the workers of this user.
    pub fn for_user(self, user: Option<FileUser>) -> Keeper {
        let follow = by_path::follows_links(&self.asked, user.as_ref());
        let path = if follow { self.path } else { in_its_directory(&self.asked).unwrap_or(self.asked.clone()) };
        let file = LineFile::new(path.clone(), options(self.framing, NewFile::Private, Locking::SideFile));
        Keeper { path, file: file.for_user(user.clone()), user, ..self }
    }

    /// Appends whole frames, each with its delimiter. Answers how many bytes of them are kept; the rest, whole frames, is not.
    pub fn keep(&mut self, frames: &[u8], numbers: &[Numbers]) -> usize {
        let (asked, user) = (self.asked.clone(), self.user.clone());
        by_path::act(&asked, user.as_ref(), || Ok(self.keep_here(frames, numbers))).unwrap_or_else(|error| {
            self.trouble.get_or_insert(error);
            0
        })
    }

    fn keep_here(&mut self, frames: &[u8], numbers: &[Numbers]) -> usize {
        let mut done = 0;
        // Items that came from the leftovers and others, in turns. Mostly there is one kind.
        let from_input: Vec<bool> = numbers.iter().map(|numbers| self.is_from_input(numbers)).collect();
        let kinds: Vec<(bool, Numbers)> = from_input.into_iter().zip(numbers.iter().copied()).collect();
        for part in kinds.chunk_by(|(one, _), (next, _)| one == next) {
            let aside = part.first().is_some_and(|(aside, _)| *aside);
            let part: Vec<Numbers> = part.iter().map(|(_, numbers)| *numbers).collect();
            let length = usize::try_from(part.iter().map(|numbers| numbers.bytes).sum::<u64>()).unwrap_or(usize::MAX);
            let rest = frames.get(done..).unwrap_or_default();
            let frames = rest.get(..length).unwrap_or(rest);
            let result = if aside { self.keep_aside(frames, &part) } else { self.append(frames, &part) };
            if let Err((kept, error)) = result {
                self.trouble.get_or_insert(error);
                return done + kept;
            }
            done += length;
        }
        frames.len()
    }

    /// Whether items stand in the leftovers already, or may be read from them if they are appended.
    fn is_from_input(&self, numbers: &Numbers) -> bool {
        match &self.input {
            None => false,
            Some(Input { sole: true, taken: Some(taken), .. }) => numbers.first <= taken.load(Ordering::Relaxed),
            Some(_) => true,
        }
    }

    /// Where the items are that were kept so far.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Puts everything in its place and waits for the disk.
    pub fn finish(mut self) -> Kept {
        let (asked, user) = (self.asked.clone(), self.user.clone());
        let told = by_path::act(&asked, user.as_ref(), || {
            self.put_in_place();
            Ok(())
        });
        if let Err(error) = told {
            self.trouble.get_or_insert(error);
        }
        self.places.retain(|place| place.items > 0);
        Kept { places: self.places, trouble: self.trouble }
    }

    fn put_in_place(&mut self) {
        let ordered = self.put_in_order();
        let result = match self.input.take() {
            Some(input) => ordered.and_then(|()| self.replace(&input)),
            None => ordered.and_then(|()| self.sync()),
        };
        if let Err(error) = result {
            self.trouble.get_or_insert(error);
        }
    }

    fn append(&mut self, frames: &[u8], numbers: &[Numbers]) -> Result<(), (usize, io::Error)> {
        if self.instead.is_some() {
            return self.append_instead(frames);
        }
        let before = self.file.file().and_then(|file| file.metadata().ok()).map(|found| FileId::of(&found));
        match self.file.append(frames, &self.deadline) {
            Ok(start) => {
                let now = self.file.file().and_then(|file| file.metadata().ok()).map(|found| FileId::of(&found));
                if before.is_some() && before != now {
                    self.order.forget();
                }
                self.order.add(start, numbers);
                self.count(self.asked.clone(), numbers.iter().map(|numbers| numbers.count).sum());
                Ok(())
            }
            Err(Failure::NoLock(error)) => {
                self.go_elsewhere(&error)?;
                self.append_instead(frames)
            }
            Err(Failure::Write { kept, error }) => {
                self.order.forget();
                self.count(self.asked.clone(), self.items(frames, kept));
                Err((kept, error))
            }
        }
    }

    /// The lock cannot be had: a file of our own beside the leftovers takes the items. Where none can be made, nobody
    /// can replace the leftovers either (but root), so that it is safe to append to them.
    fn go_elsewhere(&mut self, error: &io::Error) -> Result<(), (usize, io::Error)> {
        let reason = super::phrases::why(error);
        let (path, queue) = (self.path.display(), &self.queue);
        let instead = match numbered(&self.path) {
            Ok(instead) => {
                warn!("cannot lock {path} ({reason}): unfinished items of queue {queue} go to {}", instead.display());
                instead
            }
            Err(_) if fs::metadata(&self.path).is_ok_and(|found| found.is_file()) => {
                warn!("cannot lock {path} ({reason}): unfinished items of queue {queue} are appended without");
                self.path.clone()
            }
            Err(error) => return Err((0, error)),
        };
        let instead = LineFile::new(instead, options(self.framing, NewFile::Private, Locking::Itself));
        self.instead = Some(instead.for_user(self.user.clone()));
        Ok(())
    }

    fn append_instead(&mut self, frames: &[u8]) -> Result<(), (usize, io::Error)> {
        let Some(instead) = &mut self.instead else { return Ok(()) };
        let (told, path) = (instead.append(frames, &self.deadline), instead.path().to_owned());
        let kept = match &told {
            Ok(_) => frames.len(),
            Err(Failure::NoLock(_)) => 0,
            Err(Failure::Write { kept, .. }) => *kept,
        };
        self.count(path, self.items(frames, kept));
        match told {
            Ok(_) => Ok(()),
            Err(failure) => Err((kept, failure.into_error())),
        }
    }

    /// To the temporary file, which is made with the first of them.
    fn keep_aside(&mut self, frames: &[u8], numbers: &[Numbers]) -> Result<(), (usize, io::Error)> {
        let also_in = self.input.as_ref().filter(|input| input.sole).and_then(|input| {
            let found = input.file.metadata().ok()?;
            Some(FileId::of(&found))
        });
        let temp = match &mut self.temp {
            Some(temp) => temp,
            None => {
                let purpose = Purpose::Items { also_in };
                let made = OwnedFile::create(&self.path, &self.queue, self.framing, purpose);
                self.temp.insert(made.map_err(|error| (0, error))?)
            }
        };
        let start = temp.length;
        temp.append(frames).map_err(|error| (0, error))?;
        let path = temp.path.clone();
        self.order_in_temp.add(start, numbers);
        self.count(path, numbers.iter().map(|numbers| numbers.count).sum());
        Ok(())
    }

    fn count(&mut self, path: PathBuf, items: u64) {
        match self.places.iter_mut().find(|place| place.path == path) {
            Some(place) => place.items += items,
            None => self.places.push(Place { path, items }),
        }
    }

    fn items(&self, frames: &[u8], kept: usize) -> u64 {
        let kept = frames.get(..kept).unwrap_or(frames);
        memchr::memchr_iter(self.framing.delimiter(), kept).count() as u64
    }

    fn put_in_order(&mut self) -> io::Result<()> {
        let displaced = self.order.displaced();
        if displaced.is_empty() || self.order.is_scattered() {
            return Ok(());
        }
        let claimed = self.input.as_ref().is_some_and(|input| input.taken.is_some());
        let (queue, framing, moved) = (self.queue.as_str(), self.framing, &*self.moved);
        let result = SideLock::take(&self.path, &self.deadline).map_err(Failed::from).and_then(|locked| {
            let to = reorder::Leftovers { queue, framing, _locked: &locked, moved };
            reorder::reorder(&self.file, &displaced, to, claimed)
        });
        let Err(failure) = result else { return Ok(()) };
        match failure.aside {
            // They are all there.
            None => {
                let (queue, path, reason) = (&self.queue, self.path.display(), super::phrases::why(&failure.error));
                warn!("unfinished items of queue {queue} are not in their order in {path}: {reason}");
                Ok(())
            }
            Some(aside) => {
                self.places.iter_mut().for_each(|place| place.path.clone_from(&aside));
                Err(failure.error)
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.instead.as_ref().map_or(Ok(()), LineFile::sync)?;
        sync_directory(&self.path);
        Ok(())
    }

    /// The leftovers become what this run has not read of them, and what it handed back.
    fn replace(&mut self, input: &Input) -> io::Result<()> {
        let locked = match SideLock::take(&self.path, &self.deadline) {
            Ok(locked) => locked,
            Err(error) => {
                let obstacle = format!("cannot lock {} ({})", self.path.display(), super::phrases::why(&error));
                return self.strand(&obstacle);
            }
        };
        let found = input.file.metadata()?;
        if FileId::at(&self.path) != Some(FileId::of(&found)) {
            return self.join(&locked);
        }
        let position = (&input.file).stream_position()?;
        if position == input.start && self.temp.is_none() {
            return self.sync();
        }
        if let Some(error) = &self.trouble {
            // What is on stderr is nowhere else on disk.
            let (path, reason) = (self.path.display(), super::phrases::why(error));
            let obstacle = format!("{path} is not replaced, since not all unfinished items could be kept ({reason})");
            return self.strand(&obstacle);
        }
        let end = match locked.unfinished_append((found.dev(), found.ino())) {
            // The half item of a run that was killed, which was not read. Its lock file goes on without the note of it.
            Some(offset) => whole_until(&input.file, offset, self.framing.delimiter())?.max(position),
            None => found.len(),
        };
        locked.forget_append();
        let rest = self.rest(&input.file, position, end)?;
        if self.temp.is_none() && input.start == 0 && rest >= end {
            permit()?;
            fs::remove_file(&self.path)?;
            sync_directory(&self.path);
            locked.remove();
            return Ok(());
        }
        let purpose = Purpose::Items { also_in: input.sole.then(|| FileId::of(&found)) };
        let mut new = OwnedFile::create(&self.path, &self.queue, self.framing, purpose)?;
        let built = self.build(&mut new, input, rest, end).and_then(|()| {
            take_after_metadata(&new.data, &found);
            new.sync()
        });
        if let Err(error) = built {
            new.remove();
            return Err(error);
        }
        // From here on the new file has everything.
        if let Some(temp) = self.temp.take() {
            temp.remove();
        }
        let items = self.places.iter().map(|place| place.items).sum();
        let aside = new.path.clone();
        let renamed = new.rename(&self.path);
        let path = if renamed.is_ok() { self.asked.clone() } else { aside };
        self.places = vec![Place { path, items }];
        sync_directory(&self.path);
        renamed
    }

    fn build(&self, new: &mut OwnedFile, input: &Input, rest: u64, end: u64) -> io::Result<()> {
        // Another process has read the first part.
        new.append_part(&input.file, 0, input.start, &self.moved)?;
        if let Some(temp) = &self.temp {
            for run in self.order_in_temp.sorted() {
                new.append_part(&temp.data, run.start, run.length, &self.moved)?;
            }
        }
        new.append_part(&input.file, rest, end.saturating_sub(rest), &self.moved)
    }

    /// Where that begins which this run has not read. The last item that it read may have had no delimiter, which another writer
    /// added before its own first item.
    fn rest(&self, file: &File, position: u64, end: u64) -> io::Result<u64> {
        let delimiter = self.framing.delimiter();
        let Some(before) = position.checked_sub(1).filter(|_| position < end) else { return Ok(position) };
        let mut around = [delimiter; 2];
        file.read_exact_at(&mut around, before)?;
        let closed_off = around.first() != Some(&delimiter) && around.last() == Some(&delimiter);
        Ok(if closed_off { position + 1 } else { position })
    }

    /// Another file has the name of our input now: the items are appended to it.
    fn join(&mut self, locked: &SideLock) -> io::Result<()> {
        let Some(temp) = self.temp.take() else { return Ok(()) };
        for run in self.order_in_temp.sorted() {
            copy_part(&temp.data, run.start, run.length, |piece| {
                self.moved.fetch_add(1, Ordering::Relaxed);
                self.file.append_locked(piece, locked).map(drop).map_err(Failure::into_error)
            })?;
        }
        self.file.sync()?;
        temp.remove();
        self.places =
            vec![Place { path: self.asked.clone(), items: self.places.iter().map(|place| place.items).sum() }];
        Ok(())
    }

    /// The leftovers stay as they are; what was handed back goes beside them.
    fn strand(&mut self, obstacle: &str) -> io::Result<()> {
        let queue = &self.queue;
        let Some(temp) = self.temp.take() else {
            warn!("{obstacle}: it still has the items of queue {queue} that are done");
            return Ok(());
        };
        let instead = numbered(&self.path)?;
        let items = self.places.iter().map(|place| place.items).sum();
        self.places = vec![Place { path: temp.path.clone(), items }];
        take_after(&temp.data, &self.path);
        temp.sync()?;
        let others = if self.trouble.is_some() { " and on stderr" } else { "" };
        let (shown, aside) = (instead.display(), temp.path.clone());
        warn!(
            "{obstacle}: it still has all items of queue {queue}, done or not; unfinished are those in {shown}{others}"
        );
        temp.rename(&instead).inspect_err(|_| warn!("they are in {}", aside.display()))?;
        self.places = vec![Place { path: instead, items }];
        sync_directory(&self.path);
        Ok(())
    }
}

impl Input {
    /// `None` if the leftovers are not this open file, or it is not a regular one.
    pub fn of(file: File, leftovers: &Path, sole: bool) -> Option<Input> {
        let found = file.metadata().ok().filter(fs::Metadata::is_file)?;
        if FileId::at(leftovers) != Some(FileId::of(&found)) {
            return None;
        }
        let start = (&file).stream_position().ok()?;
        Some(Input { file, start, sole, taken: None })
    }
}

/// How leftovers are written.
pub fn options(framing: Framing, new_file: NewFile, locking: Locking) -> Options {
    Options { delimiter: framing.delimiter(), kinds: Kinds::Regular, new_file, locking }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use std::fs::OpenOptions;
    use std::io::{SeekFrom, Write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn keeper(path: &Path) -> Keeper {
        Keeper::new("q", Framing::Line, path, None, Arc::default())
    }

    fn with_input(path: &Path, sole: bool) -> (Keeper, File) {
        let file = File::open(path).unwrap();
        let input = Input::of(file.try_clone().unwrap(), path, sole);
        assert!(input.is_some());
        (Keeper::new("q", Framing::Line, path, input, Arc::default()), file)
    }

    fn keep(keeper: &mut Keeper, number: u64, text: &str) {
        let frame = format!("{text}\n");
        let bytes = frame.len() as u64;
        assert_eq!(keeper.keep(frame.as_bytes(), &[Numbers { first: number, count: 1, bytes }]), frame.len());
    }

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn nothing_handed_back_touches_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let kept = keeper(&directory.path().join("left.txt")).finish();
        assert!(kept.places.is_empty() && kept.trouble.is_none());
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn items_are_in_the_file_as_soon_as_they_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        for (before, after) in [("", "a\nb\n"), ("old", "old\na\nb\n"), ("old\n", "old\na\nb\n")] {
            fs::write(&path, before).unwrap();
            let inode = fs::metadata(&path).unwrap().ino();
            let mut keeper = keeper(&path);
            keep(&mut keeper, 1, "a");
            assert!(read(&path).ends_with("a\n"));
            keep(&mut keeper, 2, "b");
            let kept = keeper.finish();
            assert_eq!(kept.places, [Place { path: path.clone(), items: 2 }]);
            assert!(kept.trouble.is_none());
            assert_eq!(read(&path), after);
            assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "what is there is not copied");
            assert_eq!(names(directory.path()), [".left.txt.lock", "left.txt"]);
        }
    }

    #[test]
    fn items_are_in_the_order_of_acceptance_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        fs::write(&path, "old\n").unwrap();
        let mut keeper = keeper(&path);
        for number in [4, 5, 6, 9, 10, 2, 7, 1] {
            keep(&mut keeper, number, &number.to_string().repeat(number as usize));
        }
        assert!(keeper.finish().trouble.is_none());
        let wanted = [1, 2, 4, 5, 6, 7, 9, 10].map(|number: usize| number.to_string().repeat(number));
        assert_eq!(read(&path), format!("old\n{}\n", wanted.join("\n")));
        assert_eq!(names(directory.path()), [".left.txt.lock", "left.txt"]);
    }

    #[test]
    fn items_that_other_runs_wrote_in_between_stay_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        let (mut one, mut other) = (keeper(&path), keeper(&path));
        keep(&mut one, 2, "a2");
        keep(&mut other, 2, "b2");
        keep(&mut one, 1, "a1");
        keep(&mut other, 1, "b1");
        assert!(one.finish().trouble.is_none() && other.finish().trouble.is_none());
        let mut lines: Vec<String> = read(&path).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["a1", "a2", "b1", "b2"]);
    }

    #[test]
    fn our_own_input_is_replaced_by_what_is_left_and_removed_when_nothing_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        fs::write(&path, "a\nb\nc\nd\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (mut first, mut stdin) = with_input(&path, true);
        stdin.seek(SeekFrom::Start(6)).unwrap();
        keep(&mut first, 3, "c");
        keep(&mut first, 2, "b");
        assert_eq!(read(&path), "a\nb\nc\nd\n", "as it was, until the end");
        // Another run leaves something meanwhile.
        let mut other = keeper(&path);
        keep(&mut other, 1, "other");
        other.finish();
        let kept = first.finish();
        assert_eq!(kept.places, [Place { path: path.clone(), items: 2 }]);
        assert_eq!(read(&path), "b\nc\nd\nother\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(directory.path()), [".left.txt.lock", "left.txt"]);
        // All of it is read and done.
        let (second, mut stdin) = with_input(&path, true);
        stdin.seek(SeekFrom::End(0)).unwrap();
        assert!(second.finish().trouble.is_none());
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_was_appended_behind_an_item_without_an_end_is_kept_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        fs::write(&path, "a\nb").unwrap();
        let (keeper_of_input, mut stdin) = with_input(&path, true);
        stdin.seek(SeekFrom::End(0)).unwrap();
        let mut other = keeper(&path);
        keep(&mut other, 1, "other");
        other.finish();
        assert!(keeper_of_input.finish().trouble.is_none());
        assert_eq!(read(&path), "other\n");
    }

    #[test]
    fn what_another_process_has_read_of_our_input_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        fs::write(&path, "a\nb\nc\n").unwrap();
        let mut file = File::open(&path).unwrap();
        file.seek(SeekFrom::Start(2)).unwrap();
        let input = Input::of(file.try_clone().unwrap(), &path, true);
        let keeper = Keeper::new("q", Framing::Line, &path, input, Arc::default());
        file.seek(SeekFrom::End(0)).unwrap();
        assert!(keeper.finish().trouble.is_none());
        assert_eq!(read(&path), "a\n");
    }

    #[test]
    fn an_input_that_got_another_name_meanwhile_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        fs::write(&path, "a\nb\n").unwrap();
        let (mut keeper, mut stdin) = with_input(&path, true);
        stdin.seek(SeekFrom::End(0)).unwrap();
        keep(&mut keeper, 2, "b");
        keep(&mut keeper, 1, "a");
        fs::rename(&path, directory.path().join("moved")).unwrap();
        fs::write(&path, "new").unwrap();
        assert!(keeper.finish().trouble.is_none());
        assert_eq!(read(&path), "new\na\nb\n");
        assert_eq!(read(&directory.path().join("moved")), "a\nb\n");
        assert_eq!(names(directory.path()), [".left.txt.lock", "left.txt", "moved"]);
    }

    #[test]
    fn without_the_lock_items_go_to_a_file_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        fs::write(&path, "a\nb\n").unwrap();
        fs::write(directory.path().join("left.txt.1"), "taken\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let deadline = Arc::new(Deadline::default());
        deadline.set(clock::now());
        let _held = SideLock::take(&path, &deadline).unwrap();
        let mut keeper = Keeper::new("q", Framing::Line, &path, None, deadline.clone());
        keep(&mut keeper, 1, "c");
        keep(&mut keeper, 2, "d");
        let second = directory.path().join("left.txt.2");
        assert_eq!(keeper.finish().places, [Place { path: second.clone(), items: 2 }]);
        assert_eq!((read(&second).as_str(), read(&path).as_str()), ("c\nd\n", "a\nb\n"));
        assert_eq!(fs::metadata(&second).unwrap().mode() & 0o7777, 0o640);
        // The same, where the leftovers are our input.
        let file = File::open(&path).unwrap();
        let input = Input::of(file.try_clone().unwrap(), &path, true);
        let mut keeper = Keeper::new("q", Framing::Line, &path, input, deadline);
        (&file).seek(SeekFrom::End(0)).unwrap();
        keep(&mut keeper, 1, "b");
        let third = directory.path().join("left.txt.3");
        assert_eq!(keeper.finish().places, [Place { path: third.clone(), items: 1 }]);
        assert_eq!((read(&third).as_str(), read(&path).as_str()), ("b\n", "a\nb\n"));
        assert_eq!(names(directory.path()), [".left.txt.lock", "left.txt", "left.txt.1", "left.txt.2", "left.txt.3"]);
    }

    #[test]
    fn new_leftovers_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        let mut keeper = keeper(&path);
        keep(&mut keeper, 1, "a");
        for name in names(directory.path()) {
            assert_eq!(fs::metadata(directory.path().join(&name)).unwrap().mode() & 0o7777, 0o600, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_said_at_once() {
        for path in ["/nonexistent/left.txt", "/proc/left.txt"] {
            let mut keeper = keeper(Path::new(path));
            assert_eq!(keeper.keep(b"a\n", &[Numbers { first: 1, count: 1, bytes: 2 }]), 0);
            let kept = keeper.finish();
            assert!(kept.places.is_empty() && kept.trouble.is_some(), "{kept:?}");
        }
    }

    #[test]
    fn f83_a_device_or_a_fifo_is_never_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("left.txt");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _reader = OpenOptions::new().read(true).write(true).open(&fifo).unwrap().write(b"").unwrap();
        for path in [Path::new("/dev/null"), &fifo] {
            let mut keeper = keeper(path);
            assert_eq!(keeper.keep(b"a\n", &[Numbers { first: 1, count: 1, bytes: 2 }]), 0);
            assert!(keeper.finish().trouble.is_some());
            assert!(!fs::metadata(path).unwrap().is_file());
            assert!(!super::super::file_lock::side_file(path).unwrap().exists(), "no lock file beside it either");
        }
    }
}
