//! The least that a proxy on hyper can be: HTTP/1.1 in and out, one thread, bodies streamed, connections kept.
//!
//! It is the bar for what the appliance's plain path can reach, and the stand-in for it where only the method is
//! tested.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::thread::single_threaded;
use super::{Error, require_loopback};

type Body = Either<Incoming, Empty<Bytes>>;
/// Idle connections to the target; clients of a measurement are fewer.
const IDLE_MAX: usize = 1_024;

struct Pool {
    target: SocketAddr,
    idle: RefCell<VecDeque<SendRequest<Incoming>>>,
}

/// Serves until the process is killed; calls `listening` first.
pub fn proxy(listen: SocketAddr, target: SocketAddr, listening: impl FnOnce(SocketAddr)) -> Result<(), Error> {
    require_loopback(listen)?;
    require_loopback(target)?;
    let runtime = single_threaded()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await.map_err(Error::io("cannot listen"))?;
        listening(listener.local_addr().map_err(Error::io("cannot listen"))?);
        let pool = Rc::new(Pool { target, idle: RefCell::default() });
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let pool = pool.clone();
            tokio::task::spawn_local(async move {
                let service = hyper::service::service_fn(|request| forward(&pool, request));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn forward(pool: &Pool, mut request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    request.headers_mut().remove(header::CONNECTION);
    request.headers_mut().append(header::VIA, HeaderValue::from_static("1.1 bare"));
    let Some(mut sender) = pool.get().await else { return Ok(bad_gateway()) };
    let Ok(response) = sender.send_request(request).await else { return Ok(bad_gateway()) };
    pool.put(sender);
    Ok(response.map(Either::Left))
}

fn bad_gateway() -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

impl Pool {
    /// One whose last answer has been read to its end, else a new one.
    async fn get(&self) -> Option<SendRequest<Incoming>> {
        {
            let mut idle = self.idle.borrow_mut();
            idle.retain(|sender| !sender.is_closed());
            if let Some(at) = idle.iter().position(SendRequest::is_ready) {
                return idle.remove(at);
            }
        }
        let stream = TcpStream::connect(self.target).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::task::spawn_local(connection);
        Some(sender)
    }

    fn put(&self, sender: SendRequest<Incoming>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push_back(sender);
        }
    }
}
