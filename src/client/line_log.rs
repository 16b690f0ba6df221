//! A file of lines that only grows, until it is written anew: what a journal or a spool is kept in.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::causes::with_causes;
use super::vault::private_file;
use crate::file_lock;

/// Hexadecimal digits before each line that tell whether it is whole: the beginning of its SHA-256.
const SUM_LEN: usize = 16;

/// Between the lines of one [`append`](LineLog::append), which stand in one line of the file: all of them are there, or none.
const SEPARATOR: char = '\u{1e}';

/// Each line is durable when [`append`](LineLog::append) returns, and has a checksum. The file has mode 0600 and one owner: a
/// lock beside it (`….lock`) is held as long as it is open.
#[derive(Debug)]
pub(super) struct LineLog {
    path: PathBuf,
    head: &'static str,
    file: File,
    /// Where the last whole line ends.
    len: u64,
    /// Something that is not to stay may follow it.
    is_torn: bool,
    /// The file may have been replaced, or not survive a power cut: to be made sure of before the next line.
    is_doubtful: bool,
    lines: usize,
    /// How many the newest [`rewrite`](LineLog::rewrite) has, or had.
    rewritten: usize,
    _lock: File,
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

fn with_sum(line: &str) -> String {
    let mut text = String::with_capacity(SUM_LEN + 1 + line.len() + 1);
    for byte in &Sha256::digest(line)[..SUM_LEN / 2] {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push(' ');
    text.push_str(line);
    text.push('\n');
    text
}

/// The line in `text`, which ends with LF, if its checksum is right.
fn checked(text: &str) -> Option<&str> {
    let line = text.get(SUM_LEN + 1..)?.strip_suffix('\n')?;
    (with_sum(line) == text).then_some(line)
}

impl LineLog {
    /// Opens or makes the log in `path`, whose first line is `head`, and hands each line to `each`. A last line that a crash
    /// left unfinished is dropped. Missing directories are made, for their owner only.
    ///
    /// # Errors
    /// Of the file system; `WouldBlock` when another process has it; `InvalidData` when it is larger than `max_len` bytes,
    /// begins otherwise, is broken before its last line or where `each` says so, or is not private.
    pub(super) fn open(
        path: &Path,
        head: &'static str,
        max_len: u64,
        mut each: impl FnMut(&str) -> Result<(), String>,
    ) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        private_file::make_directory(private_file::directory_of(&path))?;
        let lock = take_lock(&path)?;
        private_file::sweep(&path)?;
        let mut text = read(&path, max_len)?;
        if text.is_empty() {
            private_file::write(&path, head.as_bytes())?;
            head.clone_into(&mut text);
        }
        let Some(body) = text.strip_prefix(head) else { return Err(wrong(&path, format_args!("not {head:?}"))) };
        let (mut lines, mut len) = (1, head.len());
        for line in body.split_inclusive('\n') {
            match checked(line) {
                Some(whole) => whole
                    .split(SEPARATOR)
                    .try_for_each(&mut each)
                    .map_err(|what| wrong(&path, format_args!("line {}: {what}", lines + 1)))?,
                // A crash cut it short, or left something else where it should be.
                None if len + line.len() == text.len() => break,
                None => return Err(wrong(&path, format_args!("line {} is damaged", lines + 1))),
            }
            lines += 1;
            len += line.len();
        }
        let mut file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(len as u64)?;
        file.seek(SeekFrom::Start(len as u64))?;
        let len = len as u64;
        Ok(Self { path, head, file, len, is_torn: false, is_doubtful: false, lines, rewritten: lines, _lock: lock })
    }

    /// Lines in the file, the first included.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends lines that have neither LF nor other control characters, durably, all or none.
    ///
    /// # Errors
    /// Of the file system. None of them counts then, also after a restart, as far as the file system lets them be taken back.
    pub(super) fn append(&mut self, lines: &[String]) -> io::Result<()> {
        if self.is_doubtful {
            self.settle()?;
        }
        if self.is_torn {
            // Half a line in the middle would make the log unreadable.
            self.take_back()?;
        }
        let text = with_sum(&lines.join(&SEPARATOR.to_string()));
        self.is_torn = true;
        if let Err(error) = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()) {
            // Where this fails as well, the next line does it.
            let _ = self.take_back();
            return Err(error);
        }
        self.is_torn = false;
        self.len += text.len() as u64;
        self.lines += 1;
        Ok(())
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.sync_data()?;
        self.is_torn = false;
        Ok(())
    }

    /// Writes the file anew, with these lines alone; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// Of the file system. What was written before is there in any case; nothing is appended until it is certain which of the
    /// two the file is.
    pub(super) fn rewrite(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = self.head.to_owned();
        text.extend(lines.iter().map(|line| with_sum(line)));
        (self.is_doubtful, self.rewritten) = (true, 1 + lines.len());
        private_file::write(&self.path, text.as_bytes())?;
        self.settle()
    }

    /// Goes on with the file that has the name, and makes sure that it keeps it.
    fn settle(&mut self) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        let (found, ours) = (file.metadata()?, self.file.metadata()?);
        if (found.dev(), found.ino()) != (ours.dev(), ours.ino()) {
            // Only `rewrite` puts another one there, and a whole one.
            self.len = file.seek(SeekFrom::End(0))?;
            (self.file, self.lines, self.is_torn) = (file, self.rewritten, false);
        }
        private_file::sync_directory(private_file::directory_of(&self.path))?;
        self.is_doubtful = false;
        Ok(())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The whole text. Bytes behind the last LF that are no UTF-8 are a torn line as well.
fn read(path: &Path, max_len: u64) -> io::Result<String> {
    let Some(bytes) = private_file::read(path, max_len).map_err(|error| wrong(path, with_causes(&error)))? else {
        return Ok(String::new());
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn take_lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name)?;
    match file_lock::try_lock(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let what = format!("{} is in use by another process", path.display());
            Err(io::Error::new(io::ErrorKind::WouldBlock, what))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const HEAD: &str = "a log of tests\n";

    fn open(path: &Path) -> io::Result<(LineLog, Vec<String>)> {
        let mut seen = Vec::new();
        let log = LineLog::open(path, HEAD, 1 << 20, |line| {
            seen.push(line.to_owned());
            if line == "bad" { Err("it is bad".to_owned()) } else { Ok(()) }
        })?;
        Ok((log, seen))
    }

    #[test]
    fn cut_at_any_byte_it_keeps_every_whole_line() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("deep/log");
        let lines: Vec<String> = ["one", "two, longer", "", "föur", "five"].map(str::to_owned).to_vec();
        let (mut log, _) = open(&path).expect("made");
        // The last two together.
        let batches = [&lines[..1], &lines[1..2], &lines[2..3], &lines[3..]];
        batches.into_iter().for_each(|batch| log.append(batch).expect("written"));
        drop(log);
        let whole = fs::read(&path).expect("read");
        let mut ends = vec![(HEAD.len(), 0)];
        for batch in batches {
            let (end, lines) = ends[ends.len() - 1];
            ends.push((end + with_sum(&batch.join("\u{1e}")).len(), lines + batch.len()));
        }
        assert_eq!(ends.last(), Some(&(whole.len(), lines.len())));
        for cut in HEAD.len()..=whole.len() {
            for tail in [&b""[..], b"\0\0\0", b"\xff\xfe", b"\n"] {
                let mut text = whole[..cut].to_vec();
                text.extend_from_slice(tail);
                fs::write(&path, &text).expect("written");
                // A lone LF may complete the line that was cut just before it.
                let until = cut + usize::from(tail == b"\n" && ends.iter().any(|(end, _)| *end == cut + 1));
                let (_, kept) = ends.iter().rfind(|(end, _)| *end <= until).expect("the head");
                let (mut log, seen) = open(&path).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
                assert_eq!(seen, &lines[..*kept], "cut at {cut}, {tail:?}");
                log.append(&["next".to_owned()]).expect("written");
                drop(log);
                assert_eq!(open(&path).expect("opened").1.last().map(String::as_str), Some("next"));
            }
        }
    }

    #[test]
    fn what_is_appended_after_a_rewrite_that_failed_late_is_in_the_file_of_that_name() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("log");
        let (mut log, _) = open(&path).expect("made");
        log.append(&["one".to_owned(), "two".to_owned()]).expect("written");
        // As when the new file had been put in place and the directory could not be synced.
        private_file::write(&path, format!("{HEAD}{}", with_sum("two")).as_bytes()).expect("written");
        (log.is_doubtful, log.rewritten) = (true, 2);
        log.append(&["three".to_owned()]).expect("written");
        assert_eq!((log.lines(), log.len()), (3, fs::metadata(&path).expect("there").len()));
        drop(log);
        assert_eq!(open(&path).expect("opened").1, ["two", "three"]);
    }

    #[test]
    fn what_could_not_be_synced_is_taken_back() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("log");
        let (mut log, _) = open(&path).expect("made");
        log.append(&["one".to_owned()]).expect("written");
        // As when the line was written and the sync failed.
        log.file.write_all(with_sum("refused").as_bytes()).expect("written");
        log.take_back().expect("cut");
        drop(log);
        assert_eq!(open(&path).expect("opened").1, ["one"]);
    }

    #[test]
    fn what_is_damaged_or_none_of_ours_is_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("log");
        let good = format!("{HEAD}{}{}", with_sum("one"), with_sum("two"));
        for (text, what) in [
            (good.replacen("one", "0ne", 1), "line 2 is damaged"),
            (format!("{HEAD}{}{}", with_sum("bad"), with_sum("two")), "it is bad"),
            ("something else\n".to_owned(), "not \"a log of tests"),
            ("x".repeat(2 << 20), "more than"),
        ] {
            fs::write(&path, &text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
            let error = open(&path).expect_err("refused");
            assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains(what), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
        fs::write(&path, good).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(open(&path).is_err(), "others could have read it");
    }

    #[test]
    fn it_has_one_owner_and_can_be_written_anew() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("log");
        let (mut log, _) = open(&path).expect("made");
        assert_eq!(open(&path).expect_err("taken").kind(), io::ErrorKind::WouldBlock);
        let lines: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        lines.iter().for_each(|line| log.append(std::slice::from_ref(line)).expect("written"));
        assert_eq!(log.lines(), 101);
        log.rewrite(&lines[98..]).expect("written");
        log.append(&["100".to_owned()]).expect("written");
        assert_eq!((log.lines(), log.len()), (4, fs::metadata(&path).expect("there").len()));
        drop(log);
        assert_eq!(open(&path).expect("opened").1, ["98", "99", "100"]);
    }
}
