//! Active health checks: one task per endpoint, level-triggered, ending with its upstream.
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::task::JoinSet;

use super::body::Body;
use super::pool::{Pool, PoolSettings};
use super::rest::look_once;
use super::upstream::{HealthSettings, Upstream};
use crate::contain::contained_in;

/// Counts answers in a row. Pure.
#[derive(Debug)]
struct Streak {
    healthy: bool,
    against: u32,
    is_first: bool,
}

impl Streak {
    fn new() -> Self {
        Self { healthy: true, against: 0, is_first: true }
    }

    /// Takes one result; whether the endpoint is healthy now. The very first one counts at once: a dead service must
    /// not be taken for a healthy one while failures are counted.
    fn take(&mut self, success: bool, settings: &HealthSettings) -> bool {
        if std::mem::take(&mut self.is_first) {
            self.healthy = success;
            return success;
        }
        self.against = if success == self.healthy { 0 } else { self.against + 1 };
        let threshold = if self.healthy { settings.unhealthy } else { settings.healthy };
        if self.against >= threshold.max(1) {
            self.healthy = success;
            self.against = 0;
        }
        self.healthy
    }
}

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

impl Upstream {
    /// Begins to check endpoints and to sweep their pools. Dropping the set ends it.
    pub fn spawn_checks(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for pool in &self.pools {
            let swept = Arc::downgrade(pool);
            tasks.spawn(async move {
                let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
                loop {
                    ticks.tick().await;
                    let Some(pool) = swept.upgrade() else { return };
                    pool.sweep();
                }
            });
            match &self.settings.health {
                Some(health) => tasks.spawn(check(Arc::downgrade(self), pool.clone(), health.clone())),
                None => tasks.spawn(look_once(Arc::downgrade(pool))),
            };
        }
        tasks
    }
}

async fn check(upstream: Weak<Upstream>, pool: Arc<Pool>, settings: HealthSettings) {
    let mut streak = Streak::new();
    // A connection of its own: a pool that is full says nothing about the service's health.
    let own =
        Pool::new(pool.endpoint().clone(), PoolSettings { in_flight: 1, idle: 1, ..pool.settings() }, Weak::new());
    let mut ticks = tokio::time::interval(settings.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A panic over what an endpoint answers is a failure of that endpoint.
        let asked = contained_in(ask(&own, &settings.path));
        let said = match tokio::time::timeout(settings.timeout, asked).await {
            Ok(Ok(said)) => said,
            Ok(Err(bug)) => Err(bug.to_string()),
            Err(_) => Err(format!("no answer within {:?}", settings.timeout)),
        };
        let why = said.as_ref().err().map(|why| format!("GET {}: {why}", settings.path));
        let Some(upstream) = upstream.upgrade() else { return };
        let healthy = streak.take(said.is_ok(), &settings);
        if pool.set_healthy(healthy, why.as_deref()) {
            tracing::info!(
                service = upstream.settings.service,
                endpoint = pool.name(),
                healthy,
                why,
                "endpoint health changed"
            );
            upstream.note_health();
        }
    }
}

/// `Err`: why it is not well.
async fn ask(pool: &Arc<Pool>, path: &str) -> Result<(), String> {
    let host = HeaderValue::from_str(&pool.name());
    let (Ok(host), Ok(mut request)) = (host, Request::builder().uri(path).body(Body::Empty)) else {
        return Err("no request can be made of it".to_owned());
    };
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("holdfast-health"));
    if pool.is_h2c() {
        super::upstream::to_h2(&mut request)?;
    }
    let response = pool.send(request, &AtomicBool::new(false)).await.map_err(|error| error.why().to_owned())?;
    let good = |response: &Response<Body>| response.status().is_success() || response.status().is_redirection();
    let (success, status) = (good(&response), response.status());
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return Err("its answer broke off".to_owned());
        }
    }
    if success { Ok(()) } else { Err(format!("it answered {}", status.as_u16())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_counted_in_a_row_and_the_first_result_counts_at_once() {
        let settings = HealthSettings {
            path: "/".into(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy: 3,
            healthy: 2,
        };
        let mut streak = Streak::new();
        for (success, healthy) in [
            (false, false),
            (true, false),
            (false, false),
            (true, false),
            (true, true),
            (false, true),
            (false, true),
            (true, true),
            (false, true),
            (false, true),
            (false, false),
        ] {
            assert_eq!(streak.take(success, &settings), healthy);
        }
        assert!(Streak::new().take(true, &settings));
    }
}
