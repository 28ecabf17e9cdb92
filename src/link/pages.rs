//! Pages have streams of their own, so that bulk never delays a wish. The dialling side posts its pages one at a time
//! and keeps one fetch parked per series that it wants; a page that is lost on the way is repaired by the cursors.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::body::{LinkBody, Pieces, empty};
use super::hub::{Hub, Peer};
use super::messages::{Impossible, Taken, hand_over};
use super::outgoing::Series;
use super::refusal::{Refusal, describe};
use super::session::Session;
use crate::contain::contain;
use crate::model::{Group, LogId};
use crate::service::{Message, Page};
use crate::wire;

pub(super) const PATH: &str = "/link/v1/pages";
/// From this size on (un)packing leaves the threads that serve everybody.
pub(super) const HEAVY_BYTES: usize = 64 << 10;
/// After a fetch or post that failed on a link that lives.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

async fn pack(group: Group, page: Page, limit: usize) -> Result<Bytes, String> {
    let weight: usize = page.items.iter().map(|item| item.weight()).sum();
    let encoded = match weight >= HEAVY_BYTES {
        true => tokio::task::spawn_blocking(move || contain(|| wire::encode_page(&group, &page))).await,
        false => Ok(contain(|| wire::encode_page(&group, &page))),
    };
    let encoded = encoded.map_err(|error| error.to_string())?.map_err(|bug| bug.to_string())?;
    let bytes = encoded.map_err(|error| error.to_string())?;
    match bytes.len() > limit {
        true => Err(format!("{} bytes, at most {limit} are accepted", bytes.len())),
        false => Ok(bytes),
    }
}

async fn unpack(body: Bytes, limit: usize) -> Result<(Group, Page), String> {
    let decoded = match body.len() >= HEAVY_BYTES {
        true => tokio::task::spawn_blocking(move || contain(|| wire::decode_page(&body, limit))).await,
        false => Ok(contain(|| wire::decode_page(&body, limit))),
    };
    let decoded = decoded.map_err(|error| error.to_string())?.map_err(|bug| bug.to_string())?;
    decoded.map_err(|error| super::dial::chain(&error))
}

/// Dialling side: posts what waits, for as long as the session lives.
pub(super) async fn post(hub: &Hub, peer: &Peer, session: &Session) -> String {
    let Some(requests) = &session.requests else { return std::future::pending().await };
    let limits = &hub.settings.limits;
    loop {
        let queued = peer.outgoing.paged.notified();
        tokio::pin!(queued);
        // Registered before the look, so that a page queued in between wakes us.
        queued.as_mut().enable();
        let Some((group, page)) = peer.outgoing.next_page(session.id) else {
            queued.await;
            continue;
        };
        let posted = async {
            let bytes = pack(group, page, limits.page_bytes).await?;
            let request = hub.request(peer, Method::POST, PATH, Pieces::body(bytes, None));
            ask(requests, request).await.map(drop)
        };
        let error = match timeout(limits.page_wait, posted).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(_) => format!("not taken within {} s", limits.page_wait.as_secs()),
        };
        tracing::warn!(peer = %peer.site, %error, "page was not taken");
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) async fn ask(
    requests: &SendRequest<LinkBody>,
    request: Request<LinkBody>,
) -> Result<Response<Incoming>, String> {
    let response = requests.clone().send_request(request).await.map_err(|error| super::dial::chain(&error))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body = Limited::new(response.into_body(), super::refusal::PROBLEM_BYTES_MAX).collect().await;
    Err(describe(status, &body.map(|body| body.to_bytes()).unwrap_or_default()))
}

/// Dialling side: keeps one fetch parked for each series that this side's statuses want.
pub(super) async fn fetch(hub: &Arc<Hub>, peer: &Peer, session: &Arc<Session>) -> String {
    if session.requests.is_none() {
        return std::future::pending().await;
    }
    // Dropped with this future: every fetch ends with its session.
    let mut fetches = JoinSet::new();
    let mut running: BTreeMap<Series, AbortHandle> = BTreeMap::new();
    loop {
        let wants = peer.outgoing.wants();
        running.retain(|series, fetch| {
            let wanted = wants.contains(series);
            if !wanted {
                fetch.abort();
            }
            wanted && !fetch.is_finished()
        });
        for series in wants {
            let fetches = &mut fetches;
            let fetching = || fetch_series(hub.clone(), session.clone(), series.clone());
            let start = || fetches.spawn(session.clone().guard(fetching()));
            running.entry(series.clone()).or_insert_with(start);
        }
        tokio::select! {
            () = peer.outgoing.wanted.notified() => {}
            Some(_) = fetches.join_next() => {}
        }
    }
}

async fn fetch_series(hub: Arc<Hub>, session: Arc<Session>, series: Series) {
    let Some(peer) = hub.peer(&session.peer) else { return };
    // Always from the cursor that this side last stated: what was fetched and not taken must come again.
    while let Some(from) = peer.outgoing.wanted_from(&series) {
        if let Err(error) = fetch_once(&hub, peer, &session, &series, from).await {
            tracing::warn!(peer = %session.peer, group = %series.group, log = %series.log, %error, "fetch failed");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn fetch_once(hub: &Hub, peer: &Peer, session: &Session, series: &Series, from: u64) -> Result<(), String> {
    let Some(requests) = &session.requests else { return Ok(()) };
    let limits = &hub.settings.limits;
    let target = format!("{PATH}?{}", query_of(series, from));
    let request = hub.request(peer, Method::GET, &target, empty());
    let fetched = async {
        let response = ask(requests, request).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok::<_, String>(None);
        }
        let body = Limited::new(response.into_body(), limits.page_bytes).collect().await;
        Ok(Some(body.map_err(|error| error.to_string())?.to_bytes()))
    };
    let body = timeout(limits.park + limits.page_wait, fetched).await.map_err(|_| "it took too long".to_owned())??;
    let Some(body) = body else { return Ok(()) };
    let (group, page) = unpack(body, limits.page_bytes).await?;
    if group != series.group || page.log != series.log {
        return Err(format!("got a page of {group} {}", page.log));
    }
    if let Err(Impossible(why)) = hand_over(hub, peer, group, Message::Page(page)).await {
        session.close(&format!("the peer sent {why}"));
    }
    Ok(())
}

/// Accepting side of a post: answered when the group has it; what confirms is the cursor in its next status.
pub(super) async fn accept(hub: &Hub, session: &Session, body: Incoming) -> Result<(), Refusal> {
    let limits = &hub.settings.limits;
    let refuse = |code, detail| Refusal::new(StatusCode::BAD_REQUEST, code, detail);
    let Some(peer) = hub.peer(&session.peer) else { return Err(refuse("site-not-listed", String::new())) };
    let body = Limited::new(body, limits.page_bytes).collect().await;
    let body = body.map_err(|error| refuse("bad-page", format!("page: {error}")))?.to_bytes();
    let (group, page) =
        unpack(body, limits.page_bytes).await.map_err(|why| refuse("bad-page", format!("page: {why}")))?;
    let name = group.to_string();
    let taken = hand_over(hub, peer, group, Message::Page(page)).await;
    let taken = taken.map_err(|Impossible(why)| {
        session.close(&format!("the peer sent {why}"));
        refuse("implausible", why)
    });
    match taken? {
        Taken::Yes => Ok(()),
        Taken::No => {
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not-taken", format!("{name} takes no pages now")))
        }
    }
}

/// Accepting side of a fetch: parked until there is a page; `None` after the parking time.
pub(super) async fn serve(hub: &Hub, session: &Session, query: &str) -> Result<Option<LinkBody>, Refusal> {
    let limits = &hub.settings.limits;
    let refuse = |detail| Refusal::new(StatusCode::BAD_REQUEST, "bad-fetch", detail);
    let (series, from) = parse_query(query).map_err(refuse)?;
    let Some(peer) = hub.peer(&session.peer) else { return Err(refuse("no such site".to_owned())) };
    let parked = async {
        loop {
            // One at a time; whoever waits for its turn has taken no page yet.
            let Ok(turn) = session.bulk.clone().acquire_owned().await else { return None };
            let queued = peer.outgoing.paged.notified();
            tokio::pin!(queued);
            queued.as_mut().enable();
            if let Some(page) = peer.outgoing.page_of(session.id, &series, from) {
                return Some((page, turn));
            }
            drop(turn);
            queued.await;
        }
    };
    let page = tokio::select! {
        page = timeout(limits.park, parked) => page.ok().flatten(),
        _ = session.closed() => None,
    };
    let Some((page, turn)) = page else { return Ok(None) };
    let packed = pack(series.group, page, limits.page_bytes).await;
    let bytes = packed.map_err(|why| {
        tracing::warn!(peer = %peer.site, %why, "page cannot be sent");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "unsendable-page", why)
    })?;
    Ok(Some(Pieces::body(bytes, Some(turn))))
}

fn query_of(series: &Series, from: u64) -> String {
    let Series { group, log } = series;
    let (service, store) = (escaped(&group.service), escaped(&group.store));
    format!("service={service}&store={store}&series={log}&from={from}")
}

fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => out.push(byte as char),
            other => write!(out, "%{other:02X}").expect("writing to a string"),
        }
    }
    out
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut hex = || char::from(bytes.next()?).to_digit(16);
        out.push(if byte == b'%' { (hex()? * 16 + hex()?) as u8 } else { byte });
    }
    String::from_utf8(out).ok()
}

fn parse_query(query: &str) -> Result<(Series, u64), String> {
    let find = |name: &str| {
        let found = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        let (_, value) = found.ok_or_else(|| format!("{name} is missing: expected service, store, series, from"))?;
        unescaped(value).ok_or_else(|| format!("{name}={value:?} is not percent-encoded text"))
    };
    let group = Group { service: find("service")?, store: find("store")? };
    let (series, from) = (find("series")?, find("from")?);
    let log = parse_log(&series).ok_or_else(|| format!("series={series:?}: expected <32 hex digits>.<incarnation>"))?;
    let from = from.parse().map_err(|_| format!("from={from:?}: expected a position"))?;
    Ok((Series { group, log }, from))
}

fn parse_log(text: &str) -> Option<LogId> {
    let (store, incarnation) = text.split_once('.')?;
    Some(LogId { store: *uuid::Uuid::try_parse(store).ok()?.as_bytes(), incarnation: incarnation.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_back_and_nonsense_is_named() {
        let group = Group { service: "a b&ü".into(), store: String::new() };
        let series = Series { group, log: LogId { store: [9; 16], incarnation: 4 } };
        assert_eq!(parse_query(&query_of(&series, 77)), Ok((series, 77)));
        let log = "07070707070707070707070707070707.1";
        // query | part of the error
        for (query, expected) in [
            ("".to_owned(), "service is missing"),
            (format!("service=a&store=%zz&series={log}&from=1"), "not percent-encoded"),
            ("service=a&store=&series=7&from=1".to_owned(), "expected <32 hex digits>.<incarnation>"),
            (format!("service=a&store=&series={log}&from=-1"), "expected a position"),
        ] {
            let error = parse_query(&query).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
