//! The way of a line of log out of the process.
//!
//! A line of log is never worth a sale. Whoever logs hands its line over and goes on: it is never told of an error and
//! never waits, whatever is wrong with the place where lines go (a full disk, a pipe that nobody reads or that is
//! closed, a terminal that was stopped). One thread writes. What waits for it is bounded in count and bytes; what does
//! not fit, or cannot be written, is counted, and said when lines can be written again. Where the place lets a line
//! wait for ever, that thread does.
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::form::{self, Priority};
use crate::contain::contain;

/// Some seconds of a busy site's log at `debug`.
const LINES_MAX: usize = 8_192;
const BYTES_MAX: usize = 2 << 20;
/// A place that does not take bytes now, and lets nobody wait for it (`O_NONBLOCK`), is tried again after this.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// A place that is well takes a line sooner.
const STANDS_AFTER: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// One line is with the writing thread, since then.
    writing: Option<Instant>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is a line.
    some: Condvar,
    /// There is none, and none is being written.
    none: Condvar,
    lost: AtomicU64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Lines {
    shared: Arc<Shared>,
}

impl Lines {
    /// Standard error, of which there is one; its thread starts with the first line.
    pub fn standard() -> &'static Lines {
        static STANDARD: OnceLock<Lines> = OnceLock::new();
        STANDARD.get_or_init(|| {
            no_signal_at_a_file_limit();
            // A descriptor of its own: a write that never ends must not hold the lock of `std::io::stderr`.
            match io::stderr().as_fd().try_clone_to_owned() {
                Ok(descriptor) => Lines::to(std::fs::File::from(descriptor)),
                Err(_) => Lines::to(io::stderr()),
            }
        })
    }

    pub(super) fn to(out: impl Write + Send + 'static) -> Self {
        let lines = Self { shared: Arc::default() };
        let shared = lines.shared.clone();
        // Without a thread every line is lost, and counted, once the queue is full.
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            // Lines, all of them, are worth less than the process.
            let _ = contain(|| write_all(&shared, out));
        });
        lines
    }

    /// A whole line, its end included. Never waits.
    pub fn push(&self, line: Vec<u8>) {
        let mut queue = self.shared.queue();
        if queue.lines.len() >= LINES_MAX || queue.bytes + line.len() > BYTES_MAX {
            drop(queue);
            self.shared.lost.fetch_add(1, Relaxed);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line);
        drop(queue);
        self.shared.some.notify_one();
    }

    /// As [`Lines::push`], of what there may be much of: where half the room is taken it is lost, so that other lines
    /// are not.
    pub fn push_light(&self, line: Vec<u8>) {
        let queue = self.shared.queue();
        let is_tight = queue.lines.len() >= LINES_MAX / 2 || queue.bytes + line.len() > BYTES_MAX / 2;
        drop(queue);
        if is_tight {
            self.shared.lost.fetch_add(1, Relaxed);
        } else {
            self.push(line);
        }
    }

    /// As [`Lines::push`], of what the process says last: older lines make room for it.
    pub fn push_last(&self, line: Vec<u8>) {
        let mut queue = self.shared.queue();
        while !queue.lines.is_empty() && (queue.lines.len() >= LINES_MAX || queue.bytes + line.len() > BYTES_MAX) {
            let oldest = queue.lines.pop_front().map_or(0, |oldest| oldest.len());
            queue.bytes -= oldest;
            self.shared.lost.fetch_add(1, Relaxed);
        }
        drop(queue);
        self.push(line);
    }

    /// Waits until all is written, but no longer than `within`. Whether all is.
    pub fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut queue = self.shared.queue();
        while queue.writing.is_some() || !queue.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.shared.none.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// For how long one line is being written already, if that is too long, and how many wait with it.
    pub fn stands(&self) -> Option<(Duration, usize)> {
        self.stands_after(STANDS_AFTER)
    }

    fn stands_after(&self, after: Duration) -> Option<(Duration, usize)> {
        let queue = self.shared.queue();
        let lasting = queue.writing?.elapsed();
        (lasting >= after).then_some((lasting, queue.lines.len() + 1))
    }

    /// Lines that nobody will ever read.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Vec<u8> {
        let mut queue = self.queue();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.writing = Some(Instant::now());
                return line;
            }
            queue = self.some.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_written(&self) {
        let mut queue = self.queue();
        queue.writing = None;
        if queue.lines.is_empty() {
            self.none.notify_all();
        }
    }
}

/// The writing thread, for as long as the process lives.
fn write_all(shared: &Shared, mut out: impl Write) {
    let (mut is_torn, mut said) = (false, 0);
    loop {
        let line = shared.next();
        let written = write_line(&mut out, &line, &mut is_torn);
        if written.is_err() {
            shared.lost.fetch_add(1, Relaxed);
        }
        let lost = shared.lost.load(Relaxed);
        if written.is_ok() && lost > said {
            // Through the queue like any other line, behind what is there already.
            tracing::warn!(lost = lost - said, "lines of log were lost: they could not be written, or came too fast");
            said = lost;
        }
        shared.is_written();
    }
}

/// `is_torn`: the line before broke off in its middle.
fn write_line(out: &mut impl Write, line: &[u8], is_torn: &mut bool) -> io::Result<()> {
    if *is_torn {
        write_whole(out, b"\n").map_err(|(error, _)| error)?;
        *is_torn = false;
    }
    write_whole(out, line).map_err(|(error, written)| {
        *is_torn = written > 0;
        error
    })
}

/// On an error also how much was written before it.
fn write_whole(out: &mut impl Write, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return Err((ErrorKind::WriteZero.into(), written)),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(TRY_AGAIN),
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}

/// A file that may not grow further (`RLIMIT_FSIZE`) is an error of the write, like a full disk; by default it ends the
/// process.
#[allow(unsafe_code)]
fn no_signal_at_a_file_limit() {
    // SAFETY: no code of ours runs in it; what a signal does by default is replaced by nothing.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// What `tracing` writes one event into; handed over as one line when it is dropped.
pub(super) struct Line {
    lines: Lines,
    priority: Priority,
    bytes: Vec<u8>,
}

impl Line {
    pub fn new(lines: &Lines, priority: Priority) -> Self {
        Self { lines: lines.clone(), priority, bytes: Vec::new() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.lines.push(form::event(&self.bytes, self.priority));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// Each write takes its result from the list, then the rest succeeds.
    struct Place {
        results: VecDeque<io::Result<usize>>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Place {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = self.results.pop_front().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            let _ = self.written.send(bytes[..length].to_vec());
            Ok(length)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn place(results: Vec<io::Result<usize>>) -> (Lines, mpsc::Receiver<Vec<u8>>) {
        let (written, seen) = mpsc::channel();
        (Lines::to(Place { results: results.into(), written }), seen)
    }

    fn error(number: i32) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(number))
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_next_line_begins_a_line() {
        let full = error(libc::ENOSPC);
        let (lines, seen) = place(vec![error(libc::EPIPE), error(libc::EINTR), error(libc::EAGAIN), Ok(2), full]);
        for text in ["gone\n", "torn\n", "whole\n"] {
            lines.push(text.into());
        }
        assert!(lines.flush(SOON));
        assert_eq!(lines.lost(), 2);
        assert_eq!(seen.try_iter().collect::<Vec<_>>().concat(), b"to\nwhole\n");
    }

    #[test]
    fn a_pipe_that_nobody_reads_makes_nobody_wait_and_its_queue_is_bounded() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::to(writer);
        let line = || vec![b'x'; 1 << 10];
        for _ in 0..3 * LINES_MAX {
            lines.push(line());
        }
        assert!(!lines.flush(Duration::from_millis(1)));
        let queue = lines.shared.queue();
        let (queued, bytes) = (queue.lines.len(), queue.bytes);
        drop(queue);
        assert!(queued <= LINES_MAX && bytes <= BYTES_MAX, "{queued} lines, {bytes} bytes");
        let lost = lines.lost();
        assert!(lost as usize >= 2 * LINES_MAX, "{lost} lines were lost");
        // The writing thread may still be at what the pipe takes: until it stands, it can make the room itself.
        let deadline = Instant::now() + SOON;
        loop {
            let lost = lines.lost();
            while lines.lost() == lost {
                lines.push(line());
            }
            let lost = lines.lost();
            lines.push_last(b"the last word\n".to_vec());
            if lines.lost() > lost {
                break;
            }
            assert!(Instant::now() < deadline, "no older line made room");
        }
        let reading = std::thread::spawn(move || {
            let (mut all, mut bytes) = (Vec::new(), [0; 1 << 16]);
            // The line about those that were lost may stand behind it.
            let mut is_there = false;
            while !is_there {
                let length = reader.read(&mut bytes).unwrap();
                all.extend_from_slice(&bytes[..length]);
                let new = &all[all.len().saturating_sub(length + 13)..];
                is_there = new.windows(14).any(|bytes| bytes == b"the last word\n");
            }
        });
        assert!(lines.flush(SOON));
        reading.join().unwrap();
    }

    /// Long before a line is dropped.
    #[test]
    fn a_place_that_takes_nothing_is_known_as_such() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::to(writer);
        lines.push(vec![b'x'; 1 << 10]);
        assert!(lines.flush(SOON));
        assert_eq!(lines.stands_after(Duration::ZERO), None, "nothing is being written");
        for _ in 0..1_000 {
            lines.push(vec![b'x'; 1 << 10]);
        }
        let long = Duration::from_millis(200);
        let deadline = Instant::now() + SOON;
        let (lasting, waiting) = loop {
            if let Some(stands) = lines.stands_after(long) {
                break stands;
            }
            assert!(Instant::now() < deadline, "it stands");
            std::thread::sleep(long / 10);
        };
        assert!(lasting >= long && waiting > 100 && waiting < 1_000, "{waiting}");
        assert_eq!((lines.lost(), lines.stands()), (0, None), "not for so long");
        let reading = std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        assert!(lines.flush(SOON));
        assert_eq!(lines.stands_after(Duration::ZERO), None);
        drop(reading);
    }

    #[test]
    fn records_leave_half_of_the_room_to_other_lines() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = Lines::to(writer);
        for _ in 0..2 * LINES_MAX {
            lines.push_light(vec![b'x'; 100]);
        }
        let lost = lines.lost();
        assert!(lost >= LINES_MAX as u64, "{lost} were lost");
        for _ in 0..LINES_MAX / 4 {
            lines.push(b"a line\n".to_vec());
        }
        assert_eq!(lines.lost(), lost, "no line of log was");
        drop(reader);
    }

    #[test]
    fn a_reader_that_has_gone_costs_the_lines_alone() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let lines = Lines::to(writer);
        lines.push(b"to nobody\n".to_vec());
        assert!(lines.flush(SOON));
        assert_eq!(lines.lost(), 1);
    }
}
