//! The listener over a real socket, with a source of fixed answers.
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::journal::{QuarantineReason, Quarantined};
use crate::model::{Group, LogId, SiteName, WriteId};
use crate::service::{Operation, Ordered, View};

pub(crate) struct Fixed {
    state: HealthState,
    ordered: Mutex<Vec<(WriteId, Operation)>>,
}

fn id(n: u64) -> WriteId {
    WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n }
}

fn group() -> Group {
    Group { service: "tx".into(), store: String::new() }
}

fn no_service(asked: &str) -> OperateError {
    OperateError::UnknownService { asked: asked.to_owned(), known: vec!["tx".to_owned()] }
}

impl AdminSource for Fixed {
    async fn health(&self) -> Health {
        Health::new(self.state, Vec::new())
    }
    async fn state(&self) -> HealthState {
        self.state
    }
    async fn status(&self) -> Status {
        let store = StoreStatus {
            durability: "power-loss",
            free_bytes: 2,
            reserve_bytes: 1,
            journal_bytes: 4096,
            hours_left: None,
            hours_left_over_s: None,
        };
        Status {
            site: SiteName::new("edge"),
            realm: "acme".into(),
            version: "0",
            uptime_s: 1,
            health: self.health().await,
            store,
            groups: vec![GroupStatus::new(&group(), View { quarantine: 1, ..View::default() })],
            peers: Vec::new(),
        }
    }
    async fn peers(&self) -> Vec<PeerStatus> {
        Vec::new()
    }
    async fn services(&self) -> Vec<ServiceStatus> {
        Vec::new()
    }
    async fn writes(&self, query: WritesQuery) -> Result<WriteList, OperateError> {
        match query.service.as_deref() {
            None | Some("tx") => Ok(WriteList { writes: Vec::new(), more: query.limit() < 100 }),
            Some(other) => Err(no_service(other)),
        }
    }
    async fn write(&self, _: &str, _: ShowQuery) -> Option<WriteStatus> {
        None
    }
    async fn quarantine(&self, query: QuarantineQuery) -> Result<QuarantineList, OperateError> {
        query.filter(|mark| account::tests::teller(&[]).lane_of(mark)).map_err(OperateError::Rejected)?;
        let held = Quarantined::new(id(7), QuarantineReason::UnknownOutcome, "reset".into(), 0);
        let entries = vec![QuarantineEntry::new(&group(), &held, None, None)];
        Ok(QuarantineList { entries, total: 300, next: query.after.is_none().then(|| "5/x".to_owned()) })
    }
    async fn quarantined(&self, asked: &str, show: ShowQuery) -> Option<QuarantineStatus> {
        let held = Quarantined::new(id(7), QuarantineReason::UnknownOutcome, "reset".into(), 0);
        let teller = account::tests::teller(&["json:/card/*", "form:pan"]);
        let row = account::tests::row(id(7));
        let request = account::tests::request();
        let kept = Kept { group: &group(), row: &row, request: Some(&request), origin: None, bodies: show.body };
        let entry = QuarantineEntry::new(&group(), &held, Some(&row), Some(&request));
        let judged = teller.judged(entry, &held, Some(kept), &[SiteName::new("cloud")]);
        (asked == id(7).to_string()).then(|| QuarantineStatus {
            judged,
            origin_site: None,
            account: Some(teller.account(kept)),
        })
    }
    /// Two pages.
    async fn order_many(&self, query: QuarantineQuery, operation: Operation) -> Result<ManyOrdered, OperateError> {
        if operation == Operation::Applied {
            let ordered = Ordered { rejected: vec![(id(7), "not this one".to_owned())], ..Ordered::default() };
            return Ok(ManyOrdered { ordered, next: None });
        }
        let next = query.after.is_none_or(|after| after.is_empty()).then(|| "there".to_owned());
        Ok(ManyOrdered { ordered: Ordered { done: 150, ..Ordered::default() }, next })
    }
    async fn operate(&self, asked: WriteId, operation: Operation) -> Result<(), OperateError> {
        if asked != id(7) {
            return Err(OperateError::UnknownWrite(asked));
        }
        if operation == Operation::Resend {
            return Err(OperateError::Rejected("its lane has passed it".into()));
        }
        self.ordered.lock().unwrap().push((asked, operation));
        Ok(())
    }
    async fn resume(&self, service: &str, _: &str) -> Result<(), OperateError> {
        if service == "tx" { Ok(()) } else { Err(no_service(service)) }
    }
    async fn conflicts(&self) -> Vec<Conflict> {
        let (service, store) = ("tx".to_owned(), String::new());
        vec![Conflict { at_ms: 7, service, store, what: "one lane", write: id(7), with: id(8) }]
    }
    async fn seen(&self) -> Vec<Attention> {
        Vec::new()
    }
    async fn invite(&self, asked: InviteQuery) -> Result<InviteMade, OperateError> {
        match asked.site.as_str() {
            "store" => Ok(InviteMade {
                site: SiteName::new(asked.site),
                hub: SiteName::new("cloud"),
                until: "some day".to_owned(),
                trust: "07".repeat(16),
            }),
            other => Err(OperateError::Rejected(format!("site {other} is not listed in [realm] sites"))),
        }
    }
    async fn metrics(&self) -> String {
        "holdfast_journal_commits_total 3\n".to_owned()
    }
}

pub(crate) async fn start(state: HealthState, token: Option<&str>) -> (SocketAddr, Arc<Fixed>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let source = Arc::new(Fixed { state, ordered: Mutex::default() });
    tokio::spawn(serve(listener, Arc::clone(&source), token.map(str::to_owned), std::future::pending()));
    (address, source)
}

async fn ask(address: SocketAddr, request: &str, headers: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let text =
        format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer[9..12].parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn the_listener_answers_each_address() {
    let (address, source) = start(HealthState::Ready, None).await;
    let seven = id(7);
    let discard = format!("\"command\":\"holdfast quarantine discard {seven}\"");
    // request | status | part of the body
    for (request, status, part) in [
        ("GET /health/live".to_owned(), 200, "ready"),
        ("GET /health/ready".to_owned(), 200, "ready"),
        ("GET /health".to_owned(), 200, "reasons"),
        ("GET /metrics".to_owned(), 200, "holdfast_journal_commits_total 3"),
        ("GET /api/v1/status".to_owned(), 200, "\"quarantine\":1"),
        ("GET /api/v1/peers".to_owned(), 200, "[]"),
        ("GET /api/v1/services".to_owned(), 200, "[]"),
        ("GET /api/v1/conflicts".to_owned(), 200, "\"what\":\"one lane\""),
        ("GET /api/v1/seen".to_owned(), 405, "method-not-allowed"),
        ("POST /api/v1/seen".to_owned(), 200, "[]"),
        ("GET /api/v1/writes?limit=5".to_owned(), 200, "\"more\":true"),
        ("GET /api/v1/writes?limti=5".to_owned(), 400, "bad-request"),
        ("GET /api/v1/writes?service=x".to_owned(), 404, "\\\"x\\\" at this site, which has: tx"),
        ("GET /api/v1/writes/%ff".to_owned(), 400, "\"code\":\"bad-request\""),
        ("GET /api/v1/quarantine/%ff".to_owned(), 400, "\"code\":\"bad-request\""),
        ("POST /api/v1/quarantine/%ff/applied".to_owned(), 400, "\"code\":\"bad-request\""),
        ("POST /api/v1/services/%ff/resume".to_owned(), 400, "\"code\":\"bad-request\""),
        ("POST /api/v1/services/tx/resume?store=a&store=b".to_owned(), 400, "\"code\":\"bad-request\""),
        ("GET /api/v1/writes/4711".to_owned(), 404, "unknown-write"),
        ("GET /api/v1/quarantine".to_owned(), 200, "unknown-outcome"),
        (format!("GET /api/v1/quarantine/{seven}"), 200, "unknown-outcome"),
        (format!("GET /api/v1/quarantine/{seven}"), 200, "\"text\":null"),
        (format!("GET /api/v1/quarantine/{seven}"), 200, "[\"Authorization\",\"Bearer ***\"]"),
        (format!("GET /api/v1/quarantine/{seven}"), 200, &discard),
        (format!("GET /api/v1/quarantine/{seven}?body=true"), 200, "{\\\"card\\\":{\\\"no\\\":\\\"***\\\"}}"),
        (format!("GET /api/v1/quarantine/{seven}?body=1"), 400, "body=true"),
        (format!("GET /api/v1/quarantine/{seven}?bodies=true"), 400, "body=true"),
        ("GET /api/v1/writes/4711?bodies=true".to_owned(), 400, "body=true"),
        (format!("GET /api/v1/quarantine/{}", id(8)), 404, "unknown-write"),
        (format!("POST /api/v1/quarantine/{seven}/applied"), 200, "true"),
        (format!("POST /api/v1/quarantine/{seven}/resend"), 409, "its lane has passed it"),
        (format!("POST /api/v1/quarantine/{seven}/explode"), 404, "not-found"),
        (format!("GET /api/v1/quarantine/{seven}/applied"), 405, "method-not-allowed"),
        ("POST /api/v1/quarantine/x/applied".to_owned(), 404, "unknown-write"),
        ("GET /api/v1/quarantine?reason=divergence&limit=5&firsts=true".to_owned(), 200, "unknown-outcome"),
        ("GET /api/v1/quarantine?reason=boredom".to_owned(), 400, "bad-request"),
        ("GET /api/v1/quarantine?lane=7".to_owned(), 409, "is no lane"),
        ("POST /api/v1/quarantine/discard?service=tx".to_owned(), 200, "\"next\":\"there\""),
        ("POST /api/v1/quarantine/discard?all=true&limit=1".to_owned(), 200, "\"next\":\"there\""),
        ("POST /api/v1/quarantine/discard".to_owned(), 400, "at least one of service"),
        ("POST /api/v1/quarantine/discard?since_ms=0&keep_going=true".to_owned(), 400, "at least one of service"),
        ("POST /api/v1/quarantine/resend?firsts=true&all=false&limit=1".to_owned(), 400, "at least one of service"),
        ("POST /api/v1/quarantine/discard?service=tx&limit=0".to_owned(), 400, "from 1"),
        ("POST /api/v1/quarantine/discard?service=tx&limit=-1".to_owned(), 400, "from 1"),
        ("GET /api/v1/quarantine?limit=0".to_owned(), 400, "from 1"),
        ("GET /api/v1/writes?limit=0".to_owned(), 400, "from 1"),
        ("POST /api/v1/quarantine/applied?service=tx".to_owned(), 200, "not this one"),
        ("POST /api/v1/quarantine/explode?service=tx".to_owned(), 404, "not-found"),
        ("POST /api/v1/services/tx/resume".to_owned(), 200, "true"),
        ("POST /api/v1/services/ty/resume".to_owned(), 404, "unknown-service"),
        ("DELETE /api/v1/writes/4711".to_owned(), 405, "takes GET, HEAD, and not DELETE"),
        ("GET /nowhere".to_owned(), 404, "not-found"),
    ] {
        let (got, body) = ask(address, &request, "").await;
        assert_eq!(got, status, "{request}: {body}");
        assert!(body.contains(part), "{request}: {body}");
        assert!(!body.contains("4111") && !body.contains("s3cret"), "{request}: {body}");
    }
    assert_eq!(*source.ordered.lock().unwrap(), [(seven, Operation::Applied)]);
}

#[tokio::test]
async fn an_address_that_is_there_says_which_methods_it_takes() {
    let (address, _) = start(HealthState::Ready, None).await;
    // request | Allow
    for (request, allowed) in [
        ("POST /health", "GET, HEAD"),
        ("PUT /api/v1/status", "GET, HEAD"),
        ("GET /api/v1/services/tx/resume", "POST"),
        ("DELETE /api/v1/quarantine/discard", "GET, HEAD, POST"),
    ] {
        let text = format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let answer = exchange(address, &text).await;
        let allow: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("allow: ")).collect();
        assert!(answer.starts_with("HTTP/1.1 405"), "{request}: {answer}");
        assert_eq!(allow, [allowed], "{request}: {answer}");
    }
    assert!(
        exchange(address, "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 404")
    );
}

#[tokio::test]
async fn a_token_is_asked_for_and_probes_need_none() {
    let (address, _) = start(HealthState::Recovering, Some("0123456789abcdef")).await;
    let token = "Authorization: Bearer 0123456789abcdef\r\n";
    for (request, headers, status) in [
        ("GET /health/live", "", 200),
        ("GET /health/ready", "", 503),
        ("HEAD /health/live", "", 200),
        ("HEAD /health/ready", "", 503),
        ("HEAD /health", "", 401),
        ("HEAD /health", token, 503),
        ("HEAD /metrics", "", 401),
        ("POST /health/live", "", 401),
        ("GET /metrics", "", 401),
        ("GET /api/v1/status", token, 200),
        ("POST /api/v1/services/tx/resume", "", 401),
    ] {
        assert_eq!(ask(address, request, headers).await.0, status, "{request}");
    }
}

#[tokio::test]
async fn whoever_does_not_say_whom_he_asks_is_not_answered() {
    let (address, _) = start(HealthState::Ready, Some("0123456789abcdef")).await;
    // head | status
    for (head, status) in [
        ("GET /health/live HTTP/1.1\r\n", "400"),
        ("GET /health/live HTTP/1.1\r\nHost: a\r\nHost: a\r\n", "400"),
        ("GET /health/live HTTP/1.1\r\nHost: a b\r\n", "400"),
        ("GET /health/live HTTP/1.1\r\nHost: 10.0.0.1:9797\r\n", "200"),
        ("GET /health/live HTTP/1.0\r\n", "200"),
        ("GET http://a/health/live HTTP/1.1\r\nHost: a\r\n", "200"),
        ("GET http://b/health/live HTTP/1.1\r\nHost: a\r\n", "400"),
    ] {
        let answer = exchange(address, &format!("{head}Connection: close\r\n\r\n")).await;
        assert_eq!(&answer[9..12], status, "{head}");
    }
}

/// Sends, and reads to the end; a connection that is closed with bytes unread may end with a reset.
async fn exchange(address: SocketAddr, text: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn limited(limits: listen::Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let source = Arc::new(Fixed { state: HealthState::Ready, ordered: Mutex::default() });
    tokio::spawn(listen::serve(listener, router(source, Guard::new(None)), limits, std::future::pending()));
    address
}

#[tokio::test]
async fn who_says_nothing_or_half_a_head_is_left() {
    let head = std::time::Duration::from_millis(100);
    let address = limited(listen::Limits { head, ..listen::Limits::default() }).await;
    // Each ends: with nothing, or with a refusal. A head in drops has the same time as one that never comes.
    for text in ["", "GET /health/li", "GET /health/live HTTP/1.1\r\nHost: a\r\nX-A: b\r\n", "\r\n\r\n\r\n"] {
        let answer = exchange(address, text).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{text:?}: {answer}");
    }
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    // An error: it was closed, as it should.
    while stream.write_all(b"\r\n").await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let huge = format!("GET /health/live HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    // The refusal may come, and the connection go, before all is out.
    let _ = stream.write_all(huge.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn the_silent_make_room_for_who_asks() {
    let address = limited(listen::Limits { connections: 4, ..listen::Limits::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(ask(address, "GET /health/live", "").await.0, 200);
    // The oldest were closed, and no more than have to.
    for stream in &mut silent[..16] {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn a_body_has_its_bound() {
    let (address, _) = start(HealthState::Ready, None).await;
    let host = format!("Host: {address}\r\nConnection: close\r\n");
    let head = format!("POST /api/v1/services/tx/resume HTTP/1.1\r\n{host}");
    let chunk = format!("11000\r\n{}\r\n", "x".repeat(0x11000));
    // body | status
    for (body, status) in [
        ("Content-Length: 2\r\n\r\n{}".to_owned(), "200"),
        ("Content-Length: 99999999\r\n\r\n".to_owned(), "413"),
        (format!("Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"), "413"),
    ] {
        let answer = exchange(address, &format!("{head}{body}")).await;
        assert_eq!(&answer[9..12], status, "{}", &body[..40.min(body.len())]);
    }
}

#[tokio::test]
async fn a_panic_in_a_request_closes_its_connection_and_no_other() {
    let (address, _) = start(HealthState::Ready, None).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /planted-panic/admin HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    assert_eq!(stream.read_to_string(&mut answer).await.unwrap_or(0), 0, "{answer}");
    assert_eq!(crate::contain::planted::was_contained("admin"), Some(true));
    assert_eq!(ask(address, "GET /health/live", "").await.0, 200);
}
