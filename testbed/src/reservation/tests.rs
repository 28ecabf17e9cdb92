use std::sync::{Arc, Mutex};

use bytes::Bytes;
use holdfast::demo::check::{Kind as Found, state_sha256};
use holdfast::demo::http::{Answer, Client, request};
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::*;

const LONG: Duration = Duration::from_secs(60);
const NONE: Duration = Duration::ZERO;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("reservation-{}-{:016x}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn call(at: SocketAddr, key: &str, method: Method, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let mut request = request(method, path, body);
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    Client::new(at).send(request, LONG).await.unwrap()
}

async fn get(at: SocketAddr, path: &str) -> (u16, Value) {
    let answer = call(at, "-", Method::GET, path, &Value::Null).await;
    (answer.status.as_u16(), answer.json().unwrap())
}

async fn set_up(at: SocketAddr, restaurant: &str, tables: &[i64], lists_tables: bool) {
    let setup =
        json!({ "restaurant": restaurant, "deposit_cents": 500, "tables": tables, "lists_tables": lists_tables });
    let path = format!("/restaurants/{restaurant}");
    let key = format!("set-up-{restaurant}-{}", tables.len());
    assert_eq!(call(at, &key, Method::PUT, &path, &setup).await.status, 200);
}

fn wish(id: &str, restaurant: &str, party: i64) -> Value {
    json!({ "id": id, "restaurant": restaurant, "slot": "day1", "party": party, "guest": "g", "card": "4111222233334444" })
}

async fn reserve(at: SocketAddr, key: &str, wish: &Value) -> Answer {
    call(at, key, Method::POST, "/reservations", wish).await
}

fn name_of(problem: &Answer) -> String {
    assert_eq!(problem.headers["content-type"], "application/problem+json");
    let body = problem.json().unwrap();
    assert_eq!(body["status"], problem.status.as_u16());
    body["type"].as_str().unwrap().strip_prefix(problem::TYPES).unwrap().to_owned()
}

async fn export(at: SocketAddr) -> Value {
    get(at, "/export").await.1
}

async fn audited(at: SocketAddr) -> Vec<Found> {
    audit::audit("here", &export(at).await.to_string()).into_iter().map(|finding| finding.kind).collect()
}

#[tokio::test]
async fn a_reservation_is_a_charge_and_a_table_until_it_is_cancelled() {
    let folder = Folder::new();
    let set = all(anywhere(), &folder.0, NONE).await.unwrap();
    set_up(set.at, "inn", &[4, 2], true).await;
    let answer = reserve(set.at, "k1", &wish("r1", "inn", 2)).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["location"]), (201, &"/reservations/r1".parse().unwrap()));
    let told = answer.json().unwrap();
    assert_eq!(told, json!({ "id": "r1", "state": "confirmed", "cents": 1000, "charge": 1, "table": 2 }));
    let all = export(set.at).await;
    assert_eq!(all["payments"]["charges"][0]["cents"], 1000);
    assert_eq!(all["restaurant"]["seats"][0]["booking"], "r1");
    assert_eq!(get(set.at, "/reservations/r1").await.1["state"], "confirmed");
    assert_eq!(get(set.at, "/charges/inn/r1").await.1[0]["card"], "4444");
    assert_eq!(get(set.at, "/restaurants/inn").await.1["deposit_cents"], 500);

    let cancel = json!({ "restaurant": "inn" });
    let path = "/reservations/r1/cancellation";
    assert_eq!(call(set.at, "k2", Method::POST, path, &cancel).await.status, 200);
    assert_eq!(name_of(&call(set.at, "k3", Method::POST, path, &cancel).await), "cancelled");
    let all = export(set.at).await;
    assert_eq!(
        (&all["payments"]["accounts"][0]["balance_cents"], &all["restaurant"]["seats"]),
        (&json!(0), &json!([]))
    );
    assert_eq!(audited(set.at).await, []);
    // What the judge reads: each write once, in order, refusals not at all; and what a probe is told.
    let (_, log) = get(set.at, "/log").await;
    let mut keys: Vec<&str> = log.as_array().unwrap().iter().map(|line| line["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["k1", "k2", "set-up-inn-2"]);
    let last = log[2]["seq"].as_i64().unwrap();
    assert_eq!(get(set.at, &format!("/log?after={last}")).await.1, json!([]));
    for (key, status) in [("k1", 200), ("k2", 200), ("k3", 404), ("set-up-inn-2", 200), ("never", 404)] {
        assert_eq!(get(set.at, &format!("/by-key/{key}")).await.0, status, "{key}");
    }
}

#[tokio::test]
async fn what_is_refused_is_a_problem_and_leaves_nothing_behind() {
    let folder = Folder::new();
    let set = all(anywhere(), &folder.0, NONE).await.unwrap();
    set_up(set.at, "inn", &[2], true).await;
    let before = export(set.at).await;
    let mut declined = wish("r1", "inn", 2);
    declined["card"] = json!("0000999988887777");
    let cases = [
        (Method::POST, "/reservations", declined, 402, "payment-declined"),
        (Method::POST, "/reservations", wish("r1", "inn", 3), 409, "no-table"),
        (Method::POST, "/reservations", wish("r1", "nowhere", 2), 404, "no-restaurant"),
        (Method::POST, "/reservations", wish("r 1", "inn", 2), 400, "bad-request"),
        (Method::POST, "/reservations", wish("r1", "inn", 0), 400, "bad-request"),
        (Method::POST, "/reservations", json!({ "id": "r1" }), 400, "bad-request"),
        (Method::POST, "/reservations/r9/cancellation", json!({ "restaurant": "inn" }), 404, "no-reservation"),
        (Method::DELETE, "/reservations/r1", Value::Null, 405, "not-allowed"),
        (
            Method::PUT,
            "/restaurants/inn",
            json!({ "restaurant": "in", "deposit_cents": 1, "tables": [1] }),
            400,
            "bad-request",
        ),
        (
            Method::PUT,
            "/restaurants/inn",
            json!({ "restaurant": "inn", "deposit_cents": 0, "tables": [1] }),
            400,
            "bad-request",
        ),
        (Method::POST, "/charges", json!({}), 404, "not-found"),
        (Method::GET, "/elsewhere", Value::Null, 404, "not-found"),
    ];
    for (method, path, body, status, name) in cases {
        let answer = call(set.at, "k", method.clone(), path, &body).await;
        assert_eq!((answer.status.as_u16(), name_of(&answer).as_str()), (status, name), "{method} {path} {body}");
        assert!(!answer.headers.contains_key(problem::DOWNSTREAM_RESOURCE));
    }
    assert_eq!(export(set.at).await, before);
    assert_eq!(get(set.at, "/by-key/k").await.0, 404);
}

#[tokio::test]
async fn a_table_gone_after_the_charge_is_a_problem_that_a_solver_can_end() {
    let folder = Folder::new();
    let set = all(anywhere(), &folder.0, NONE).await.unwrap();
    set_up(set.at, "tavern", &[4], false).await;
    assert_eq!(reserve(set.at, "k1", &wish("r1", "tavern", 2)).await.status, 201);
    let mut resources = Vec::new();
    for id in ["r2", "r3"] {
        let answer = reserve(set.at, id, &wish(id, "tavern", 2)).await;
        assert_eq!((answer.status.as_u16(), name_of(&answer).as_str()), (409, "table-gone"));
        resources.push(answer.headers["completer-downstream-resource"].to_str().unwrap().to_owned());
    }
    assert_eq!(resources[0], "Booking=r2;Restaurant=tavern;Charge=2;Cents=1000");
    // It changed something and did not succeed: a probe is told neither yes nor no.
    assert_eq!(get(set.at, "/by-key/r2").await.0, 409);
    assert_eq!(audited(set.at).await, [], "it says what stands");
    // One solver makes room and asks again: no second charge. Another gives the money back.
    set_up(set.at, "tavern", &[4, 4], false).await;
    let again = reserve(set.at, "r2", &wish("r2", "tavern", 2)).await;
    assert_eq!((again.status.as_u16(), &again.json().unwrap()["charge"]), (201, &json!(2)));
    let cancel = json!({ "restaurant": "tavern" });
    assert_eq!(call(set.at, "k5", Method::POST, "/reservations/r3/cancellation", &cancel).await.status, 200);
    let all = export(set.at).await;
    assert_eq!(
        all["payments"]["accounts"][0],
        json!({ "restaurant": "tavern", "charges": 3, "balance_cents": 2000,
        "seal": all["payments"]["accounts"][0]["seal"] })
    );
    assert_eq!(audited(set.at).await, []);
}

/// State must show what a faulty appliance did, in the log or in the dump.
#[tokio::test]
async fn a_lost_doubled_or_swapped_write_shows() {
    let mut states = Vec::new();
    for order in [&["a", "b"][..], &["b", "a"], &["a"], &["a", "b", "b"]] {
        let folder = Folder::new();
        let set = all(anywhere(), &folder.0, NONE).await.unwrap();
        set_up(set.at, "inn", &[2, 2, 2], true).await;
        for id in order {
            assert_eq!(reserve(set.at, id, &wish(id, "inn", 2)).await.status, 201);
        }
        let doubled = order.len() == 3;
        let found = audited(set.at).await;
        assert_eq!(found, if doubled { vec![Found::Duplicate; 3] } else { vec![] }, "reserved, charged, seated twice");
        states.push(state_sha256(&export(set.at).await.to_string()));
    }
    states.sort();
    states.dedup();
    assert_eq!(states.len(), 4);
}

#[tokio::test]
async fn services_that_are_out_of_reach_are_problems_before_and_after_the_charge() {
    let folder = Folder::new();
    let db = |name: &str| folder.0.join(name);
    let restaurant = restaurant(anywhere(), &db("restaurant.db")).await.unwrap();
    set_up(restaurant.at, "tavern", &[4], false).await;
    let nobody = holdfast::demo::free_address().unwrap();
    let booking_alone = booking(anywhere(), &db("b1.db"), [nobody, restaurant.at]).await.unwrap();
    let answer = reserve(booking_alone.at, "k1", &wish("r1", "tavern", 2)).await;
    assert_eq!((answer.status.as_u16(), name_of(&answer).as_str()), (503, "not-reachable"));
    assert_eq!(get(booking_alone.at, "/export").await.1, json!({ "bookings": [], "work": [] }));

    // The restaurant goes away while the charge is made.
    let service = Payments { store: open(&db("payments.db"), payments::SCHEMA).unwrap(), bank: NONE };
    let at = restaurant.at;
    let goes = Arc::new(Mutex::new(Some(restaurant)));
    let payments = host(anywhere(), (service, goes), move |(own, goes), asked| async move {
        drop(goes.lock().unwrap().take());
        while TcpStream::connect(at).await.is_ok() {}
        own.serve(asked).await
    });
    let payments = payments.await.unwrap();
    let booking = booking(anywhere(), &db("b2.db"), [payments.at, at]).await.unwrap();
    let answer = reserve(booking.at, "k2", &wish("r2", "tavern", 2)).await;
    assert_eq!((answer.status.as_u16(), name_of(&answer).as_str()), (502, "seat-not-asked"));
    let resource = &answer.headers[problem::DOWNSTREAM_RESOURCE];
    assert_eq!(resource, "Booking=r2;Restaurant=tavern;Charge=1;Cents=1000");
    assert_eq!(get(booking.at, "/reservations/r2").await.1["state"], "unseated");
    let answer = reserve(booking.at, "k3", &wish("r3", "tavern", 2)).await;
    assert_eq!(
        (answer.status.as_u16(), name_of(&answer).as_str()),
        (503, "not-reachable"),
        "it asks for the terms first"
    );
    assert_eq!(get(payments.at, "/export").await.1["charges"].as_array().unwrap().len(), 1);
}

/// As after `kill -9`: what was begun stands in the file, with the charge made, the table taken, or neither.
#[tokio::test]
async fn what_was_begun_before_a_crash_is_ended_or_dropped() {
    let folder = Folder::new();
    let set = all(anywhere(), &folder.0, NONE).await.unwrap();
    set_up(set.at, "inn", &[2, 2, 2], true).await;
    drop(set);
    {
        let inside = anywhere();
        let payments = payments(inside, &folder.0.join("payments.db"), NONE).await.unwrap();
        let restaurant = restaurant(inside, &folder.0.join("restaurant.db")).await.unwrap();
        let charge = |id: &str| json!({ "booking": id, "restaurant": "inn", "cents": 1000, "card": "4444" });
        for id in ["paid", "seated"] {
            assert_eq!(call(payments.at, id, Method::POST, "/charges", &charge(id)).await.status, 201);
        }
        let seat = json!({ "restaurant": "inn", "slot": "day1", "party": 2, "booking": "seated" });
        assert_eq!(call(restaurant.at, "seated", Method::POST, "/seats", &seat).await.status, 201);
        let db = rusqlite::Connection::open(folder.0.join("booking.db")).unwrap();
        for id in ["begun", "paid", "seated"] {
            let body = wish(id, "inn", 2).to_string();
            let insert =
                "insert into work (key, method, path, body, cents) values (?1, 'POST', '/reservations', ?2, 1000)";
            db.execute(insert, (id, body)).unwrap();
        }
    }
    let set = all(anywhere(), &folder.0, NONE).await.unwrap();
    assert_eq!(audited(set.at).await, []);
    for (key, status) in [("begun", 404), ("paid", 200), ("seated", 200)] {
        assert_eq!(get(set.at, &format!("/by-key/{key}")).await.0, status, "{key}");
    }
    let all = export(set.at).await;
    assert_eq!((all["booking"]["bookings"].as_array().unwrap().len(), &all["booking"]["work"]), (2, &json!([])));
    assert_eq!(all["payments"]["accounts"][0]["charges"], 2);
}

/// Payments that charge and then say nothing: open at first, and ended when they speak again.
#[tokio::test]
async fn a_charge_without_an_answer_is_open_until_it_is_found() {
    let folder = Folder::new();
    let restaurant = restaurant(anywhere(), &folder.0.join("restaurant.db")).await.unwrap();
    set_up(restaurant.at, "inn", &[2], true).await;
    let service = Payments { store: open(&folder.0.join("payments.db"), payments::SCHEMA).unwrap(), bank: NONE };
    let mute = host(anywhere(), service, |own, asked| async move {
        let is_read = asked.method == Method::GET;
        let reply = own.serve(asked).await;
        if !is_read {
            tokio::time::sleep(LONG).await;
        }
        reply
    });
    let mute = mute.await.unwrap();
    let booking = booking(anywhere(), &folder.0.join("booking.db"), [mute.at, restaurant.at]).await.unwrap();
    let answer = reserve(booking.at, "k1", &wish("r1", "inn", 2)).await;
    assert_eq!((answer.status.as_u16(), name_of(&answer).as_str()), (504, "no-word"));
    assert_eq!(get(booking.at, "/reservations/by-key/k1").await.0, 409);
    let began = std::time::Instant::now();
    while get(booking.at, "/reservations/by-key/k1").await.0 != 200 && began.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(get(booking.at, "/reservations/r1").await.1["table_no"], 1);
    assert_eq!(get(mute.at, "/export").await.1["charges"].as_array().unwrap().len(), 1);
}
