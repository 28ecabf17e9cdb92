use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::demo::http::{Answer, Client, request};

const PATIENCE: Duration = Duration::from_secs(60);

struct Shop {
    client: Client,
    address: SocketAddr,
    _server: Server,
    _dir: tempfile::TempDir,
}

async fn shop() -> Shop {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path().join("pos.db"));
    let (address, server) = start(&options).await.unwrap();
    Shop { client: Client::new(address), address, _server: server, _dir: dir }
}

fn options(db: PathBuf) -> PosOptions {
    PosOptions { listen: "127.0.0.1:0".parse().unwrap(), db, fsync: false, exit_with_stdin: false }
}

async fn call(client: &mut Client, key: &str, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let mut request = request(method.parse().unwrap(), path, body);
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    client.send(request, PATIENCE).await.unwrap()
}

async fn get(client: &mut Client, path: &str) -> (u16, Value) {
    let answer = client.get(path, PATIENCE).await.unwrap();
    (answer.status.as_u16(), answer.json().unwrap())
}

#[tokio::test]
async fn a_sale_from_the_first_line_to_the_receipt() {
    let mut shop = shop().await;
    let steps = [
        ("POST", "/transactions", json!({"id":"t1","till":"k1"}), 201),
        ("POST", "/transactions/t1/lines", json!({"sku":"4001001","quantity":2}), 201),
        ("POST", "/transactions/t1/lines", json!({"sku":"4001003","quantity":1}), 201),
        ("POST", "/transactions/t1/lines", json!({"sku":"nothing","quantity":1}), 404),
        ("POST", "/transactions/t9/lines", json!({"sku":"4001003","quantity":1}), 404),
        ("DELETE", "/transactions/t1/lines/2", Value::Null, 200),
        ("DELETE", "/transactions/t1/lines/2", Value::Null, 404),
        ("PUT", "/transactions/t1", json!({"discount_percent":50}), 200),
        ("POST", "/transactions/t1/payments", json!({"method":"cash","cents":120}), 409),
        ("POST", "/transactions/t1/payments", json!({"method":"cash","cents":100}), 201),
        ("POST", "/transactions/t1/payments", json!({"method":"card","cents":19}), 201),
        ("POST", "/transactions/t1/lines", json!({"sku":"4001003","quantity":1}), 409),
    ];
    for (step, (method, path, body, status)) in steps.into_iter().enumerate() {
        let answer = call(&mut shop.client, &format!("key-{step}"), method, path, body.clone()).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {:?}", answer.body);
    }
    let (status, sale) = get(&mut shop.client, "/transactions/t1").await;
    assert_eq!((status, &sale["receipt"], &sale["paid_cents"]), (200, &json!(1), &json!(119)));
    assert_eq!(get(&mut shop.client, "/inventory/4001001").await.1["on_hand"], json!(998));
    assert_eq!(get(&mut shop.client, "/inventory/4001003").await.1["on_hand"], json!(1000));
    // Refusals leave no trace in the log, and the probe tells them from successes.
    let (_, log) = get(&mut shop.client, "/log").await;
    assert_eq!(log.as_array().unwrap().len(), 7);
    assert_eq!(get(&mut shop.client, "/by-key/key-1").await.0, 200);
    assert_eq!(get(&mut shop.client, "/by-key/key-3").await.0, 404);
    assert_eq!(get(&mut shop.client, "/transactions/by-key/key-1").await.0, 200);
}

#[tokio::test]
async fn the_service_does_not_remove_duplicates_itself() {
    let mut shop = shop().await;
    let writes = [
        ("POST", "/transactions", json!({"id":"t1","till":"k1"})),
        ("POST", "/transactions/t1/lines", json!({"sku":"4001001","quantity":1})),
        ("POST", "/ledger/s/4001001", json!({"op":"set","n":5})),
        ("POST", "/inventory/4001001", json!({"add":5})),
    ];
    for (index, (method, path, body)) in writes.into_iter().enumerate() {
        let key = format!("key-{index}");
        let once = {
            call(&mut shop.client, &key, method, path, body.clone()).await;
            get(&mut shop.client, "/export").await
        };
        let again = call(&mut shop.client, &key, method, path, body.clone()).await;
        assert!(again.status.is_success(), "{method} {path}");
        assert_ne!(get(&mut shop.client, "/export").await, once, "{method} {path} twice must show");
        assert_eq!(get(&mut shop.client, &format!("/by-key/{key}")).await.1["applications"], json!(2));
    }
    // PUT is idempotent by its definition.
    let promotion = json!({"name":"Easter","percent":20});
    call(&mut shop.client, "p", "PUT", "/promotions/p1", promotion.clone()).await;
    let once = get(&mut shop.client, "/export").await;
    call(&mut shop.client, "p", "PUT", "/promotions/p1", promotion).await;
    assert_eq!(get(&mut shop.client, "/export").await, once);
}

#[tokio::test]
async fn ledger_entries_do_not_commute_and_stock_moves_do() {
    let entries = [json!({"op":"add","n":5}), json!({"op":"multiply","n":3}), json!({"op":"set","n":4})];
    let mut exports = Vec::new();
    for order in [[0, 1, 2], [1, 0, 2], [0, 2, 1]] {
        let mut shop = shop().await;
        for index in order {
            call(&mut shop.client, "k", "POST", "/ledger/s/4001001", entries[index].clone()).await;
        }
        let export = get(&mut shop.client, "/export").await.1;
        exports.push((export["seals"].to_string(), export["ledger"].to_string()));
    }
    exports.sort();
    exports.dedup();
    assert_eq!(exports.len(), 3);
    let mut stocks = Vec::new();
    for order in [[7, -2], [-2, 7]] {
        let mut shop = shop().await;
        for add in order {
            call(&mut shop.client, "k", "POST", "/inventory/4001001", json!({"add":add})).await;
        }
        stocks.push(get(&mut shop.client, "/export").await);
    }
    assert_eq!(stocks[0], stocks[1]);
}

#[tokio::test]
async fn receipts_are_numbered_per_till_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path().join("pos.db"));
    let mut receipts = Vec::new();
    for round in 0..2 {
        let (address, _server) = start(&options).await.unwrap();
        let mut client = Client::new(address);
        for till in ["k1", "k2", "k1"] {
            let id = format!("{till}-{round}-{}", receipts.len());
            let answer = call(&mut client, &id, "POST", "/transactions", json!({"id":id,"till":till})).await;
            receipts.push(answer.json().unwrap()["receipt"].as_i64().unwrap());
        }
    }
    assert_eq!(receipts, [1, 1, 2, 3, 2, 4]);
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    let mut shop = shop().await;
    let large = "x".repeat(BODY_MAX + 1);
    let cases = [
        ("POST", "/transactions", json!({"id":"t1"}), 400, "missing field `till`"),
        ("POST", "/transactions", json!({"id":"t1","till":large}), 413, "bytes"),
        ("POST", "/ledger/s/0000", json!({"op":"set","n":1}), 404, "no article"),
        ("POST", "/inventory/0000", json!({"add":1}), 404, "no article"),
        ("PATCH", "/promotions/p1", json!({}), 405, "PATCH"),
        ("POST", "/elsewhere", json!({}), 404, "/elsewhere"),
    ];
    for (method, path, body, status, reason) in cases {
        let answer = call(&mut Client::new(shop.address), "k", method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json().unwrap()["error"].as_str().unwrap().contains(reason), "{:?}", answer.body);
    }
    assert_eq!(get(&mut shop.client, "/elsewhere").await.0, 404);
    assert_eq!(get(&mut shop.client, "/log").await.1, json!([]));
}

/// Many connections share commits: far more writes than the disk could sync one by one. The bound is loose, the machine
/// is busy.
#[tokio::test]
async fn concurrent_writes_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let options = PosOptions { fsync: true, ..options(dir.path().join("pos.db")) };
    let (address, _server) = start(&options).await.unwrap();
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for lane in 0..32 {
        clients.spawn(async move {
            let mut client = Client::new(address);
            for n in 0..10 {
                let key = format!("{lane}-{n}");
                let answer = call(&mut client, &key, "POST", "/transactions", json!({"id":key,"till":"k"})).await;
                assert_eq!(answer.status, 201);
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let (_, log) = get(&mut Client::new(address), "/log").await;
    assert_eq!(log.as_array().unwrap().len(), 320);
    assert!(began.elapsed() < Duration::from_secs(60), "320 writes took {:?}", began.elapsed());
}
