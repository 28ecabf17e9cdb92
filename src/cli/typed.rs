//! What nobody else may see: from standard input, it stands in no list of processes and in no shell's history; from a
//! terminal, not on the screen either.
use std::io::{self, IsTerminal as _, Read as _, Write as _};

use super::exit::Failure;

/// What is pasted by mistake has no end.
const BYTES_MAX: u64 = 4_096;

/// The first line that is not empty. Where somebody sits there, he is asked.
pub(super) fn line(asks: &str) -> Result<String, Failure> {
    let cannot = |error: io::Error| Failure::usage(format!("standard input cannot be read: {error}"));
    let mut stdin = io::stdin().lock();
    let text = if stdin.is_terminal() {
        // Before anybody is asked: what he types at once is not lost, and not seen.
        let quiet = Quiet::begin().map_err(cannot)?;
        let _ = write!(io::stderr(), "{asks}").and_then(|()| io::stderr().flush());
        let typed = until_its_end(&mut stdin, quiet.interrupt);
        drop(quiet);
        let _ = writeln!(io::stderr());
        typed.map_err(cannot)?
    } else {
        let mut text = Vec::new();
        stdin.take(BYTES_MAX).read_to_end(&mut text).map_err(cannot)?;
        text
    };
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(str::to_owned).ok_or_else(|| Failure::usage("nothing stands on standard input, where the code should be"))
}

/// Of what a terminal gives, which is a line at a time. Nothing where somebody thinks better of it.
fn until_its_end(input: &mut impl io::Read, interrupt: u8) -> io::Result<Vec<u8>> {
    let (mut text, mut part) = (Vec::new(), [0; 1_024]);
    while !text.ends_with(b"\n") && (text.len() as u64) < BYTES_MAX {
        match input.read(&mut part)? {
            0 => break,
            read if part[..read].contains(&interrupt) => return Ok(Vec::new()),
            read => text.extend_from_slice(&part[..read]),
        }
    }
    Ok(text)
}

/// A terminal that shows nothing of what is typed, until it is dropped. An interrupt is a sign like others, so that
/// nobody is left with such a terminal.
struct Quiet {
    before: libc::termios,
    interrupt: u8,
}

impl Quiet {
    #[allow(unsafe_code)]
    fn begin() -> io::Result<Self> {
        let mut before = std::mem::MaybeUninit::<libc::termios>::uninit();
        // SAFETY: it writes the whole of `before` where it succeeds, and nothing else.
        let before = match unsafe { libc::tcgetattr(libc::STDIN_FILENO, before.as_mut_ptr()) } {
            // SAFETY: it did succeed.
            0 => unsafe { before.assume_init() },
            _ => return Err(io::Error::last_os_error()),
        };
        let interrupt = before.c_cc[libc::VINTR];
        let mut quiet = before;
        quiet.c_lflag &= !(libc::ECHO | libc::ISIG);
        // It ends the line in which it stands.
        quiet.c_cc[libc::VEOL] = interrupt;
        set(&quiet)?;
        Ok(Self { before, interrupt })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = set(&self.before);
    }
}

#[allow(unsafe_code)]
fn set(terminal: &libc::termios) -> io::Result<()> {
    // SAFETY: it reads `terminal`, which is whole.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, terminal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
