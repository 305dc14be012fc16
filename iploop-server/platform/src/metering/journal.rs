//! The local journal: what was counted and is perhaps not booked yet.
//!
//! A folder with segments `usage-NNNNNNNN.journal`, each an eight-byte mark and records of
//!
//! ```text
//! length: u32 LE | CRC-32 (IEEE 802.3) of the payload: u32 LE | payload
//! payload: 1 | UsageRecord as JSON            a request in full
//!          2 | id: 16 | up: u64 LE | down: u64 LE   totals of a request described earlier in the segment
//! ```
//!
//! One write(2) a tick brings the changes in, so a killed process loses what was counted since the last tick; `sync`
//! brings them to the disk, so a power cut loses what was counted since then. A segment stands by itself. It is deleted
//! once everything in it is booked. Reading stops at the first record of a segment that is cut or damaged.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::crc32::crc32;
use crate::clock::Timestamp;
use crate::ids::RequestId;
use crate::usage::UsageRecord;

const MARK: &[u8; 8] = b"IPLPUSE1";
const HEADER: usize = 8;
/// Longest payload, in bytes. A record in full has a few hundred: its texts are bounded where they are set.
const MAX_PAYLOAD: usize = 64 * 1024;
const KIND_FULL: u8 = 1;
const KIND_TOTALS: u8 = 2;
const LOCK_FILE: &str = "journal.lock";
const UNBOOKABLE_FILE: &str = "unbookable.jsonl";
/// Size from which no further record is put aside, in bytes.
const MAX_UNBOOKABLE: u64 = 64 * 1024 * 1024;

/// The open journal of this process.
pub(super) struct Journal {
    dir: PathBuf,
    file: File,
    segment: u64,
    /// Segments that lie before this one, oldest first, with their sizes.
    older: Vec<(u64, u64)>,
    /// Bytes in this segment.
    written: u64,
    /// What the next commit writes.
    pending: Vec<u8>,
    /// This segment ends in a torn record that could not be cut off: nothing may follow it.
    torn: bool,
    /// Held while the process lives: two of them would mix their records.
    lock: File,
}

/// What an earlier process left behind.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The last state of each request.
    pub(super) records: Vec<UsageRecord>,
    /// Segments that ended in a cut or damaged record.
    pub(super) torn: usize,
}

/// Why the journal can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has it open.
    #[error("the journal in {0} is in use: another server runs on this data; each needs a folder of its own")]
    InUse(PathBuf),
    /// The folder can't be read or written.
    #[error("the journal in {dir} can't be used")]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
}

impl Journal {
    /// Opens the folder, reads what is in it and begins a new segment after it.
    ///
    /// The old segments stay until [`forget`](Self::forget): a crash before their records are booked reads them again.
    pub(super) fn open(dir: &Path, now: Timestamp) -> Result<(Self, Replay), JournalError> {
        let failed = |source| JournalError::Io {
            dir: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(LOCK_FILE))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let older = segments(dir).map_err(failed)?;
        let replay = replay(dir, &older, now).map_err(failed)?;
        let segment = older.last().map_or(1, |(number, _)| number + 1);
        let file = create_segment(dir, segment).map_err(failed)?;
        let journal = Self {
            dir: dir.to_owned(),
            file,
            segment,
            older,
            written: MARK.len() as u64,
            pending: Vec::new(),
            torn: false,
            lock,
        };
        Ok((journal, replay))
    }

    /// The number of the segment that is written now.
    pub(super) fn segment(&self) -> u64 {
        self.segment
    }

    /// Bytes in all segments.
    pub(super) fn total_bytes(&self) -> u64 {
        self.older.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.written
    }

    /// Bytes in the segment that is written now.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.written
    }

    /// This segment can't be continued: [`begin_segment`](Self::begin_segment) before the next commit.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Puts a request in full into the next commit.
    pub(super) fn put_full(&mut self, record: &UsageRecord) {
        self.put(|out| {
            out.push(KIND_FULL);
            serde_json::to_writer(out, record).expect("plain fields into memory: nothing that can fail");
        });
    }

    /// Puts the totals of a request that this segment describes already into the next commit.
    pub(super) fn put_totals(&mut self, id: RequestId, up: u64, down: u64) {
        self.put(|out| {
            out.push(KIND_TOTALS);
            out.extend_from_slice(id.uuid().as_bytes());
            out.extend_from_slice(&up.to_le_bytes());
            out.extend_from_slice(&down.to_le_bytes());
        });
    }

    /// Writes what was put, in one call. After an error nothing of it is in the journal.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let result = self.file.write_all(&self.pending);
        match result {
            Ok(()) => self.written += self.pending.len() as u64,
            Err(_) => self.torn |= self.file.set_len(self.written).is_err(),
        }
        self.pending.clear();
        self.pending.shrink_to(1024 * 1024);
        result
    }

    /// Ends this segment and begins the next; the number of the one that ended.
    pub(super) fn begin_segment(&mut self) -> io::Result<u64> {
        let next = create_segment(&self.dir, self.segment + 1)?;
        let ended = self.segment;
        self.older.push((ended, self.written));
        self.file = next;
        self.segment = ended + 1;
        self.written = MARK.len() as u64;
        self.pending.clear();
        self.torn = false;
        Ok(ended)
    }

    /// Deletes the segments up to `ended`: everything in them is booked, or described again in a later one.
    pub(super) fn forget(&mut self, ended: u64) -> io::Result<()> {
        while let Some((number, _)) = self.older.first().copied().filter(|(number, _)| *number <= ended) {
            remove_if_there(&segment_path(&self.dir, number))?;
            self.older.remove(0);
        }
        Ok(())
    }

    /// A handle to bring this segment to the disk with, without holding up the journal.
    pub(super) fn syncer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Leaves the folder to the next process: nothing is written from here on.
    pub(super) fn release(&self) -> io::Result<()> {
        self.lock.unlock()
    }

    /// Keeps a record that the database refuses in a file of its own, for a human.
    pub(super) fn put_aside(&self, record: &UsageRecord) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join(UNBOOKABLE_FILE))?;
        if file.metadata()?.len() > MAX_UNBOOKABLE {
            return Err(io::Error::other("too many records were put aside"));
        }
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_data()
    }

    /// For tests: from here on writes go elsewhere.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    fn put(&mut self, payload: impl FnOnce(&mut Vec<u8>)) {
        let start = self.pending.len();
        self.pending.extend_from_slice(&[0; HEADER]);
        payload(&mut self.pending);
        let payload = &self.pending[start + HEADER..];
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
        let crc = crc32(payload).to_le_bytes();
        self.pending[start..start + 4].copy_from_slice(&length);
        self.pending[start + 4..start + HEADER].copy_from_slice(&crc);
    }
}

/// The segments of a folder, oldest first, with their sizes.
fn segments(dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            name.strip_prefix("usage-")?
                .strip_suffix(".journal")?
                .parse::<u64>()
                .ok()
        });
        if let Some(number) = number {
            found.push((number, entry.metadata()?.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("usage-{number:08}.journal"))
}

fn create_segment(dir: &Path, number: u64) -> io::Result<File> {
    let path = segment_path(dir, number);
    // A leftover of this number is an earlier try that failed before anything was written to it.
    remove_if_there(&path)?;
    let mut file = OpenOptions::new().create_new(true).append(true).open(path)?;
    file.write_all(MARK)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Reads the segments, oldest first.
fn replay(dir: &Path, segments: &[(u64, u64)], now: Timestamp) -> io::Result<Replay> {
    let mut reading = Reading::default();
    for (number, _) in segments {
        reading.segment(&mut BufReader::new(File::open(segment_path(dir, *number))?))?;
    }
    Ok(reading.finish(now))
}

/// What was read so far: the last state of each request.
#[derive(Default)]
pub(super) struct Reading {
    requests: HashMap<RequestId, UsageRecord>,
    torn: usize,
}

impl Reading {
    /// Reads one segment, up to its end or its first cut or damaged record.
    pub(super) fn segment(&mut self, reader: &mut impl Read) -> io::Result<()> {
        let mut mark = [0; MARK.len()];
        let is_whole = fill(reader, &mut mark)? && &mark == MARK && self.records(reader)?;
        self.torn += usize::from(!is_whole);
        Ok(())
    }

    /// What to book. A request that had not ended does so now: later than an end that was booked and did not reach the
    /// disk here, so that the ledger, which believes the first end, keeps that one.
    pub(super) fn finish(self, now: Timestamp) -> Replay {
        let mut records: Vec<UsageRecord> = self.requests.into_values().collect();
        for record in records.iter_mut().filter(|record| record.ended_at.is_none()) {
            record.ended_at = Some(now.max(record.started_at));
            record.error.get_or_insert_with(|| "interrupted".to_owned());
        }
        records.sort_unstable_by_key(|record| record.id);
        Replay {
            records,
            torn: self.torn,
        }
    }

    /// False if the segment ends in a cut or damaged record.
    fn records(&mut self, reader: &mut impl Read) -> io::Result<bool> {
        let mut payload = Vec::new();
        loop {
            match read_payload(reader, &mut payload)? {
                Some(true) => {}
                Some(false) => return Ok(false),
                None => return Ok(true),
            }
            match Entry::decode(&payload) {
                Some(Entry::Full(record)) => self.replace(*record),
                Some(Entry::Totals { id, up, down }) => self.grow(id, up, down),
                None => return Ok(false),
            }
        }
    }

    /// Later facts replace earlier ones; totals only grow.
    fn replace(&mut self, mut record: UsageRecord) {
        if let Some(known) = self.requests.get(&record.id) {
            record.bytes_up = record.bytes_up.max(known.bytes_up);
            record.bytes_down = record.bytes_down.max(known.bytes_down);
        }
        self.requests.insert(record.id, record);
    }

    fn grow(&mut self, id: RequestId, up: u64, down: u64) {
        if let Some(known) = self.requests.get_mut(&id) {
            known.bytes_up = known.bytes_up.max(up);
            known.bytes_down = known.bytes_down.max(down);
        }
    }
}

/// The next payload: none at the end of the segment, false where it is cut or damaged.
fn read_payload(reader: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let mut header = [0; HEADER];
    let mut got = 0;
    while got < HEADER {
        match reader.read(&mut header[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Ok(Some(false)),
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    // A length of 0 is what a power cut leaves where the file grew and its content did not arrive.
    if length == 0 || length > MAX_PAYLOAD {
        return Ok(Some(false));
    }
    payload.resize(length, 0);
    let whole = fill(reader, payload)?;
    Ok(Some(
        whole && crc32(payload) == u32::from_le_bytes([c0, c1, c2, c3]),
    ))
}

/// Fills the buffer; false if the reader ends before.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

enum Entry {
    Full(Box<UsageRecord>),
    Totals { id: RequestId, up: u64, down: u64 },
}

impl Entry {
    fn decode(payload: &[u8]) -> Option<Self> {
        let (kind, rest) = payload.split_first()?;
        match *kind {
            KIND_FULL => serde_json::from_slice(rest).ok().map(Self::Full),
            KIND_TOTALS => {
                let (id, rest) = rest.split_first_chunk::<16>()?;
                let (up, rest) = rest.split_first_chunk()?;
                let (down, _) = rest.split_first_chunk()?;
                Some(Self::Totals {
                    id: uuid::Uuid::from_bytes(*id).into(),
                    up: u64::from_le_bytes(*up),
                    down: u64::from_le_bytes(*down),
                })
            }
            _ => None,
        }
    }
}
