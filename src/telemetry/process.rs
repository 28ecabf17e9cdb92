//! What the system says of this process, under the names that every Prometheus client gives it.
use std::time::Duration;

use super::instruments::{Gauge, Seconds, instruments};

instruments! {
    /// Read anew each time; what the system does not tell is absent.
    ProcessMetrics {
        cpu: Seconds, "process_cpu_seconds_total", "User and system time spent.";
        start: Gauge, "process_start_time_seconds", "When the process began, seconds since 1970.";
        resident: Gauge, "process_resident_memory_bytes", "Memory that is in RAM.";
        virtual_memory: Gauge, "process_virtual_memory_bytes", "Addresses that are taken.";
        threads: Gauge, "process_threads", "Threads.";
        open_fds: Gauge, "process_open_fds", "Descriptors that are open.";
        max_fds: Gauge, "process_max_fds", "Descriptors that may be open.";
    }
}

impl ProcessMetrics {
    pub(super) fn read() -> Self {
        let metrics = Self::default();
        let boot = std::fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text));
        if let Some(stat) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) {
            let (tick, page) = (of_system(libc::_SC_CLK_TCK), of_system(libc::_SC_PAGESIZE));
            metrics.cpu.reach(Duration::from_secs_f64(stat.cpu_ticks as f64 / tick));
            metrics.start.set_known(boot.map(|boot| boot as f64 + stat.start_ticks as f64 / tick));
            metrics.resident.set(stat.resident_pages as f64 * page);
            metrics.virtual_memory.set_count(stat.virtual_bytes);
            metrics.threads.set_count(stat.threads);
        }
        // One of them is the folder itself.
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64);
        metrics.open_fds.set_known(open);
        let limits = std::fs::read_to_string("/proc/self/limits").ok();
        metrics.max_fds.set_known(limits.and_then(|text| most_descriptors(&text)));
        metrics
    }
}

/// Of `/proc/self/stat`, see proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name before may hold anything, also parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of these is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

fn most_descriptors(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[allow(unsafe_code)]
fn of_system(name: libc::c_int) -> f64 {
    // SAFETY: it takes a number and returns one.
    let value = unsafe { libc::sysconf(name) };
    value.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let text =
            "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 12 0 3600 1048576 256 18446744073709551615 1";
        let stat =
            Stat { cpu_ticks: 300, threads: 12, start_ticks: 3600, virtual_bytes: 1_048_576, resident_pages: 256 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!((Stat::parse(""), Stat::parse("7 (a) S 1")), (None, None));
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
        assert_eq!(
            most_descriptors("Max open files            1024                 524288               files \n"),
            Some(1024.0)
        );
    }

    #[test]
    fn this_process_is_told_of() {
        let mut page = String::new();
        ProcessMetrics::print_all(&[(String::new(), &ProcessMetrics::read())], &mut page);
        let value = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect(name);
            line.parse().expect("a number")
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-5.0..86_400.0).contains(&age), "{age} s old");
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
        assert!(value("process_threads") >= 1.0);
    }
}
