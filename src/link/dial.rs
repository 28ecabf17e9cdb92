//! The dialling side: connect, say hello, open the message stream, and again when it ends.
use std::sync::Arc;
use std::time::Instant;

use http::{Method, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::backoff::redial_delay;
use super::body::{LinkBody, full};
use super::hub::{Hub, Peer};
use super::meter::{Meter, Metered};
use super::outage::Outage;
use super::refusal::{PROBLEM_BYTES_MAX, REFUSED_HEADER, describe};
use super::session::{self, Session};
use super::{hello, messages, serve};
use crate::contain::{Beside, Panicked, contain, contained_in};
use crate::identity::{Plane, Validity};
use crate::model::SiteName;
use crate::wire;

#[derive(Debug)]
enum DialError {
    /// Try again soon.
    Failed(String),
    /// The other side does not want this one; only a person can change that.
    Refused(String),
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

pub(super) fn parse_url(url: &str) -> Result<Uri, String> {
    let expected = "expected https://host:port, or http://host:port for plain TCP";
    let uri: Uri = url.parse().map_err(|error| format!("{error}: {expected}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() || uri.port_u16().is_none() {
        return Err(expected.to_owned());
    }
    if uri.path() != "/" || uri.query().is_some() || uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(format!("nothing may follow the port or stand before the host: {expected}"));
    }
    Ok(uri)
}

/// Keeps the link to one peer up until the site stops.
pub(super) async fn keep(hub: Arc<Hub>, site: SiteName) {
    let Some(peer) = hub.peer(&site) else { return };
    let limits = &hub.settings.limits;
    let mut failures = 0;
    let outage = Outage::default();
    loop {
        // The peer may have dialled this side.
        let free = async { drop(peer.current.subscribe().wait_for(Option::is_none).await) };
        tokio::select! { () = hub.stopped() => return, () = free => {} }
        let began = Instant::now();
        // Not dropped when the site stops: a session ends in order.
        let ended = match contained_in(dial(&hub, peer, &outage)).await {
            Ok(ended) => ended,
            Err(bug) => {
                let begun = peer.current.borrow().clone().filter(|session| session.requests.is_some());
                if let Some(session) = begun {
                    session.close(&bug.to_string());
                    hub.end(peer, &session).await;
                }
                Err(DialError::Failed(bug.to_string()))
            }
        };
        peer.dialling.send_replace(false);
        let pause = match ended {
            Ok(()) => {
                // A link that lived was no failure; one that breaks at once is.
                failures = if began.elapsed() > limits.redial_max { 0 } else { failures + 1 };
                redial_delay(limits.redial_first, limits.redial_max, failures - failures.min(1), fastrand::f64())
            }
            Err(DialError::Failed(error)) => {
                failures += 1;
                outage.failed(&site, &error);
                peer.note_error(&error);
                redial_delay(limits.redial_first, limits.redial_max, failures - 1, fastrand::f64())
            }
            Err(DialError::Refused(why)) => {
                outage.refused(&site, &why);
                peer.note_error(&format!("refused by the peer: {why}"));
                limits.redial_refused.mul_f64(0.5 + fastrand::f64())
            }
        };
        tokio::select! { () = hub.stopped() => return, () = tokio::time::sleep(pause) => {} }
    }
}

/// Ends when the session is over, or there was none.
async fn dial(hub: &Arc<Hub>, peer: &Peer, outage: &Outage) -> Result<(), DialError> {
    let limits = &hub.settings.limits;
    let slow = |what: &str| DialError::Failed(format!("{what} took longer than {:.1} s", limits.connect.as_secs_f64()));
    let meter = Meter::new();
    let stops = || DialError::Failed("this site stops".to_owned());
    let connected = tokio::select! {
        () = hub.stopped() => return Err(stops()),
        connected = timeout(limits.connect, connect(hub, peer, &meter)) => connected,
    };
    // Aborted when this future ends: the connection goes with its session.
    let Connected { mut requests, mut connection, validity } = connected.map_err(|_| slow("connecting"))??;
    let welcome = timeout(limits.connect, greet(hub, peer, &mut requests));
    let welcome = tokio::select! {
        () = hub.stopped() => return Err(stops()),
        welcome = welcome => welcome.unwrap_or_else(|_| Err(slow("the handshake"))),
        ended = connection.join_next() => Err(DialError::Failed(ended_why(ended))),
    };
    let welcome = welcome.map_err(|error| advise(peer, error))?;
    let who = (welcome.site, welcome.boot, welcome.store, welcome.software);
    let carried = (meter, validity);
    let session = Session::new(hub.next_session(), who, welcome.differs, carried, Some(requests.clone()));
    // The queue opens with the session; the body needs it to be open, or it would end at once.
    hub.begin(peer, &session).map_err(DialError::Failed)?;
    outage.ends(&peer.site);
    let request = hub.request(peer, Method::POST, serve::MESSAGES, messages::body(hub, &session));
    let opened = timeout(limits.connect, requests.send_request(request)).await;
    let opened = match opened {
        Err(_) => Err(slow("opening the message stream")),
        Ok(Err(error)) => Err(DialError::Failed(format!("message stream: {}", chain(&error)))),
        Ok(Ok(response)) if response.status().is_success() => Ok(response.into_body()),
        Ok(Ok(response)) => Err(refusal_of(response).await),
    };
    let incoming = match opened {
        Ok(incoming) => incoming,
        Err(error) => {
            let (DialError::Failed(why) | DialError::Refused(why)) = &error;
            session.close(why);
            hub.end(peer, &session).await;
            return Err(error);
        }
    };
    let watched = session.clone();
    tokio::join!(session::run(hub.clone(), session, incoming), async {
        tokio::select! {
            ended = connection.join_next() => watched.close(&ended_why(ended)),
            _ = watched.closed() => {}
        }
    });
    Ok(())
}

/// A listener that speaks TLS answers plain HTTP/2 with bytes that make no sense here.
fn advise(peer: &Peer, error: DialError) -> DialError {
    let plain = peer.url.as_ref().is_some_and(|url| url.scheme_str() == Some("http"));
    match error {
        DialError::Failed(why) if plain => DialError::Failed(format!("{why} (does the peer expect https?)")),
        other => other,
    }
}

type Ended = Result<Result<(), hyper::Error>, Panicked>;
type Connection = tokio::task::JoinSet<Ended>;

fn ended_why(ended: Option<Result<Ended, tokio::task::JoinError>>) -> String {
    match ended {
        Some(Ok(Ok(Err(error)))) => format!("connection broke: {}", chain(&error)),
        Some(Ok(Err(bug))) => bug.to_string(),
        _ => "the peer closed the connection".to_owned(),
    }
}

/// A connection that speaks HTTP/2, and how long the certificates of its two ends are valid.
struct Connected {
    requests: SendRequest<LinkBody>,
    connection: Connection,
    validity: Option<Validity>,
}

async fn connect(hub: &Hub, peer: &Peer, meter: &Arc<Meter>) -> Result<Connected, DialError> {
    let url = peer.url.as_ref().expect("only peers with a URL are dialled");
    let failed = |what: &str, why: String| DialError::Failed(format!("{what} {url}: {why}"));
    let (host, port) = (url.host().unwrap_or_default().trim_matches(['[', ']']), url.port_u16().unwrap_or_default());
    let tcp = TcpStream::connect((host, port)).await.map_err(|error| failed("TCP to", error.to_string()))?;
    // Messages are small and must not wait for each other.
    let _ = tcp.set_nodelay(true);
    peer.dialling.send_replace(true);
    let metered = Metered { inner: tcp, meter: meter.clone() };
    let tls = hub.tls().filter(|_| url.scheme_str() == Some("https"));
    let Some(tls) = tls else {
        let (requests, connection) = http2(hub, metered).await.map_err(|why| failed("HTTP/2 to", why))?;
        return Ok(Connected { requests, connection, validity: None });
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed("TLS to", error.to_string()))?;
    let client = tls.client(&peer.site, Plane::Link).map_err(|why| failed("TLS to", why))?;
    let secured = TlsConnector::from(client).connect(name, metered).await;
    let secured = secured.map_err(|error| failed("TLS to", chain(&error)))?;
    let certificates = secured.get_ref().1.peer_certificates();
    let shown =
        certificates.and_then(|chain| chain.first()).ok_or_else(|| failed("TLS to", "no certificate".into()))?;
    let validity = tls.validity_with(shown).map_err(|why| failed("TLS to", why))?;
    let (requests, connection) = http2(hub, secured).await.map_err(|why| failed("HTTP/2 to", why))?;
    Ok(Connected { requests, connection, validity: Some(validity) })
}

async fn http2<T>(hub: &Hub, io: T) -> Result<(SendRequest<LinkBody>, Connection), String>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = &hub.settings.limits;
    let handshake = Builder::new(Beside::default())
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes())
        .max_send_buf_size(serve::SEND_BUFFER_BYTES)
        .max_header_list_size(serve::HEADERS_BYTES_MAX)
        .handshake(TokioIo::new(io))
        .await;
    let (requests, connection) = handshake.map_err(|error| chain(&error))?;
    let mut task = tokio::task::JoinSet::new();
    task.spawn(contained_in(connection));
    Ok((requests, task))
}

async fn refusal_of(response: http::Response<Incoming>) -> DialError {
    let status = response.status();
    let passing = response
        .headers()
        .get(REFUSED_HEADER)
        .is_some_and(|code| code == serve::ALREADY_DIALLED || code == serve::TWO_STORES);
    let body = Limited::new(response.into_body(), PROBLEM_BYTES_MAX).collect().await;
    let why = describe(status, &body.map(|body| body.to_bytes()).unwrap_or_default());
    if passing { DialError::Failed(why) } else { DialError::Refused(why) }
}

/// The handshake: who we are, and what both must agree on.
async fn greet(hub: &Hub, peer: &Peer, requests: &mut SendRequest<LinkBody>) -> Result<wire::Welcome, DialError> {
    let hello = hello::hello_to(&hub.settings, &peer.site);
    let hello = wire::encode_hello(&hello).map_err(|error| DialError::Failed(error.to_string()))?;
    let request = hub.request(peer, Method::POST, serve::HELLO, full(hello));
    let sent = requests.send_request(request).await;
    let response = sent.map_err(|error| DialError::Failed(format!("hello: {}", chain(&error))))?;
    if !response.status().is_success() {
        return Err(refusal_of(response).await);
    }
    let body = Limited::new(response.into_body(), 1 << 20).collect().await;
    let body = body.map_err(|error| DialError::Failed(format!("hello: {error}")))?.to_bytes();
    let welcome = contain(|| wire::decode_welcome(&body)).map_err(|bug| DialError::Refused(bug.to_string()))?;
    let welcome = welcome.map_err(|error| DialError::Refused(format!("welcome: {error}")))?;
    welcome.check().map_err(|why| DialError::Refused(format!("welcome: {why}")))?;
    if welcome.site != peer.site {
        return Err(DialError::Refused(format!("dialled {}, {} answered", peer.site, welcome.site)));
    }
    Ok(welcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_url_names_host_and_port_and_nothing_else() {
        for good in ["https://cloud.example:7443", "http://127.0.0.1:1", "http://[::1]:7443/"] {
            assert!(parse_url(good).is_ok(), "{good}");
        }
        for bad in ["", "cloud:7443", "tcp://a:1", "https://cloud", "https://a:1/x", "https://a:1/?q", "https://u@a:1"]
        {
            let error = parse_url(bad).unwrap_err();
            assert!(error.contains("expected https://host:port"), "{bad}: {error}");
        }
    }
}
