//! The only place that wires modules together: from a configuration to a running appliance, and to its end.
//!
//! Start: addresses, journal (recovers), groups, gateway, admin, control plane, links; `READY` when all of it stands,
//! whoever else is away (G8). What is missing and may come is waited for ([`patience`]). Nothing is said to another
//! site before all that can fail has not. End: the first signal stops listening and lets requests in flight finish,
//! then what services are at for other sites, both within `drain`; a second one ends the process at once. A failed
//! journal ends it with exit code 74: recovery is the normal start path.
mod attention;
mod conflicts;
mod forecast;
mod groups;
mod inbound;
mod invite;
mod lasting;
mod listeners;
mod memory;
mod numbers;
mod order;
mod orphans;
mod outside;
mod page;
mod patience;
mod recent;
mod renewal;
mod resolve;
mod source;
mod status;
mod tokens;
mod vitals;
mod wall_clock;

pub use memory::give_memory_back;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::admin;
use crate::cli::Exit;
use crate::config::Config;
use crate::control::{Control, ControlError};
use crate::descriptors;
use crate::gateway::{Gateway, GatewayError, Neighbours};
use crate::identity::{AuthorityError, Credentials, IdentityError};
use crate::journal::{self, Journal};
use crate::link::{Links, StartError};
use crate::service::Clock;
use crate::telemetry::{self, Metrics, Notifier, Notify};
use groups::Registry;
use listeners::{HeldAddresses, Listeners};
use patience::Patience;
use source::Source;

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("open the journal in {dir}")]
    Journal { dir: String, source: Box<journal::Error> },
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("start links")]
    Links(#[from] StartError),
    #[error("the identity of this site")]
    Identity(#[source] IdentityError),
    #[error("identity.renewals")]
    Renewals(#[source] AuthorityError),
    #[error("start the control plane")]
    Control(#[from] ControlError),
    #[error("{0}")]
    Setting(String),
    #[error("cannot listen on {address} ({key}): {source}{}", listeners::hint(source))]
    Listen { key: &'static str, address: std::net::SocketAddr, source: std::io::Error },
    #[error("cannot read {path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("start threads")]
    Runtime(#[source] std::io::Error),
    #[error("the journal failed: {0}")]
    Failed(String),
}

impl AppError {
    pub fn exit(&self) -> Exit {
        match self {
            _ if self.may_pass() => Exit::TryAgain,
            AppError::Journal { .. } | AppError::Failed(_) => Exit::Disk,
            AppError::Identity(_)
            | AppError::Renewals(_)
            | AppError::Gateway(_)
            | AppError::Links(_)
            | AppError::Control(_)
            | AppError::Setting(_) => Exit::Config,
            // The file may be right, and the machine not.
            AppError::Listen { .. } | AppError::File { .. } => Exit::TryAgain,
            AppError::Runtime(_) => Exit::Internal,
        }
    }

    /// Another moment may give what is missing, without anything being changed here.
    fn may_pass(&self) -> bool {
        match self {
            AppError::Listen { source, .. } | AppError::Control(ControlError::Listen { source, .. }) => {
                listeners::may_pass(source)
            }
            AppError::Journal { source, .. } => source.may_pass(),
            AppError::Identity(error) => error.may_pass(),
            AppError::Renewals(error) => error.may_pass(),
            AppError::File { .. } => true,
            _ => false,
        }
    }
}

/// A small site's clients, and work for each of them.
const DESCRIPTORS_FEW: u64 = 1_024;
/// What services get at an end to answer what they are at, even where clients took all of `drain`.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Runs the appliance until a signal or a failure.
pub fn run(config: Config) -> Result<(), AppError> {
    telemetry::init(config.log_format, &config.log_filter).map_err(|error| AppError::Setting(error.to_string()))?;
    abort_on_panic();
    match descriptors::raise() {
        Ok(limit) if limit < DESCRIPTORS_FEW => {
            tracing::warn!(limit, "few descriptors (RLIMIT_NOFILE): few connections can be taken");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of descriptors cannot be read; none are kept for work"),
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.threads > 0 {
        runtime.worker_threads(config.threads);
    }
    let runtime = runtime.enable_all().build().map_err(AppError::Runtime)?;
    let result = runtime.block_on(serve(config));
    // Whatever still runs holds nothing that counts: the journal is closed.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

/// A panic in a decision is a state nobody has thought of: end, and recover. What only carries is contained
/// ([`crate::contain`]): it says so itself.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(move |info| {
        telemetry::say_panic(info);
        if crate::contain::is_contained() {
            return;
        }
        // zenoh's own tasks end in its own runtime. They carry hints, and hints may be lost.
        if crate::control::is_of_zenoh(std::thread::current().name()) {
            return crate::contain::note();
        }
        telemetry::last_words();
        std::process::abort();
    }));
}

async fn open(config: &Config) -> Result<Journal, AppError> {
    let options = resolve::journal(config);
    let opened = tokio::task::spawn_blocking(move || Journal::open(&options)).await;
    let dir = config.data_dir.display().to_string();
    opened
        .expect("opening panics only with the process")
        .map_err(|source| AppError::Journal { dir, source: Box::new(source) })
}

/// Opens a site's journal for `holdfast journal`; the site must not be running.
pub fn open_journal(config: &Config) -> Result<Journal, AppError> {
    let dir = config.data_dir.display().to_string();
    Journal::open_existing(&resolve::journal(config))
        .map_err(|source| AppError::Journal { dir, source: Box::new(source) })
}

async fn serve(config: Config) -> Result<(), AppError> {
    let config = Arc::new(config);
    let metrics = Arc::new(Metrics::new(config.services.iter().map(|s| s.name.as_str())));
    let notifier = Notifier::from_env().unwrap_or_else(|error| {
        tracing::warn!(%error, "NOTIFY_SOCKET cannot be used");
        None
    });
    let patience = Patience::new(config.start_within, &notifier);
    let held = patience.with(async || HeldAddresses::take(&config)).await?;
    patience.with(async || patience::files_are_there(&config)).await?;
    let credentials = resolve::credentials(&config)?;
    let control = resolve::control(&config, credentials.clone())?;
    patience.with(async || Ok(control.check()?)).await?;
    let journal = patience.with(|| open(&config)).await?;
    let clock = Clock::new(journal.clone());
    let upstreams = resolve::upstreams(&config, &metrics)?;
    let registry = Arc::new(Registry::recover(&config, &journal, &clock, &upstreams, &metrics)?);
    let (state, ready) = watch::channel(admin::HealthState::Recovering);
    let source = Arc::new(Source::new(
        config.clone(),
        journal.clone(),
        registry.clone(),
        upstreams.clone(),
        metrics.clone(),
        ready,
    )?);
    let neighbours = Neighbours { tokens: source.clone(), status: source.clone(), peers: Some(registry.clone()) };
    let services = resolve::services(&config, &registry, &upstreams)?;
    let Listeners { gateway, admin, link } = held.listen()?;
    let gateway = Gateway::on(gateway, resolve::gateway(&config, &metrics)?, services, neighbours)?;
    let admin_address = admin.local_addr().unwrap_or(config.admin.listen);
    let control = Control::start(control, registry.clone())?;
    let joins = resolve::joins(&config)?;
    let signs = joins.as_ref().map(|joins| joins.renewals.clone());
    if let Some(joins) = &joins {
        let _ = registry.lines.joins.set(joins.clone());
    }
    let links = Links::start_on(
        link,
        resolve::links(&config, &registry, journal.log().store, credentials.clone(), joins)?,
        registry.clone(),
    )?;
    registry.connect(links.clone(), control.clone());
    if let Some(credentials) = &credentials {
        let _ = registry.lines.credentials.set(credentials.clone());
        tokio::spawn(credentials.clone().watch());
        if config.identity.as_ref().is_some_and(|identity| identity.renew) {
            let hubs = config.peers.iter().filter(|peer| peer.link.is_some()).map(|peer| peer.site.clone()).collect();
            tokio::spawn(renewal::keep_renewed(credentials.clone(), signs, links.clone(), hubs));
        }
    }
    tokio::spawn(hang_ups(credentials));
    let ends = resolve::ends(&config);
    let _ = registry.lines.ends.set(ends.clone());
    tokio::spawn(ends.watch());
    tokio::spawn(source.vitals.clone().watch(journal.clone()));
    let _checks: Vec<_> = upstreams.values().map(|upstream| upstream.spawn_checks()).collect();

    let (stop, stopping) = watch::channel(false);
    let until = |mut stopping: watch::Receiver<bool>| async move {
        // An error means that the sender is gone: stop too.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let admin = tokio::spawn(admin::serve(admin, source, config.admin.token.clone(), until(stopping.clone())));
    for listening in gateway.addresses() {
        tracing::info!(address = %listening, "gateway listens");
    }
    if let Some(listening) = links.local_addr() {
        tracing::info!(address = %listening, "links listen");
    }
    tracing::info!(
        site = %config.site, admin = %admin_address, version = env!("CARGO_PKG_VERSION"), log = %journal.log(),
        "ready"
    );
    state.send_replace(admin::HealthState::Ready);
    say(&notifier, Notify::Ready);

    let mut fatal = journal.fatal();
    let serving = tokio::spawn(gateway.run(until(stopping)));
    let watchdog = notifier.as_ref().and_then(Notifier::watchdog);
    let failed = tokio::select! {
        failed = fatal.wait_for(Option::is_some) => failed.ok().and_then(|f| f.as_ref().map(ToString::to_string)),
        () = signalled() => None,
        () = beat(&notifier, watchdog) => None,
    };
    say(&notifier, Notify::Stopping);
    if let Some(why) = failed {
        state.send_replace(admin::HealthState::Failed);
        tracing::error!(%why, "the journal has failed; nothing more is taken");
        stop.send_replace(true);
        // Whoever waits for the service hears what it says; other sites go on without this one at once.
        let ending = async {
            links.stop().await;
            let _ = serving.await;
        };
        tokio::select! {
            _ = tokio::time::timeout(config.drain, ending) => {}
            () = signalled() => {}
        }
        return Err(AppError::Failed(why));
    }
    tracing::info!(drain_s = config.drain.as_secs(), "stops; a second signal ends at once");
    state.send_replace(admin::HealthState::Draining);
    let over = tokio::time::Instant::now() + config.drain;
    stop.send_replace(true);
    let ending = async {
        if !serving.await.unwrap_or(false) {
            tracing::warn!(
                "requests were still in flight when the time to drain was over; what counts is in the journal"
            );
        }
        // Clients are served, but a service may be at writes of other sites, and of clients that left.
        let over = over.max(tokio::time::Instant::now() + LAST_ANSWERS);
        if tokio::time::timeout_at(over, registry.rest()).await.is_err() {
            tracing::warn!(
                "services had not answered everything when the time to drain was over: of these writes the next start \
                 must find out what became of them"
            );
        }
    };
    tokio::select! {
        () = ending => {}
        () = signalled() => {}
    }
    admin.abort();
    links.stop().await;
    let ending = journal.clone();
    // Blocks until what was handed over is written.
    let _ = tokio::task::spawn_blocking(move || {
        control.stop();
        ending.close();
    })
    .await;
    Ok(())
}

fn say(notifier: &Option<Notifier>, what: Notify<'_>) {
    if let Some(notifier) = notifier
        && let Err(error) = notifier.say(what)
    {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// SIGHUP: there are new certificate files. Without an identity it is nothing, and never the end of the process.
async fn hang_ups(credentials: Option<Arc<Credentials>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
        return tracing::warn!("SIGHUP cannot be waited for; new certificates are found all the same");
    };
    while hang_up.recv().await.is_some() {
        match &credentials {
            Some(credentials) => credentials.look_now(),
            None => tracing::info!("SIGHUP: this site has no [identity] whose files could be read again"),
        }
    }
}

/// SIGTERM or SIGINT.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::warn!("signals cannot be waited for; only SIGKILL ends this process");
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
}

/// Tells the watchdog that the runtime still turns, for ever.
async fn beat(notifier: &Option<Notifier>, period: Option<Duration>) {
    let Some(period) = period else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(period / 3);
    loop {
        ticks.tick().await;
        say(notifier, Notify::Watchdog);
    }
}
