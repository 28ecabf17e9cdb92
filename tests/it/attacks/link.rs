//! Between sites: strangers at the link's listener, with and without TLS, and slow readers of what another site
//! answers.
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::http1::connect;
use super::{Victim, at_once};
use crate::harness::certificates::Authority;
use crate::harness::{Appliance, Call, SOON, Service, Site, wait_for};

/// The first bytes of a handshake that never goes on.
const HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

fn service(site: Site, at: SocketAddr, order: &[&str]) -> Site {
    let tx = Service::at("tx", at).without("health").replicas(&["store", "cloud"]).order(order);
    site.environment("RUST_LOG", "info").service(tx)
}

/// A cloud that others dial, with or without an identity, and its store.
#[track_caller]
fn pair(authority: Option<&Authority>, order: [&str; 2], at: SocketAddr) -> (Appliance, Appliance) {
    let cloud = Site::new("cloud").hub().without_control();
    let scheme = if authority.is_some() { "https" } else { "http" };
    let peer = format!("site = \"cloud\"\nlink = \"{scheme}://127.0.0.1:{}\"", cloud.link.port());
    let store = Site::new("store").without_control().peer(peer);
    let with_identity = |site: Site| match authority {
        Some(authority) => {
            let lines = authority.issue(&site.name, site.folder());
            site.section("identity", &lines)
        }
        None => site,
    };
    let cloud = service(with_identity(cloud), at, &["local", "store"]).start();
    let store = service(with_identity(store), at, &order).start();
    wait_for("the sites are linked", SOON, || store.is_linked("cloud") == Some(true));
    (cloud, store)
}

/// 1,100 strangers who say `first`, again as soon as they are thrown out.
fn strangers(at: SocketAddr, first: &'static [u8]) -> Vec<TcpStream> {
    let knock = move |_| {
        let mut stream = connect(at)?;
        stream.write_all(first).ok()?;
        Some(stream)
    };
    at_once(1_100, knock)
}

#[test]
fn strangers_at_the_links_listener_keep_no_site_out() {
    for (authority, says) in [(None, &b""[..]), (Some(Authority::new()), b""), (Some(Authority::new()), HELLO)] {
        let mut store = None;
        let victim = Victim::from(|service| {
            let (cloud, other) = pair(authority.as_ref(), ["local", "cloud"], service.address);
            store = Some(other);
            cloud
        });
        let mut store = store.expect("it was started");
        let (link, tls) = (victim.appliance.site.link, authority.is_some());
        victim.under(&format!("1,100 strangers at the link (TLS: {tls}) who say {} bytes", says.len()), move |_| {
            strangers(link, says)
        });
        // The store's process begins anew while all places are taken, and taken again.
        let held = strangers(link, says);
        store.kill();
        store.restart();
        wait_for("the sites are linked again", SOON, || store.is_linked("cloud") == Some(true));
        drop(held);
    }
}

#[test]
fn readers_that_do_not_read_from_another_site_leave_room_for_others() {
    let mut cloud = None;
    let victim = Victim::from(|service| {
        let (other, store) = pair(None, ["cloud", "local"], service.address);
        cloud = Some(other);
        store.wait_decider("cloud");
        store
    });
    let at = victim.appliance.at();
    wait_for("reads go to the cloud", SOON, || {
        Call::get("/tx/small").told(at).header("holdfast-served-by") == Some("cloud")
    });
    // All of one address; the other client is at another one.
    victim.under("70 readers that do not read of what another site answers", |at| {
        at_once(70, move |_| {
            let mut stream = connect(at)?;
            stream.write_all(b"GET /tx/big HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
            std::thread::sleep(Duration::from_millis(500));
            Some(stream)
        })
    });
    drop(victim);
    drop(cloud);
}
