//! The listener over a real socket, with a source of fixed answers.
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::journal::{QuarantineReason, Quarantined};
use crate::model::{Group, LogId, SiteName, WriteId};
use crate::service::{Operation, View};

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

impl AdminSource for Fixed {
    async fn health(&self) -> Health {
        Health { state: self.state, reasons: Vec::new() }
    }
    async fn status(&self) -> Status {
        let store = StoreStatus {
            durability: "power-loss",
            free_bytes: 2,
            reserve_bytes: 1,
            journal_bytes: 4096,
            hours_left: None,
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
    async fn writes(&self, query: WritesQuery) -> Result<WriteList, String> {
        match query.service.as_deref() {
            None | Some("tx") => Ok(WriteList { writes: Vec::new(), more: query.limit() < 100 }),
            Some(other) => Err(format!("there is no service {other:?}")),
        }
    }
    async fn write(&self, _: &str) -> Option<WriteStatus> {
        None
    }
    async fn quarantine(&self) -> Vec<QuarantineEntry> {
        let reason = QuarantineReason::UnknownOutcome;
        let held = Quarantined::new(id(7), reason, "reset".into(), 0);
        vec![QuarantineEntry::new(&group(), &held, None, None)]
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
        if service == "tx" { Ok(()) } else { Err(OperateError::UnknownService(service.to_owned())) }
    }
    fn metrics(&self) -> String {
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
    // request | status | part of the body
    for (request, status, part) in [
        ("GET /health/live".to_owned(), 200, "ready"),
        ("GET /health/ready".to_owned(), 200, "ready"),
        ("GET /health".to_owned(), 200, "reasons"),
        ("GET /metrics".to_owned(), 200, "holdfast_journal_commits_total 3"),
        ("GET /metrics".to_owned(), 200, "holdfast_quarantine_writes{service=\"tx\",store=\"\"} 1"),
        ("GET /api/v1/status".to_owned(), 200, "\"quarantine\":1"),
        ("GET /api/v1/peers".to_owned(), 200, "[]"),
        ("GET /api/v1/services".to_owned(), 200, "[]"),
        ("GET /api/v1/writes?limit=5".to_owned(), 200, "\"more\":true"),
        ("GET /api/v1/writes?limti=5".to_owned(), 400, "bad-request"),
        ("GET /api/v1/writes?service=x".to_owned(), 409, "there is no service"),
        ("GET /api/v1/writes/4711".to_owned(), 404, "unknown-write"),
        ("GET /api/v1/quarantine".to_owned(), 200, "unknown-outcome"),
        (format!("GET /api/v1/quarantine/{seven}"), 200, "unknown-outcome"),
        (format!("GET /api/v1/quarantine/{}", id(8)), 404, "unknown-write"),
        (format!("POST /api/v1/quarantine/{seven}/applied"), 200, "true"),
        (format!("POST /api/v1/quarantine/{seven}/resend"), 409, "its lane has passed it"),
        (format!("POST /api/v1/quarantine/{seven}/explode"), 404, "not-found"),
        (format!("GET /api/v1/quarantine/{seven}/applied"), 404, "not-found"),
        ("POST /api/v1/quarantine/x/applied".to_owned(), 404, "unknown-write"),
        ("POST /api/v1/services/tx/resume".to_owned(), 200, "true"),
        ("POST /api/v1/services/ty/resume".to_owned(), 404, "unknown-write"),
        ("GET /nowhere".to_owned(), 404, "not-found"),
    ] {
        let (got, body) = ask(address, &request, "").await;
        assert_eq!(got, status, "{request}: {body}");
        assert!(body.contains(part), "{request}: {body}");
    }
    assert_eq!(*source.ordered.lock().unwrap(), [(seven, Operation::Applied)]);
}

#[tokio::test]
async fn a_token_is_asked_for_and_probes_need_none() {
    let (address, _) = start(HealthState::Recovering, Some("0123456789abcdef")).await;
    let token = "Authorization: Bearer 0123456789abcdef\r\n";
    for (request, headers, status) in [
        ("GET /health/live", "", 200),
        ("GET /health/ready", "", 503),
        ("GET /metrics", "", 401),
        ("GET /api/v1/status", token, 200),
        ("POST /api/v1/services/tx/resume", "", 401),
    ] {
        assert_eq!(ask(address, request, headers).await.0, status, "{request}");
    }
}
