//! All tills of both sites as one crowd: started together, stopped together.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::history::History;
use super::progress::Counters;
use super::till::{Place, Till};

/// What all tills share.
#[derive(Debug)]
pub struct Shared {
    pub history: History,
    pub progress: Counters,
    /// Mean pause before a write.
    pub think: Duration,
    /// After this long without an end a till stops asking.
    pub give_up: Duration,
}

/// Dropping it ends every till at once.
pub struct Tills {
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

impl Tills {
    pub fn start(places: Vec<Place>, seed: u64, shared: &Arc<Shared>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        for (index, place) in places.into_iter().enumerate() {
            let seed = seed.wrapping_mul(1_000).wrapping_add(index as u64);
            running.spawn(Till::new(place, seed, Arc::clone(shared), stopped.clone()).run());
        }
        Self { stop, running }
    }

    /// Lets every till finish its sale. A panic in one of them is one here.
    pub async fn finish(mut self) {
        self.stop.send_replace(true);
        while let Some(till) = self.running.join_next().await {
            if let Err(error) = till
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::check::{LogLine, Replica, check};
    use crate::demo::http::Client;
    use crate::demo::pos::{self, PosOptions};

    /// Two sites that are one service: the history must agree with its log without any appliance.
    #[tokio::test]
    async fn what_tills_were_told_is_what_a_plain_service_did() {
        let dir = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = PosOptions { listen, db: dir.path().join("pos.db"), fsync: false, exit_with_stdin: false };
        let (address, _server) = pos::start(&options).await.unwrap();
        let shared = Arc::new(Shared {
            history: History::default(),
            progress: Counters::default(),
            think: Duration::from_millis(1),
            give_up: Duration::from_secs(5),
        });
        let places = (0..6).map(|n| Place {
            till: format!("till-{n}"),
            home: "here".to_owned(),
            home_address: address,
            other: "there".to_owned(),
            other_address: address,
            leads: n == 0,
        });
        let tills = Tills::start(places.collect(), 7, &shared);
        while shared.history.with(<[_]>::len) < 400 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tills.finish().await;
        let mut client = Client::new(address);
        let patience = Duration::from_secs(5);
        let export = client.get("/export", patience).await.unwrap();
        let log: Vec<LogLine> = serde_json::from_slice(&client.get("/log", patience).await.unwrap().body).unwrap();
        let export = String::from_utf8(export.body.to_vec()).unwrap();
        let replica = Replica { site: "here".to_owned(), export, log };
        shared.history.with(|history| {
            let verdict = check(history, std::slice::from_ref(&replica));
            // Answers that were "lost" were applied again by a service that does not deduplicate: nothing else is
            // wrong.
            let strays: Vec<_> = verdict
                .findings
                .iter()
                .filter(|found| {
                    !(found.path.starts_with("/inventory/") && found.kind == crate::demo::check::Kind::Duplicate)
                })
                .collect();
            assert!(strays.is_empty(), "{strays:#?}");
            assert!(verdict.findings.len() > 1, "some answers get lost");
            assert!(history.iter().any(|told| !told.is_acknowledged()), "some writes are refused");
            assert!(history.iter().any(|told| told.service() == "promotions"));
        });
    }
}
