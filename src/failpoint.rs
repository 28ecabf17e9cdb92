//! Named points in a write's life at which a test lets the process die, as `kill -9` would at that instruction.
//!
//! `HOLDFAST_FAILPOINT=name` or `name:nth`: the process aborts when it comes to that point for the nth time; no
//! destructor runs, nothing is flushed. Only with the feature `failpoints`; without it a point is an empty function.
//!
//! `HOLDFAST_PANIC=name` or `name:nth`: there a bug is met instead, a panic.
//!
//! `HOLDFAST_POWER_LOSS=seed`: SQLite's files are on a disk that loses power whenever and however the process ends.

#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::io::Write as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    struct Chosen {
        name: String,
        nth: u64,
        panics: bool,
    }
    static CHOSEN: OnceLock<Option<Chosen>> = OnceLock::new();
    static TIMES: AtomicU64 = AtomicU64::new(0);
    let chosen = CHOSEN.get_or_init(|| {
        let dies = std::env::var("HOLDFAST_FAILPOINT").ok().map(|text| (text, false));
        let (text, panics) = dies.or_else(|| Some((std::env::var("HOLDFAST_PANIC").ok()?, true)))?;
        let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
        let nth = nth.parse().expect("HOLDFAST_FAILPOINT is name or name:nth, with nth from 1");
        Some(Chosen { name: name.to_owned(), nth, panics })
    });
    if let Some(Chosen { name: chosen, nth, panics }) = chosen
        && chosen == name
        && TIMES.fetch_add(1, SeqCst) + 1 == *nth
    {
        if *panics {
            panic!("planted at {name}:{nth}");
        }
        // In one piece: another thread's log line must not come between, a test looks for it.
        let _ = std::io::stderr().write_all(format!("failpoint {name}:{nth}\n").as_bytes());
        std::process::abort();
    }
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// Before the first connection to a database.
#[cfg(feature = "failpoints")]
pub fn lose_power_with_the_process() {
    use std::io::Write as _;

    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let Ok(seed) = std::env::var("HOLDFAST_POWER_LOSS") else { return };
        let seed = seed.parse().expect("HOLDFAST_POWER_LOSS is a number");
        let said = format!("what is not synced is lost with this process (seed {seed})\n");
        let _ = std::io::stderr().write_all(said.as_bytes());
        powerloss::install(seed);
    });
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn lose_power_with_the_process() {}

/// The files are this process's own fiction: nothing stands by their names on the disk.
#[cfg(feature = "failpoints")]
pub fn loses_power() -> bool {
    std::env::var_os("HOLDFAST_POWER_LOSS").is_some()
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn loses_power() -> bool {
    false
}
