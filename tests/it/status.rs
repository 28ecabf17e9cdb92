//! What a person, and monitoring, is told of a site: by the real binary, with what is really the matter.
use crate::harness::process::{Ended, Process, holdfast, run};
use crate::harness::{Act, Appliance, Call, SOON, Scene, Service, Site, Two, free_port, wait_for};

/// As on a terminal of 80 columns.
fn command(appliance: &Appliance, words: &str) -> Ended {
    let mut command = holdfast();
    command.args(words.split(' ')).args(["--admin", &format!("http://{}", appliance.site.admin)]);
    command.env("COLUMNS", "80");
    run(command)
}

#[track_caller]
fn shown(appliance: &Appliance, words: &str) -> String {
    let ended = command(appliance, words);
    assert_eq!(ended.code, Some(0), "{words}: {ended:?}");
    ended.out
}

fn health(appliance: &Appliance) -> serde_json::Value {
    Call::get("/health").told(appliance.site.admin).json()
}

/// The entry of `/health` about this, if there is one.
fn entry(appliance: &Appliance, subject: &str, part: &str) -> Option<serde_json::Value> {
    let health = health(appliance);
    let found = health["look_at"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["subject"] == subject && one["what"].as_str().is_some_and(|what| what.contains(part)));
    found.cloned()
}

/// Both say it, and with the command that helps.
#[track_caller]
fn is_looked_at(appliance: &Appliance, subject: &str, part: &str, helps: &str) {
    wait_for(&format!("{subject}: {part}"), SOON, || entry(appliance, subject, part).is_some());
    let health = health(appliance);
    assert!(health["reasons"].to_string().contains(part), "{health}");
    let page = shown(appliance, "status --wide");
    assert!(page.starts_with("LOOK AT\n"), "{page}");
    let line = page.lines().position(|line| line.contains(&format!("{subject}: ")) && line.contains(part));
    let line = line.unwrap_or_else(|| panic!("{subject}: {part}: {page}"));
    let below = page.lines().nth(line + 1).unwrap_or_default();
    assert!(below.trim().starts_with(helps), "{helps}: {page}");
}

#[test]
fn a_service_that_nobody_checks_and_nobody_can_reach_is_named() {
    let mut scene = Scene::one(|tx| tx.without("health"));
    assert_eq!(health(&scene.store)["grade"], "ok");
    scene.service.stop();
    for n in 0..3 {
        scene.store.tell(&Call::get(&format!("/tx/{n}"))).expect(503);
    }
    is_looked_at(&scene.store, "tx", "no healthy endpoint at this site for", "holdfast services --admin");
    is_looked_at(&scene.store, "tx", "connecting to", "holdfast services --admin");
    assert!(shown(&scene.store, "services").contains(" is down for "), "{}", shown(&scene.store, "services"));
    scene.service.resume();
    wait_for("it is well again", SOON, || health(&scene.store)["grade"] == "ok");
    assert!(shown(&scene.store, "status").contains("nothing to look at"));
}

#[test]
fn a_service_that_is_gone_is_named_before_its_first_client_comes() {
    // With a replica, and a plain proxy, which has no journal.
    let gone = |name: &str| Service::at(name, free_port()).without("health");
    let web = gone("web").without("lane").without("longest_request");
    let site = Site::alone().service(gone("tx").replicas(&["store"])).service(web);
    let store = site.start();
    for name in ["tx", "web"] {
        is_looked_at(&store, name, "no healthy endpoint at this site", "holdfast services");
    }
    assert_eq!(command(&store, "status --check").code, Some(2));
}

#[test]
fn a_service_that_answers_nothing_but_503_is_named() {
    let scene = Scene::one(|tx| tx.without("health"));
    scene.service.at("/tx/a", Act::answer(503));
    for n in 0..3 {
        scene.store.tell(&Call::post("/tx/a").key(&format!("k{n}")).lane(&format!("l{n}"))).expect(504);
    }
    is_looked_at(&scene.store, "tx", "its last 3 tries failed", "holdfast services");
    scene.store.tell(&Call::get("/tx/b")).expect(200);
    wait_for("it is well again", SOON, || health(&scene.store)["grade"] == "ok");
}

#[test]
fn a_peer_that_is_away_is_named_with_what_it_lacks() {
    let mut two = Two::start();
    wait_for("all is well", SOON, || health(&two.store)["grade"] == "ok");
    two.cut();
    for n in 0..3 {
        two.store.tell(&Call::post("/tx/sale").key(&format!("k{n}"))).expect(201);
    }
    is_looked_at(&two.store, "cloud", "away for ", "holdfast peers --wide");
    is_looked_at(&two.store, "cloud", "3 writes owed, the oldest of ", "holdfast peers --wide");
    is_looked_at(&two.cloud, "store", "away for ", "holdfast peers --wide");
    // Also of a life before.
    two.store.kill();
    two.store.restart();
    is_looked_at(&two.store, "cloud", "3 writes owed, the oldest of ", "holdfast peers --wide");
    two.heal();
    two.wait_equal(3);
    wait_for("all is well again", SOON, || health(&two.store)["grade"] == "ok");
}

#[test]
fn monitoring_is_told_by_exit_codes() {
    let mut scene = Scene::one(|tx| tx);
    let check = |appliance: &Appliance| command(appliance, "status --check");
    let well = check(&scene.store);
    assert_eq!((well.code, well.out.starts_with("HOLDFAST OK - store is ready | ")), (Some(0), true), "{well:?}");
    scene.service.at("/tx/fails", Act::answer(500));
    scene.store.tell(&Call::post("/tx/fails").key("k")).expect(500);
    wait_for("it waits for a person", SOON, || scene.store.count("quarantine") == 1);
    let warned = check(&scene.store);
    assert_eq!(warned.code, Some(1), "{warned:?}");
    let said = "HOLDFAST WARNING - tx: 1 in quarantine (1 may-have-applied), not equal: 1 lane (holdfast quarantine ls";
    assert!(warned.out.starts_with(said), "{warned:?}");
    let held = shown(&scene.store, "quarantine ls");
    assert!(held.contains("may-have-applied") && held.lines().all(|line| line.chars().count() <= 80), "{held}");
    scene.service.stop();
    scene.wait_down();
    let critical = check(&scene.store);
    assert_eq!(critical.code, Some(2), "{critical:?}");
    assert!(
        critical.out.starts_with("HOLDFAST CRITICAL - tx: no healthy endpoint") && critical.out.contains("and 1 more")
    );
    scene.store.stop();
    let gone = check(&scene.store);
    assert_eq!((gone.code, gone.err.as_str()), (Some(3), ""), "{gone:?}");
    assert!(gone.out.starts_with("HOLDFAST UNKNOWN - no appliance answers"), "{gone:?}");
    for ended in [well, warned, critical, gone] {
        assert_eq!(ended.out.lines().count(), 1, "{ended:?}");
    }
}

#[test]
fn tables_fit_eighty_columns_and_writes_are_told_in_words() {
    let long = "/tx/a/very/long/way/down/to/the/resource/of/which/nobody/knows/the/end?with=questions&and=answers";
    let two = Two::start();
    two.store.tell(&Call::post("/tx/sale").key("k1").lane("till-7")).expect(201);
    two.store.tell(&Call::post(long).key("k2").lane("till-8")).expect(201);
    two.cloud.tell(&Call::post("/tx/sale").key("k3").lane("till-9")).expect(201);
    two.wait_equal(3);
    two.at_store.at("/tx/fails", Act::answer(409));
    two.store.tell(&Call::post("/tx/fails").key("k4").lane("till-7")).expect(409);
    two.cut();
    for words in ["status", "peers", "services", "writes ls"] {
        let text = shown(&two.store, words);
        let too_long = text.lines().find(|line| line.chars().count() > 80 && !line.starts_with("      holdfast "));
        assert_eq!(too_long, None, "{words}: {text}");
    }
    let list = shown(&two.store, "writes ls");
    for part in ["here, applied", "cloud, applied", "here, refused", "till-9"] {
        assert!(list.contains(part), "{part}: {list}");
    }
    assert!(list.contains("now") || list.contains(" s ago"), "{list}");
    let api = two.store.api("/writes");
    let writes = api["writes"].as_array().expect("a list");
    let write = writes.iter().find(|write| write["target"] == long).unwrap_or_else(|| panic!("{api}"));
    assert_eq!((&write["origin_site"], &write["lane_words"]), (&"store".into(), &"till-8".into()), "{write}");
    assert!(writes.iter().any(|write| write["origin_site"] == "cloud"), "{api}");
    // Each is named whole, as `writes show` wants it.
    let id = write["id"].as_str().expect("an id");
    assert!(list.contains(id), "{id}: {list}");
    let one = shown(&two.store, &format!("writes show {id}"));
    assert!(one.contains("here, applied") && one.contains("till-8"), "{one}");
    assert!(shown(&two.store, "writes ls --wide").lines().any(|line| line.contains(long)));
}

#[test]
fn what_a_service_left_that_is_no_more_in_the_configuration_is_told_until_it_is_back() {
    let two = Two::start();
    two.store.tell(&Call::post("/tx/sale").key("k1")).expect(201);
    two.wait_equal(1);
    two.cut();
    two.store.tell(&Call::post("/tx/sale").key("k2")).expect(201);
    let Two { mut store, cloud, at_store, at_cloud, links, control } = two;
    store.stop();
    let text = store.site.toml();
    store.restart_as(&text.replace("name = \"tx\"", "name = \"till\""));
    let told = |store: &Appliance| shown(store, "status").replace("\n    ", " ");
    // One or two: what is confirmed is written down a second later at most.
    let list = told(&store);
    assert!(list.contains("tx@store: no service of the configuration has its writes any more"), "{list}");
    assert!(list.contains("that other sites have not confirmed;"), "{list}");
    assert!(shown(&store, "status --seen").contains("nothing becomes of them"));
    assert!(!told(&store).contains("nothing becomes"), "{}", told(&store));
    store.stop();
    store.restart_as(&text);
    let two = Two { store, cloud, at_store, at_cloud, links, control };
    assert!(!told(&two.store).contains("nothing becomes"), "{}", told(&two.store));
    two.heal();
    two.wait_equal(2);
}

#[test]
fn a_status_that_is_watched_comes_again_and_outlives_the_appliance() {
    let mut scene = Scene::one(|tx| tx);
    let mut command = holdfast();
    command.args(["status", "--watch", "--admin", &format!("http://{}", scene.store.site.admin)]);
    let folder = tempfile::tempdir().unwrap();
    let mut watching = Process::spawn(command, "watch", &folder.path().join("watch.log"));
    let times = |watching: &Process| watching.log().matches("store of acme: ready").count();
    wait_for("it is shown again", SOON, || times(&watching) >= 2);
    scene.store.kill();
    wait_for("it is said that nobody answers", SOON, || watching.log().contains("no appliance answers"));
    scene.store.restart();
    let before = times(&watching);
    wait_for("and shown again", SOON, || times(&watching) > before);
    assert!(!watching.log().contains('\u{1b}'), "no terminal, no control characters");
    watching.kill();
}

/// Whatever they wrote stands in another order at each: a person must know, of which, and be able to say that it was
/// looked at.
#[test]
fn writes_of_one_lane_on_both_sides_of_a_cut_are_named_until_they_are_seen() {
    let mut two = Two::start();
    two.cut();
    for site in [&two.store, &two.cloud] {
        let name = &site.site.name;
        site.tell(&Call::put("/tx/one").key(name).lane("one").body(name.clone())).expect(201);
    }
    // What it knows of its lanes it reads from the journal now, and nobody can tell it since when the line is cut.
    two.store.kill();
    two.store.restart();
    is_looked_at(&two.store, "cloud", "not linked since the start, ", "holdfast peers --wide");
    assert!(shown(&two.store, "peers").contains("start, "), "{}", shown(&two.store, "peers"));
    two.heal();
    two.wait_settled();
    for site in [&two.store, &two.cloud] {
        is_looked_at(site, "lanes", "1 write was taken beside one of its lane", "holdfast writes conflicts");
        let found = site.api("/conflicts")[0].clone();
        let page = shown(site, "writes conflicts");
        for name in ["write", "with"] {
            let id = found[name].as_str().unwrap();
            assert_eq!(site.api(&format!("/writes/{id}"))["id"], id, "there is such a write");
            assert!(page.contains(id), "{page}");
        }
        let said = shown(site, "status --seen");
        assert!(said.contains("seen: lanes: 1 write was taken beside one of its lane"), "{said}");
        assert_eq!(entry(site, "lanes", ""), None);
        assert_eq!(shown(site, "status --seen"), "nothing has happened that was not seen\n");
        assert!(shown(site, "writes conflicts").contains("one lane"), "the list stays");
    }
}

#[test]
fn a_watch_ends_when_nobody_reads_it() {
    let scene = Scene::one(|tx| tx);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut watch = holdfast();
    watch.args(["status", "--watch", "--admin", &format!("http://{}", scene.store.site.admin)]).stdout(writer);
    let log = scene.store.site.folder().join("watch.log");
    let mut watch = Process::spawn_to(watch, "watch", &log);
    std::io::Read::read_exact(&mut &reader, &mut [0; 10]).unwrap();
    drop(reader);
    assert_eq!(watch.wait_end().code(), Some(0));
}

/// A command can be typed in any folder.
#[test]
fn paths_in_what_is_to_be_typed_lead_there_from_everywhere() {
    let upstream = crate::harness::Upstream::start();
    let mut site = Site::alone().service(Service::new("tx", &upstream).replicas(&["store"]));
    let authority = crate::harness::certificates::Authority::new();
    let identity = authority.issue_until("store", site.folder(), 86_400);
    site = site.section("identity", &identity);
    std::fs::write(site.folder().join("holdfast.toml"), site.toml()).unwrap();
    let mut run = holdfast();
    run.args(["run", "--config", "holdfast.toml"]).current_dir(site.folder());
    let process = Process::spawn(run, "store", &site.folder().join("holdfast.log"));
    let appliance = Appliance { process, site };
    let shown = format!("holdfast identity show {}", appliance.site.folder().join("site.pem").display());
    wait_for("it answers", SOON, || Call::get("/health").send(appliance.site.admin).is_ok());
    wait_for("it is told where it is", SOON, || health(&appliance).to_string().contains(&shown));
}
