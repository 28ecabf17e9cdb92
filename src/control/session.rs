//! Zenoh. Everything that may block (open, close, declare, reply) runs on threads of its own; everything that zenoh
//! calls only fills the bounded inbox.
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zenoh::config::WhatAmI;
use zenoh::liveliness::LivelinessToken;
use zenoh::qos::{CongestionControl, Priority};
use zenoh::query::{ConsolidationMode, Query, QueryTarget, Reply as Answered};
use zenoh::sample::{Locality, Sample, SampleKind};
use zenoh::session::TransportEvent;
use zenoh::{Session, Wait};

use super::doors::Doors;
use super::event::Input;
use super::inbox::{Inbound, Inbox};
use super::names::{Keys, Topic};
use super::settings::{ControlSettings, Hear, Role};
use super::status::{Counters, Shown};
use super::watch::Reopen;
use super::worker::Carrier;
use super::zenoh_config;
use crate::contain::contain;
use crate::model::SiteName;
use crate::telemetry;

/// Between two attempts to open a session: the first pause, and the longest. Both spread by half, up and down.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// Questions that are being answered. The rest ask again.
const ANSWERS: usize = 8;
/// A question that nobody answers is asked again at the next digest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

type Slot = Arc<Mutex<Option<Opened>>>;
/// A question, and what is said to it: keys and payloads.
type Question = (Query, Vec<(String, Vec<u8>)>);
type Answers = SyncSender<Question>;

/// An open session with this node's liveliness token.
struct Opened {
    session: Session,
    _token: LivelinessToken,
}

/// What opening a session takes.
pub(super) struct Opener {
    settings: Arc<ControlSettings>,
    doors: Option<Doors>,
    keys: Keys,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    shown: Arc<Shown>,
}

enum Command {
    Reopen,
    /// Close, and let go of the sender: somebody waits for that.
    Stop(#[allow(dead_code)] SyncSender<()>),
}

/// The carrier of a real node. Lives on the control thread.
pub(super) struct Zenoh {
    session: Slot,
    commands: SyncSender<Command>,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    alive: Option<SyncSender<()>>,
}

impl Zenoh {
    /// Starts the keeper, which opens sessions for ever, and the answering thread.
    pub fn start(opener: Opener, alive: SyncSender<()>) -> io::Result<Self> {
        let session = Slot::default();
        let (commands, orders) = sync_channel(2);
        let (answers, questions) = sync_channel(ANSWERS);
        let (inbox, counters) = (opener.inbox.clone(), opener.counters.clone());
        std::thread::Builder::new().name("control-answers".to_owned()).spawn(move || answer(&questions))?;
        let keeper = Keeper { opener, slot: session.clone(), answers, generation: 0 };
        std::thread::Builder::new().name("control-session".to_owned()).spawn(move || keeper.run(&orders))?;
        Ok(Self { session, commands, inbox, counters, alive: Some(alive) })
    }

    fn session(&self) -> Option<Session> {
        self.session.lock().expect("nothing panics while it is held").as_ref().map(|opened| opened.session.clone())
    }

    /// Says farewell on the keeper's thread.
    pub fn close(&mut self) {
        if let Some(alive) = self.alive.take().filter(|_| self.session().is_some()) {
            // Full only with a reopening under way: there is nobody to say farewell to.
            let _ = self.commands.try_send(Command::Stop(alive));
        }
    }
}

impl Carrier for Zenoh {
    fn put(&mut self, key: String, payload: Vec<u8>) {
        let Some(session) = self.session() else { return };
        // Ok says nothing about delivery; an error means that the session is closing.
        let put = session.put(key, payload).congestion_control(CongestionControl::Drop).priority(Priority::DataHigh);
        let _ = put.allowed_destination(Locality::Remote).wait();
    }

    fn ask(&mut self, key: String, payload: Vec<u8>) {
        let Some(session) = self.session() else { return };
        let (inbox, counters) = (self.inbox.clone(), self.counters.clone());
        let question = session.get(key).payload(payload).target(QueryTarget::All);
        let question = question.consolidation(ConsolidationMode::None).allowed_destination(Locality::Remote);
        let question = question.congestion_control(CongestionControl::Drop).priority(Priority::DataLow);
        let asked = question.timeout(ANSWER_TIMEOUT).callback(move |answer: Answered| {
            // No answer and a timeout are alike: the next digest asks again.
            if let Ok(sample) = answer.into_result() {
                inbox.inbound(Inbound::Input(input_of(&sample)), &counters);
            }
        });
        let _ = asked.wait();
    }

    fn reopen(&mut self, why: Reopen) {
        tracing::warn!(?why, "control: the session carries nothing, a new one is opened");
        // Full: a reopening is under way already.
        let _ = self.commands.try_send(Command::Reopen);
    }
}

fn input_of(sample: &Sample) -> Input {
    Input::Sample { key: sample.key_expr().as_str().to_owned(), payload: sample.payload().to_bytes().into_owned() }
}

/// Replies may block for seconds when a line is full, so they have a thread of their own.
fn answer(questions: &Receiver<Question>) {
    while let Ok((query, answers)) = questions.recv() {
        let reply = || {
            for (key, payload) in answers {
                // With the question's own priority and congestion control.
                let _ = query.reply(key, payload).wait();
            }
        };
        // Who asked asks again.
        let _ = contain(reply);
    }
}

/// Owns the life of sessions: open, wait for an order, close, again.
struct Keeper {
    opener: Opener,
    slot: Slot,
    answers: Answers,
    generation: u64,
}

impl Keeper {
    fn run(mut self, orders: &Receiver<Command>) {
        while self.open() {
            let order = orders.recv();
            let opened = self.slot.lock().expect("nothing panics while it is held").take();
            let change = Input::Session { generation: self.generation, open: false };
            self.opener.inbox.inbound(Inbound::Input(change), &self.opener.counters);
            if let Some(Err(error)) = opened.map(|opened| opened.session.close().wait()) {
                tracing::debug!(%error, "control: a session did not close in order");
            }
            if !matches!(order, Ok(Command::Reopen)) {
                break;
            }
        }
        if let Some(doors) = &self.opener.doors {
            doors.drain();
        }
        self.opener.shown.set_session(Vec::new(), None);
    }

    /// Tries until it succeeds; false when the control plane stops.
    fn open(&mut self) -> bool {
        let (mut pause, mut tries) = (PAUSE_FIRST, 0_u64);
        while !self.opener.inbox.stopped() {
            self.generation += 1;
            tries += 1;
            let opened = contain(|| self.opener.open(self.generation, &self.slot, &self.answers));
            match opened.unwrap_or_else(|bug| Err(bug.into())) {
                Ok(session) => {
                    let locators = session.info().locators().wait().into_iter().map(|locator| locator.to_string());
                    let outside = self.opener.doors.iter().flat_map(|doors| doors.through.outside.clone());
                    self.opener.shown.set_session(outside.chain(locators).collect(), None);
                    if tries > 1 {
                        tracing::info!(tries, "control: a session is open again");
                    } else {
                        tracing::info!("control: a session is open");
                    }
                    return true;
                }
                Err(error) => {
                    let error = error.to_string();
                    let error = without_places(&telemetry::without_build_folders(&error));
                    // The doors know why a hub is not reached, and have said it.
                    let told = self.opener.doors.as_ref().and_then(Doors::trouble);
                    let is_told = told.is_some();
                    self.opener.shown.set_session(Vec::new(), Some(told.unwrap_or_else(|| error.clone())));
                    if tries == 1 && !is_told {
                        let whom = self.opener.settings.role.dialled();
                        tracing::warn!(
                            "control: {whom} cannot be reached, tried again quietly (hints are lost meanwhile, nothing \
                             else): {error}"
                        );
                    } else {
                        tracing::debug!(tries, "control: no session: {error}");
                    }
                }
            }
            if self.opener.inbox.pause(pause.mul_f64(0.5 + fastrand::f64())) {
                break;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        false
    }
}

/// Where in zenoh's source an error was made tells an operator nothing: ` at zenoh-1.10.2/src/net/mod.rs:500.`
fn without_places(error: &str) -> String {
    let is_place = |word: &str| {
        let (path, line) = word.trim_end_matches('.').rsplit_once(':').unwrap_or_default();
        path.ends_with(".rs") && !line.is_empty() && line.bytes().all(|digit| digit.is_ascii_digit())
    };
    let mut words: Vec<&str> = Vec::new();
    for word in error.split(' ') {
        if is_place(word) && words.last() == Some(&"at") {
            words.pop();
        } else {
            words.push(word);
        }
    }
    words.join(" ").trim_end().to_owned()
}

impl Opener {
    pub fn new(
        settings: Arc<ControlSettings>,
        doors: Option<Doors>,
        inbox: Arc<Inbox>,
        counters: Arc<Counters>,
        shown: Arc<Shown>,
    ) -> Self {
        Self { keys: Keys::new(&settings.realm), settings, doors, inbox, counters, shown }
    }

    /// Opens one session and declares what this node says and hears.
    fn open(&self, generation: u64, slot: &Slot, answers: &Answers) -> zenoh::Result<Session> {
        let mut config = zenoh::Config::default();
        let through = self.doors.as_ref().map(|doors| &doors.through);
        for (key, value) in zenoh_config::config(&self.settings, through, fastrand::f64()) {
            config.insert_json5(key, &value.to_string())?;
        }
        let session = zenoh::open(config).wait()?;
        self.push(Input::Session { generation, open: true });
        match self.declare(&session, generation, answers) {
            Ok(_token) => {
                let opened = Opened { session: session.clone(), _token };
                *slot.lock().expect("nothing panics while it is held") = Some(opened);
                Ok(session)
            }
            Err(error) => {
                self.push(Input::Session { generation, open: false });
                let _ = session.close().wait();
                Err(error)
            }
        }
    }

    fn push(&self, input: Input) {
        self.inbox.inbound(Inbound::Input(input), &self.counters);
    }

    fn declare(&self, session: &Session, generation: u64, answers: &Answers) -> zenoh::Result<LivelinessToken> {
        for key in self.heard_keys() {
            let (inbox, counters) = (self.inbox.clone(), self.counters.clone());
            let hear = move |sample: Sample| inbox.inbound(Inbound::Input(input_of(&sample)), &counters);
            let subscriber = session.declare_subscriber(key).allowed_origin(Locality::Remote);
            subscriber.callback(hear).background().wait()?;
        }
        self.declare_answers(session, answers)?;
        for site in self.heard_sites() {
            let (inbox, counters) = (self.inbox.clone(), self.counters.clone());
            let told = move |sample: Sample| {
                let (key, up) = (sample.key_expr().as_str().to_owned(), sample.kind() == SampleKind::Put);
                inbox.inbound(Inbound::Input(Input::Token { generation, key, up }), &counters);
            };
            let key = self.keys.all(Topic::Alive, site);
            session.liveliness().declare_subscriber(key).history(true).callback(told).background().wait()?;
        }
        let ControlSettings { me, node, boot, .. } = &*self.settings;
        let token = session.liveliness().declare_token(self.keys.alive(me, node, *boot)).wait()?;
        let (inbox, counters) = (self.inbox.clone(), self.counters.clone());
        let connected = move |event: TransportEvent| {
            if event.transport().whatami() == WhatAmI::Router {
                let up = event.kind() == SampleKind::Put;
                inbox.inbound(Inbound::Input(Input::Hub { generation, up }), &counters);
            }
        };
        session.info().transport_events_listener().history(true).callback(connected).background().wait()?;
        Ok(token)
    }

    /// Answers questions about this site's fingerprints.
    fn declare_answers(&self, session: &Session, answers: &Answers) -> zenoh::Result<()> {
        let (inbox, counters, answers) = (self.inbox.clone(), self.counters.clone(), answers.clone());
        let asked = move |query: Query| {
            let payload = query.payload().map(|payload| payload.to_bytes().into_owned()).unwrap_or_default();
            let answers = answers.clone();
            let reply = Box::new(move |found: Vec<(String, Vec<u8>)>| match answers.try_send((query, found)) {
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            });
            inbox.inbound(Inbound::Question { payload, reply }, &counters);
        };
        let key = self.keys.all(Topic::Digest, Some(&self.settings.me));
        session.declare_queryable(key).allowed_origin(Locality::Remote).callback(asked).background().wait()
    }

    fn heard_sites(&self) -> Vec<Option<&SiteName>> {
        match (&self.settings.hear, &self.settings.role) {
            (Hear::Only(sites), Role::Edge { .. }) => sites.iter().map(Some).collect(),
            _ => vec![None],
        }
    }

    fn heard_keys(&self) -> Vec<String> {
        let topics = [Topic::Fingerprints, Topic::Head, Topic::Cursor, Topic::Health, Topic::Digest];
        let each = |site| topics.map(|topic| self.keys.all(topic, site));
        let mut keys: Vec<String> = self.heard_sites().into_iter().flat_map(each).collect();
        keys.push(self.keys.echo(None, &self.settings.me, &self.settings.node));
        if matches!(self.settings.role, Role::Hub { .. }) {
            keys.push(self.keys.all(Topic::Beat, None));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::without_places;

    #[test]
    fn where_an_error_was_made_is_left_out() {
        for (error, said) in [
            (
                "Unable to connect to any of [tls/a:1]! at zenoh-1.10.2/src/net/runtime/orchestrator.rs:500.",
                "Unable to connect to any of [tls/a:1]!",
            ),
            ("refused at a.rs:1. - Caused by closed at b-1.2/src/b.rs:22.", "refused - Caused by closed"),
            ("nobody at home.rs: none", "nobody at home.rs: none"),
        ] {
            assert_eq!(without_places(error), said);
        }
    }
}
