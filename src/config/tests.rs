//! Files as people write them, good and bad.
use std::path::Path;

use super::check::parse_default;
use super::keys::{Kind, Presence, Section};
use super::table::ROOT;
use super::*;
use crate::gateway::LaneRule;
use crate::model::{Group, SiteName};

const GOOD: &str = r#"site = "edge"
data_dir = "data"
[realm]
name = "acme"
sites = ["edge", "cloud"]
[gateway]
listen = ["127.0.0.1:8080"]
[[peer]]
site = "cloud"
link = "http://cloud.example.com:7443"
[[service]]
name = "tx"
replicas = ["edge", "cloud"]
endpoints = [{ url = "http://127.0.0.1:9001" }]
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    let env = |name: &str| (name == "PORT").then(|| "9001".to_owned());
    Config::parse(text, "a.toml", Path::new("/etc/holdfast"), &env)
}

fn faults(text: &str) -> Vec<String> {
    parse(text).err().map_or(Vec::new(), |error| error.faults.iter().map(|fault| fault.to_string()).collect())
}

fn every_section(section: &'static Section, see: &mut dyn FnMut(&'static Section)) {
    see(section);
    for key in section.keys {
        if let Kind::Table(inner) | Kind::Tables(inner) = key.kind {
            every_section(inner, see);
        }
    }
}

#[test]
fn the_table_of_keys_is_sound() {
    every_section(&ROOT, &mut |section| {
        for (i, key) in section.keys.iter().enumerate() {
            assert!(section.keys[..i].iter().all(|other| other.name != key.name), "{} stands there twice", key.name);
            assert!(!section.later.contains(&key.name), "{} is both supported and not", key.name);
            if let Presence::Default(default) = key.presence {
                parse_default(default, &key.kind);
            }
        }
    });
    json_schema();
}

#[test]
fn the_reference_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, markdown()).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == markdown(),
        "docs/configuration.md is stale: UPDATE_DOCS=1 cargo test --lib config:: writes it anew"
    );
}

#[test]
fn a_file_without_end_is_refused() {
    let said = Config::load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(said.contains("longer than 1048576 bytes"), "{said}");
}

#[test]
fn the_examples_load_and_agree_with_each_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    let load = |name: &str| Config::load(&folder.join(name)).unwrap_or_else(|error| panic!("{error}"));
    let (edge, cloud) = (load("edge.toml"), load("cloud.toml"));
    assert_eq!((&edge.realm.name, &edge.realm.sites), (&cloud.realm.name, &cloud.realm.sites));
    for (ours, theirs) in edge.services.iter().zip(&cloud.services) {
        let between = [&edge.site, &cloud.site];
        assert_eq!((&ours.name, fleet_digest(ours, between)), (&theirs.name, fleet_digest(theirs, between)));
        assert_eq!(ours.groups(), theirs.groups());
    }
    assert!(cloud.link_listen.is_some() && edge.link_listen.is_none());
}

#[test]
fn the_documented_file_is_refused_only_for_what_is_not_built_yet() {
    let text = include_str!("testdata/design.toml");
    let found = faults(text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("service.transactions.balance.policy: \"maglev\" is not supported in this version"));
    assert!(found[1].contains("solver: is not supported in this version"));
    let supported = text.replace("maglev", "round-robin");
    let config = parse(supported.split("[[solver]]").next().unwrap()).unwrap();
    let tx = &config.services[0];
    assert_eq!(config.identity.as_ref().unwrap().ca, Path::new("/etc/holdfast/ca.pem"));
    assert_eq!(config.peers[0].control.as_deref(), Some("tls/cloud.example.com:7447"));
    assert_eq!(tx.lane, [LaneRule::Header(http::HeaderName::from_static("x-session-id"))]);
    assert_eq!(tx.outcome.probe.as_ref().unwrap().target("k1"), "/transactions/by-key/k1");
    assert_eq!(tx.longest_request.as_secs(), 30);
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let text = r#"site = "edge"
datadir = "x"
drain = 5
[realm]
name = "acme"
sites = ["edge", "cloud"]
[gateway]
listen = ["nowhere"]
max_body = "8 bananas"
[[service]]
name = "tx"
endpoints = [{ url = "ftp://x", wieght = 1 }]
replicas = ["edge", "mars"]
longest_request = "1ms"
jwt = "x"
"#;
    let found = faults(text);
    let expected = [
        "a.toml: data_dir: is missing; add `data_dir = …`: a text in quotes",
        "a.toml:2: datadir: is not a known key; did you mean `data_dir`?",
        "a.toml:3: drain: is a whole number; write a duration from",
        "a.toml:8: gateway.listen[0]: \"nowhere\" is not an address with a port",
        "a.toml:9: gateway.max_body: \"8 bananas\" is not a size; write a size from \"0B\" to \"256MiB\"",
        "a.toml:12: service.tx.endpoints[0].wieght: is not a known key; valid keys here are url, http",
        "a.toml:12: service.tx.endpoints[0].url: \"ftp://x\" is not such an address; write http://host:port",
        "a.toml:13: service.tx.replicas: \"mars\" is not in realm.sites; name only listed sites",
        "a.toml:13: service.tx.replicas: \"mars\" can never be reached",
        "a.toml:14: service.tx.longest_request: is 1ms, but a try may take 5s",
        "a.toml:15: service.tx.jwt: is not supported in this version; remove it",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

/// What is appended to the good file or replaced in it | the key of the only fault | a part of what is said.
#[test]
fn impossible_combinations_are_refused() {
    let service = |line: &str| format!("{GOOD}{line}\n");
    let top = |lines: &str| GOOD.replace("[realm]", &format!("{lines}\n[realm]"));
    let swap = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    let table = [
        (swap("site = \"edge\"", "site = \"mars\""), "site", "not in realm.sites"),
        (swap("site = \"cloud\"", "site = \"mars\""), "peer.mars.site", "not in realm.sites"),
        (swap("site = \"cloud\"", "site = \"edge\""), "peer.edge.site", "is this site itself"),
        (swap("\"edge\", \"cloud\"]\n[gate", "\"edge\", \"cloud\", \"edge\"]\n[gate"), "realm.sites", "twice"),
        (swap("http://cloud", "https://cloud"), "peer.cloud.link", "no [identity]"),
        (top("[identity]\nca=\"a\"\ncert=\"b\"\nkey=\"c\""), "peer.cloud.link", "plain http"),
        (swap("link = \"http://cloud.example.com:7443\"", ""), "peer.cloud.link", "neither dials"),
        (swap(":7443", ""), "peer.cloud.link", "not the address of a link"),
        (
            format!("{}[[peer]]\nsite = \"cloud\"\n", top("[link]\nlisten=\"127.0.0.1:7443\"")),
            "peer.cloud.site",
            "both listens and dials",
        ),
        (top("[control]\nlisten=\"127.0.0.1:7447\""), "control.listen", "without [link]"),
        (top("[admin]\nlisten=\"0.0.0.0:9797\""), "admin.token", "not loopback"),
        (top("[admin]\nlisten=\"127.0.0.1:8080\""), "admin.listen", "taken by gateway.listen"),
        (top("[store]\nurl=\"postgres://db\""), "store.url", "not supported in this version"),
        (top("[realm.x]"), "realm", "duplicate"),
        (service("answer = { order = [\"local\", \"mars\"] }"), "service.tx.answer.order", "\"mars\" has no replica"),
        (service("answer = { order = [\"local\", \"edge\"] }"), "service.tx.answer.order", "twice"),
        (service("answer = { after = \"5s\" }"), "service.tx.answer.after", "not shorter than timeout.total"),
        (service("timeout = { try = \"6s\" }"), "service.tx.timeout.try", "longer than timeout.total"),
        (service("timeout = { try = \"1s\", connect = \"2s\" }"), "service.tx.timeout.connect", "longer than one try"),
        (service("longest_request = \"4s\""), "service.tx.longest_request", "a try may take 5s"),
        (service("lane = \"sesion\""), "service.tx.lane", "is not a lane"),
        (service("lane = [\"path\", \"jwt:sub\"]"), "service.tx.lane", "never looked at"),
        (service("store_from = \"header:x-store\""), "service.tx.store_from", "no {store}"),
        (service("store_from = \"jwt:store\""), "service.tx.store_from", "not supported"),
        (service("outcome = { probe = \"POST /x\" }"), "service.tx.outcome.probe", "not a probe"),
        (service("outcome = { unexecuted = [200] }"), "service.tx.outcome.unexecuted[0]", "out of range"),
        (service("idempotency = { ttl = \"30d\" }\nretain = \"7d\""), "service.tx.idempotency.ttl", "kept for 7d"),
        (service("max_replay_body = \"1KiB\"\nanswer_max = \"2KiB\""), "service.tx.answer_max", "larger than"),
        (service("match = [{ path = \"tx\" }]"), "service.tx.match[0].path", "not a path"),
        (service("match = [{ path = \"/a\" }, { path = \"/a/\" }]"), "service.tx.match", "matched by service \"tx\""),
        (service("match = [{ host = \"a:80\" }]"), "service.tx.match[0].host", "not a host name"),
        (service("match = [{ methods = [\"PUT\"] }]"), "service.tx.match[0].methods", "not supported"),
        (service("endpoints_share_state = false"), "service.tx.endpoints_share_state", "not supported"),
        (service("when_down = \"que\""), "service.tx.when_down", "not a valid choice"),
        (
            service(
                "[[service]]\nname = \"tx\"\nmatch = [{ path = \"/b\" }]\nendpoints = [{ url = \
                \"http://127.0.0.1:9\" }]",
            ),
            "service.tx.name",
            "two services",
        ),
        (
            service("[[service]]\nname = \"b\"\nendpoints = [{ url = \"http://127.0.0.1:9\" }]"),
            "service.b.match",
            "matched by service \"tx\"",
        ),
        (
            service(
                "[[service]]\nname = \"b\"\nmatch = [{ host = \"b\" }]\nendpoints = [{ url = \"http://127.0.0.1:9\" \
                }]\nwhen_down = \"queue\"",
            ),
            "service.b.when_down",
            "without replicas",
        ),
        (swap("endpoints = [{ url = \"http://127.0.0.1:9001\" }]", ""), "service.tx.endpoints", "no instance"),
        (swap("replicas = [\"edge\", \"cloud\"]", "replicas = [\"cloud\"]"), "service.tx.endpoints", "has no replica"),
        (
            swap("replicas = [\"edge\", \"cloud\"]", "ack = { peers = 1 }\nreplicas = [\"edge\"]"),
            "service.tx.ack.peers",
            "no other site",
        ),
        (swap("127.0.0.1:9001", "127.0.0.1:8080"), "service.tx.endpoints[0].url", "this appliance itself"),
        (swap("127.0.0.1:9001", "localhost:8080"), "service.tx.endpoints[0].url", "this appliance itself"),
        (swap("9001", "${NOPE}"), "service.tx.endpoints[0].url", "NOPE is not set"),
    ];
    for (text, key, said) in table {
        let error = parse(&text).err().unwrap_or_else(|| panic!("accepted, but {key} {said}:\n{text}"));
        if said == "duplicate" {
            assert!(error.to_string().contains("is not"), "{error}");
            continue;
        }
        let fault = error.faults.iter().find(|fault| fault.key == key && fault.wrong.contains(said));
        assert!(fault.is_some(), "expected {key}: {said}, got\n{error}");
        if key != "site" && !key.ends_with("endpoints") {
            assert_eq!(error.faults.len(), 1, "{key}: {said}\n{error}");
        }
    }
}

#[test]
fn values_may_come_from_the_environment() {
    let config = parse(&GOOD.replace("9001", "${PORT}")).unwrap();
    assert_eq!(config.services[0].endpoints[0].port, 9001);
    let config = parse(&format!("{GOOD}replay = {{ auth = \"a $${{PORT}}\" }}\n")).unwrap();
    assert_eq!(config.services[0].replay.auth.as_deref(), Some("a ${PORT}"));
}

#[test]
fn syntax_errors_have_lines() {
    let found = faults("site = \"a\"\nrealm = = 3\n[x\n");
    assert!(found[0].starts_with("a.toml:2: is not TOML"), "{found:?}");
    assert!(found.iter().any(|fault| fault.starts_with("a.toml:3")), "{found:?}");
}

#[test]
fn a_hub_has_a_group_for_each_store_and_both_ends_agree() {
    let hub = r#"site = "cloud"
data_dir = "data"
[realm]
name = "acme"
sites = ["cloud", "s1", "s2"]
[gateway]
listen = "127.0.0.1:8080"
[link]
listen = "127.0.0.1:7443"
[[service]]
name = "tx"
replicas = ["{store}", "cloud"]
store_from = "header:x-store"
answer = { order = ["{store}", "cloud"] }
endpoints = [{ url = "http://127.0.0.1:9001" }]
"#;
    let spoke = |replicas: &str| {
        let text = GOOD.replace("site = \"edge\"", "site = \"s1\"");
        let text = text.replace("sites = [\"edge\", \"cloud\"]", "sites = [\"cloud\", \"s1\", \"s2\"]");
        parse(&text.replace("replicas = [\"edge\", \"cloud\"]", replicas)).unwrap_or_else(|error| panic!("{error}"))
    };
    let hub = parse(hub).unwrap_or_else(|error| panic!("{error}"));
    let tx = &hub.services[0];
    let group = |store: &str| Group { service: "tx".into(), store: store.into() };
    assert_eq!(tx.groups(), [group("s1"), group("s2")]);
    let settings = tx.settings(&hub.site, &group("s2"));
    assert_eq!(settings.replicas, [SiteName::new("cloud"), SiteName::new("s2")]);
    assert_eq!(settings.order, [SiteName::new("s2"), SiteName::new("cloud")]);
    for replicas in ["replicas = [\"{store}\", \"cloud\"]", "replicas = [\"s1\", \"cloud\"]"] {
        let spoke = spoke(replicas);
        assert_eq!(spoke.services[0].groups(), [group("s1")], "{replicas}");
        let between = [&spoke.site, &hub.site];
        assert_eq!(fleet_digest(&spoke.services[0], between), fleet_digest(tx, between));
        let settings = spoke.services[0].settings(&spoke.site, &group("s1"));
        assert_eq!(settings.order, [SiteName::new("s1"), SiteName::new("cloud")]);
    }
    // Two sites that see the same pair of replicas, but cut the writes differently, must notice.
    let other = spoke("lane = \"service\"\nreplicas = [\"s1\", \"cloud\"]");
    let between = [&other.site, &hub.site];
    assert_ne!(fleet_digest(&other.services[0], between)["lane"], fleet_digest(tx, between)["lane"]);
}

#[test]
fn sites_that_hold_the_same_data_have_no_store() {
    let text = GOOD.replace("\"edge\", \"cloud\"]", "\"edge\", \"edge2\", \"cloud\"]");
    let config = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.services[0].store, StoreRule::None);
    assert_eq!(config.services[0].groups(), [Group { service: "tx".into(), store: String::new() }]);
}

#[test]
fn the_short_form_goes_the_same_way_as_a_file() {
    let edge = ShortForm {
        site: "edge".into(),
        upstream: "http://127.0.0.1:9001".into(),
        listen: vec!["127.0.0.1:8080".parse().unwrap()],
        peers: vec!["cloud=http://127.0.0.1:7443".into()],
        ..ShortForm::default()
    };
    let cloud = ShortForm {
        site: "cloud".into(),
        peers: vec!["edge".into()],
        link: Some("127.0.0.1:7443".parse().unwrap()),
        ..edge.clone()
    };
    let ours = Config::from_short_form(&edge).unwrap_or_else(|error| panic!("{error}"));
    let theirs = Config::from_short_form(&cloud).unwrap_or_else(|error| panic!("{error}"));
    let between = [&ours.site, &theirs.site];
    assert_eq!(fleet_digest(&ours.services[0], between), fleet_digest(&theirs.services[0], between));
    assert_eq!(ours.services[0].groups(), theirs.services[0].groups());
    assert_eq!(theirs.control.listen, Some("127.0.0.1:7447".parse().unwrap()));
    assert_eq!(ours.peers[0].control.as_deref(), Some("tcp/127.0.0.1:7447"));
    let bad = ShortForm { site: "a \"b".into(), upstream: "x".into(), ..edge };
    let error = Config::from_short_form(&bad).unwrap_err().to_string();
    assert!(error.contains("command line: site: \"a \\\"b\" is not a name"), "{error}");
}

#[test]
fn numbers_given_out_at_two_sites_are_warned_of() {
    let warnings = |more: &str| {
        let config = parse(&format!("{GOOD}replicate = \"all\"\n{more}")).unwrap_or_else(|error| panic!("{error}"));
        config.warnings.iter().map(|fault| fault.to_string()).filter(|w| w.contains("replicate")).collect::<Vec<_>>()
    };
    assert!(warnings("")[0].contains("same numbers"), "the default order has two sites");
    assert_eq!(warnings("answer = { order = [\"edge\"] }\n"), Vec::<String>::new());
    assert_eq!(warnings("answer = { order = [\"cloud\"] }\n"), Vec::<String>::new());
}

#[test]
fn where_a_service_takes_several_hosts_they_are_in_the_scope_of_its_keys_or_it_is_said() {
    let scope = |more: &str| {
        let config = parse(&format!("{GOOD}{more}")).unwrap_or_else(|error| panic!("{error}"));
        let scope: Vec<String> = config.services[0].idempotency.scope.iter().map(|rule| rule.to_string()).collect();
        (scope, config.warnings.iter().any(|fault| fault.to_string().contains("idempotency.scope")))
    };
    let host = vec!["host".to_owned()];
    let table = [
        ("match = [{ host = \"a\", path = \"/\" }, { host = \"b\", path = \"/\" }]", host.clone(), false),
        ("match = [{ host = \"*.shops.example\", path = \"/\" }]", host.clone(), false),
        ("match = [{ host = \"a\", path = \"/x\" }, { host = \"A\", path = \"/y\" }]", Vec::new(), false),
        ("", Vec::new(), true),
        ("match = [{ path = \"/\" }]", Vec::new(), true),
        ("match = [{ host = \"a\", path = \"/\" }, { path = \"/\" }]", Vec::new(), true),
        ("idempotency = { scope = [] }", Vec::new(), false),
        ("idempotency = { scope = [\"host\"] }", host.clone(), false),
        ("idempotency = { scope = \"header:x-shop\" }", vec!["header:x-shop".to_owned()], false),
    ];
    for (more, expected, warned) in table {
        assert_eq!(scope(&format!("{more}\n")), (expected, warned), "{more}");
    }
    let wrong = faults(&format!("{GOOD}idempotency = {{ scope = [\"path\"], client = [\"jwt:sub\"] }}\n"));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].contains("scope") && wrong[1].contains("verifie"), "{wrong:?}");
}

#[test]
fn who_brings_a_key_is_named_by_its_credentials_unless_said_otherwise() {
    let client = |more: &str| {
        let config = parse(&format!("{GOOD}{more}")).unwrap_or_else(|error| panic!("{error}"));
        config.services[0].idempotency.client.iter().map(|rule| rule.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(client(""), ["header:authorization"]);
    assert_eq!(
        client("idempotency = { client = [\"cookie:sid\", \"header:X-Till\"] }\n"),
        ["cookie:sid", "header:x-till"]
    );
}

#[test]
fn a_mask_that_means_nothing_is_named_with_its_line() {
    let good = format!("{GOOD}[privacy]\nmask = [\"json:/card/*\", \"header:x-card\", \"form:pan\"]\n");
    assert_eq!(parse(&good).unwrap().masks.len(), 3);
    assert_eq!(parse(GOOD).unwrap().masks, []);
    // mask | what is said
    for (mask, said) in [
        ("[\n\"json:/a\",\n\"json:card\"]", "a.toml:18: privacy.mask: \"card\" is no JSON pointer"),
        ("[\"json:/a~\"]", "a.toml:16: privacy.mask: \"/a~\" is no JSON pointer: after ~"),
        ("\"header:a b\"", "a.toml:16: privacy.mask: \"a b\" is not a header name; write json:/pointer"),
        ("[\"form:\"]", "names no parameter"),
        ("[\"card\"]", "\"card\" is no mask"),
        ("[7]", "a text in quotes"),
    ] {
        let found = faults(&format!("{GOOD}[privacy]\nmask = {mask}\n"));
        assert!(found.len() == 1 && found[0].contains(said), "{mask}: {found:#?}");
    }
}
