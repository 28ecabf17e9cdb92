//! A service that makes its tokens by chance, as most do: what one replica gave out the other does not know.
use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::harness::tills::Shown;
use crate::harness::upstream::Seen;
use crate::harness::{Act, Appliance, Call, SOON, Two, Upstream, ledger, wait_for};

const REFRESHES: usize = 5;

/// The tokens that one replica has given out and that are still good.
type Tokens = Arc<Mutex<BTreeSet<String>>>;

fn token() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Logins give a token, a refresh gives another one for it; whoever brings one that was not given out here is not
/// known.
fn gives_tokens(service: &Upstream) {
    let tokens = Tokens::default();
    service.rule(move |seen: &Seen| {
        let given = || {
            let token = token();
            tokens.lock().unwrap().insert(token.clone());
            Act::answer(200).body(token)
        };
        match seen.target.as_str() {
            "/tx/login" => Some(given()),
            "/tx/refresh" if tokens.lock().unwrap().remove(&seen.text()) => Some(given()),
            "/tx/refresh" => Some(Act::answer(401).body("who are you?")),
            _ => None,
        }
    });
}

fn session_at(site: &Appliance) {
    let name = &site.site.name;
    let ask = |path: &str, key: String, body: String| {
        site.tell(&Call::post(path).key(&format!("{name}-{key}")).lane(name).body(body)).expect(200).text()
    };
    let mut token = ask("/tx/login", "login".into(), "pw1".into());
    for n in 0..REFRESHES {
        token = ask("/tx/refresh", format!("refresh-{n}"), token);
    }
}

fn sale(site: &Appliance, n: usize) {
    let name = &site.site.name;
    let call = Call::post("/tx/sale").key(&format!("{name}-sale-{n}")).lane(&format!("till of {name}")).body("rope");
    let told = site.tell(&call).expect(201);
    assert_eq!(told.header("holdfast-served-by"), Some(name.as_str()), "its own replica still decides");
}

fn entries(site: &Appliance) -> Vec<Value> {
    site.api("/quarantine").as_array().cloned().unwrap_or_default()
}

/// Without what stands in quarantine anywhere, or stood there and was discarded.
fn others(service: &Upstream) -> BTreeSet<String> {
    service.applied_keys().into_iter().filter(|key| !key.contains("refresh")).collect()
}

#[test]
fn tokens_that_only_one_replica_knows_stop_neither_site() {
    let two = Two::start();
    let _shown = Shown(&two);
    two.services().into_iter().for_each(gives_tokens);
    // One after the other is done with: whose replica is behind has its clients' writes decided elsewhere, by whom
    // their tokens are not.
    session_at(&two.store);
    two.wait_settled();
    two.cloud.wait_decider("cloud");
    session_at(&two.cloud);
    two.wait_settled();
    two.store.wait_decider("store");
    for (site, other) in [(&two.store, "cloud"), (&two.cloud, "store")] {
        wait_for("what the other site's replica gave out is refused here", SOON, || entries(site).len() == REFRESHES);
        for entry in entries(site) {
            let id = entry["id"].as_str().unwrap();
            let shown = site.api(&format!("/quarantine/{id}?body=true"));
            assert_eq!((&shown["reason"], &shown["target"]), (&"divergence".into(), &"/tx/refresh".into()), "{shown}");
            let ours = &shown["answer"];
            assert_eq!((&ours["status"], &ours["body"]["text"]), (&401.into(), &"who are you?".into()));
            let theirs = &shown["deciders_answer"];
            assert_eq!(
                (&theirs["status"], theirs["body"]["text"].as_str().map(str::len)),
                (&200.into(), Some(16)),
                "{other}"
            );
        }
        assert_eq!(site.api("/status")["groups"][0]["stopped"], Value::Null);
    }
    for n in 0..5 {
        sale(&two.store, n);
        sale(&two.cloud, n);
    }
    wait_for("all but the refreshes is equal", SOON, || {
        others(&two.at_store) == others(&two.at_cloud) && others(&two.at_store).len() == 12
    });
    orders_work(&two);
    sale(&two.store, 5);
    sale(&two.cloud, 5);
    wait_for("all but the refreshes is equal", SOON, || {
        others(&two.at_store) == others(&two.at_cloud) && others(&two.at_store).len() == 14
    });
    ledger::nothing_twice(&two.services());
}

/// One of each kind at the store, whose service is patient with the rest from then on.
fn orders_work(two: &Two) {
    let store = &two.store;
    let ids: Vec<String> = entries(store).iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect();
    let order = |n: usize, what: &str| store.operate(&format!("/quarantine/{}/{what}", ids[n])).expect(200);
    order(0, "applied");
    order(1, "discard");
    wait_for("two are decided", SOON, || entries(store).len() == REFRESHES - 2);
    // The service still does not know the token: it comes back, with the new answer.
    let tries = || two.at_store.writes_of("cloud-refresh-2").len();
    let tries_before = tries();
    order(2, "resend");
    wait_for("it was sent again in vain", SOON, || {
        tries() > tries_before && entries(store).iter().any(|entry| entry["id"] == ids[2])
    });
    two.at_store.as_usual();
    for (n, id) in ids.iter().enumerate().skip(2) {
        let key = format!("cloud-refresh-{n}");
        // One is on its way still, and may be applied before it is ordered again.
        wait_for("the order is taken", SOON, || {
            two.at_store.times_applied(&key) > 0 || store.operate(&format!("/quarantine/{id}/resend")).status == 200
        });
        two.at_store.wait_applied(&key);
    }
    wait_for("nothing is left to be decided", SOON, || entries(store).is_empty());
    assert_eq!(entries(&two.cloud).len(), REFRESHES, "at the other site nobody said anything");
}
