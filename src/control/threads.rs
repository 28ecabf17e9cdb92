//! How many threads zenoh reads and writes its connections with: one.
//!
//! zenoh-link-tls (1.10.2) hands one TLS stream to a reading and to a writing task, with nothing between them; rustls
//! keeps state that both change. On two threads that is a data race, which ended an appliance now and then with an
//! allocation of 127 TiB (eclipse-zenoh/zenoh#2557, open; met in a soak when many connections broke). On one thread the
//! tasks take turns.

/// What zenoh reads once, when its first session is opened.
const NAME: &str = "ZENOH_RUNTIME";
/// Its other threads stay their own: what blocks on one of them would give its place to a second.
const ONE_FOR_CONNECTIONS: &str = "(tx: (worker_threads: 1), rx: (handover: tx))";

/// What the names of its threads begin with: each of its runtimes, and a number.
const RUNTIMES: [&str; 5] = ["app-", "acc-", "tx-", "rx-", "net-"];

pub fn is_of_zenoh(thread: Option<&str>) -> bool {
    thread.is_some_and(|name| RUNTIMES.iter().any(|runtime| name.starts_with(runtime)))
}

/// To be called first of all, while the process has one thread.
#[allow(unsafe_code, clippy::disallowed_methods)]
pub fn read_and_write_on_one_thread() {
    // SAFETY: nobody else reads or changes the environment: no other thread has been started yet.
    unsafe { std::env::set_var(NAME, ONE_FOR_CONNECTIONS) };
}
