//! Sites that record what they are told, and a line with faults.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::link::*;
use crate::model::{Group, SiteName, WriteId};
use crate::service::Message;
use crate::wire::Difference;

/// Long enough for a loaded machine; no test that passes waits for it.
pub const SOON: Duration = Duration::from_secs(60);

pub fn site(name: &str) -> SiteName {
    SiteName::new(name)
}
pub fn group() -> Group {
    Group { service: "transactions".into(), store: "store-042".into() }
}

#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a few in a test")]
pub enum Told {
    Up(SiteName, Vec<Difference>),
    Down(SiteName),
    Message(SiteName, Group, Message),
}

/// A wish, its attempt, and whether all of it has left.
type Left = (WriteId, u32, bool);

struct Recorder(mpsc::Sender<Told>, watch::Sender<Vec<Left>>);

impl Recorder {
    fn tell(&self, told: Told) -> Option<Waiting> {
        let tell = self.0.clone();
        Some(Box::pin(async move { tell.send(told).await.unwrap_or_default() }))
    }
}

impl Inbound for Recorder {
    fn message(&self, from: &SiteName, group: Group, message: Message) -> Option<Waiting> {
        if from.as_str() != "cloud" && from.as_str() != group.store {
            return None;
        }
        self.tell(Told::Message(from.clone(), group, message))
    }
    fn up(&self, peer: &SiteName, differs: &[Difference]) -> Option<Waiting> {
        self.tell(Told::Up(peer.clone(), differs.to_vec()))
    }
    fn down(&self, peer: &SiteName) -> Option<Waiting> {
        self.tell(Told::Down(peer.clone()))
    }
    fn left(&self, _: &SiteName, _: &Group, wish: WriteId, attempt: u32, whole: bool) {
        self.1.send_modify(|left| left.push((wish, attempt, whole)));
    }
    /// Stores have a part in their own group, the hub in each; all but DELETE reads, by whatever it is said.
    fn may_read(
        &self,
        from: &SiteName,
        group: &Group,
        method: &http::Method,
        headers: &http::HeaderMap,
    ) -> Result<(), NotRead> {
        if from.as_str() != "cloud" && from.as_str() != group.store {
            return Err(NotRead::Group);
        }
        let stays = crate::gateway::method_stays(headers);
        if method == http::Method::DELETE || !stays { Err(NotRead::Method) } else { Ok(()) }
    }
    /// Answers with what was asked, and with the body doubled.
    fn read(&self, from: &SiteName, group: Group, request: Request<Incoming>) -> Waiting<Response<LinkBody>> {
        let ours = |name: &&http::HeaderName| name.as_str().starts_with("holdfast") || name.as_str().starts_with("x-e");
        let ours: Vec<&str> = request.headers().keys().filter(ours).map(|name| name.as_str()).collect();
        let ours = ours.join(" ");
        let line = format!("{} {} from {from} for {group}: ", request.method(), request.uri());
        Box::pin(async move {
            if request.method() == http::Method::HEAD {
                let headed = Response::builder().header("content-length", "1234");
                return headed.body(super::super::body::empty()).unwrap();
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let answer = [line.as_bytes(), &body, &body].concat();
            Response::builder()
                .status(203)
                .header("x-answered", "yes")
                .header("x-said-in-our-name", ours)
                .body(super::super::body::full(answer.into()))
                .unwrap()
        })
    }
}

pub struct Site {
    pub links: Links,
    told: mpsc::Receiver<Told>,
    left: watch::Receiver<Vec<Left>>,
}

impl Site {
    pub async fn told(&mut self) -> Told {
        timeout(SOON, self.told.recv()).await.expect("nothing was told").expect("the site lives")
    }
    pub async fn up(&mut self, peer: &str) {
        assert_eq!(self.told().await, Told::Up(site(peer), vec![]));
    }
    pub async fn down(&mut self, peer: &str) {
        assert_eq!(self.told().await, Told::Down(site(peer)));
    }
    pub async fn message(&mut self) -> Message {
        match self.told().await {
            Told::Message(_, _, message) => message,
            other => panic!("expected a message, told {other:?}: {:?}", self.links.state()),
        }
    }
    /// Waits until so many wishes have left, and which.
    pub async fn left(&self, count: usize) -> Vec<Left> {
        let mut left = self.left.clone();
        let enough = timeout(SOON, left.wait_for(|left| left.len() >= count)).await;
        enough.expect("no wish has left").expect("the site lives").clone()
    }
    pub async fn silent_for(&mut self, wait: Duration) {
        let told = timeout(wait, self.told.recv()).await;
        assert!(told.is_err(), "told {told:?}");
    }
    pub fn send(&self, to: &str, message: Message) -> Sent {
        self.links.send(&site(to), &group(), message)
    }
    pub fn state(&self, peer: &str) -> LinkState {
        self.links.state().into_iter().find(|state| state.site.as_str() == peer).unwrap()
    }
    pub fn url(&self) -> String {
        format!("http://{}", self.links.local_addr().unwrap())
    }
    /// Waits until the last error at this site says so.
    pub async fn fails_with(&self, peer: &str, expected: &str) {
        let failed = || self.state(peer).last_error.is_some_and(|error| error.contains(expected));
        until(failed, || format!("expected {expected:?}, state is {:?}", self.state(peer))).await;
    }
}

/// Waits for what no event tells.
pub async fn until(condition: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(SOON, holds).await.is_ok(), "{}", otherwise());
}

pub fn settings(me: &str) -> LinkSettings {
    let keys = BTreeMap::from([("lane".to_owned(), "path".to_owned()), ("methods".to_owned(), "POST".to_owned())]);
    let sites = ["cloud", "store-042"].map(SiteName::new).to_vec();
    LinkSettings {
        me: site(me),
        realm: "acme".into(),
        boot: [me.len() as u8; 16],
        store: [me.len() as u8; 16],
        services: vec![SharedService { name: "transactions".into(), sites: sites.clone(), keys }],
        sites,
        dial: vec![],
        listen: None,
        tls: None,
        renewals: None,
        joins: None,
        limits: Limits {
            redial_first: Duration::from_millis(20),
            redial_max: Duration::from_millis(200),
            redial_refused: Duration::from_millis(500),
            connect: Duration::from_secs(5),
            ..Limits::default()
        },
    }
}

pub fn hub() -> LinkSettings {
    LinkSettings { listen: Some(([127, 0, 0, 1], 0).into()), ..settings("cloud") }
}
pub fn edge(url: String) -> LinkSettings {
    LinkSettings { dial: vec![Dial { site: site("cloud"), url }], ..settings("store-042") }
}

pub async fn start(settings: LinkSettings) -> Site {
    start_with_room(settings, 10_000).await
}

/// A site that takes only so many messages before somebody looks at them.
pub async fn start_with_room(settings: LinkSettings, room: usize) -> Site {
    let (tell, told) = mpsc::channel(room);
    let leaving = watch::Sender::new(Vec::new());
    let left = leaving.subscribe();
    Site { links: Links::start(settings, Arc::new(Recorder(tell, leaving))).await.unwrap(), told, left }
}

/// A hub and an edge that is linked to it.
pub async fn linked() -> (Site, Site) {
    let mut cloud = start(hub()).await;
    let mut store = start(edge(cloud.url())).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    (cloud, store)
}

#[derive(Clone, Copy, PartialEq)]
pub enum Line {
    Open,
    /// Bytes are swallowed, connections stay.
    Silent,
    /// Only what the dialling side says is swallowed.
    SilentThere,
    /// Only what the accepting side says is swallowed.
    SilentBack,
    /// Connections are cut, new ones too.
    Cut,
}

/// Forwards TCP with faults.
pub struct Relay {
    pub address: SocketAddr,
    pub line: watch::Sender<Line>,
    pub connections: Arc<AtomicU64>,
    /// Carried so far, both directions together.
    pub bytes: Arc<AtomicU64>,
    pub target: watch::Sender<Option<SocketAddr>>,
}

impl Relay {
    /// `bytes_per_second` in each direction; 0 is as fast as it goes.
    pub async fn to(target: SocketAddr, bytes_per_second: usize) -> Self {
        let relay = Self::to_nobody(bytes_per_second).await;
        relay.target.send_replace(Some(target));
        relay
    }
    /// Cuts connections until it has a target.
    pub async fn to_nobody(bytes_per_second: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = watch::Sender::new(Line::Open);
        let (connections, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let target = watch::Sender::new(None);
        let (lines, count, targets) = (line.clone(), connections.clone(), target.clone());
        let pace = Pace { bytes_per_second, carried: bytes.clone() };
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let target = *targets.borrow();
                let (false, Some(target)) = (*lines.borrow() == Line::Cut, target) else { continue };
                count.fetch_add(1, Relaxed);
                let socket = TcpSocket::new_v4().unwrap();
                if bytes_per_second > 0 {
                    // What a kernel would buffer here no slow line would.
                    socket.set_recv_buffer_size(16 << 10).unwrap();
                }
                let Ok(far) = socket.connect(target).await else { continue };
                tokio::spawn(forward(near, far, lines.subscribe(), pace.clone()));
            }
        });
        Self { address, line, connections, bytes, target }
    }
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[derive(Clone)]
struct Pace {
    bytes_per_second: usize,
    carried: Arc<AtomicU64>,
}

async fn forward(near: TcpStream, far: TcpStream, mut line: watch::Receiver<Line>, pace: Pace) {
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let lines = line.clone();
    let there = pump(&mut near_in, &mut far_out, lines.clone(), Line::SilentThere, &pace);
    let back = pump(&mut far_in, &mut near_out, lines, Line::SilentBack, &pace);
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = line.wait_for(|line| *line == Line::Cut) => {}
    }
}

async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut line: watch::Receiver<Line>,
    one_way: Line,
    Pace { bytes_per_second, carried }: &Pace,
) {
    let silent = |line: &Line| *line == Line::Silent || *line == one_way;
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if silent(&line.borrow()) {
            continue;
        }
        if *bytes_per_second > 0 {
            tokio::time::sleep(Duration::from_secs_f64(read as f64 / *bytes_per_second as f64)).await;
        }
        carried.fetch_add(read as u64, Relaxed);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // A line that swallows everything swallows the end too.
    let _ = line.wait_for(|line| !silent(line)).await;
    let _ = to.shutdown().await;
}
