//! What a person sees of a write in quarantine: enough to decide, and nothing that is not for his eyes.
use std::process::Command;

use crate::harness::process::{Ended, holdfast, run};
use crate::harness::upstream::Seen;
use crate::harness::{Act, Appliance, Call, SOON, Two, wait_for};

const TOKEN: &str = "s3cr3t-of-till-7";
const CARD: &str = "4111111111111111";
const CODE: &str = "c0de-on-the-back";

/// Two sites that mask cards, and record what is asked.
fn two() -> Two {
    let site = |site: crate::harness::Site| {
        site.section("privacy", "mask = [\"json:/card/*\", \"header:x-card\", \"form:pan\"]")
            .section("log", "filter = \"info,holdfast=debug\"\naccess = \"all\"")
    };
    let two = Two::spawn(site, |_, tx| tx);
    two.wait_together();
    two
}

/// The command as it stands, run as a person would who has copied it.
fn typed(line: &str) -> Ended {
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("holdfast"), "{line}");
    let mut command: Command = holdfast();
    command.args(words);
    run(command)
}

fn ask(site: &Appliance, words: &str) -> String {
    let ended = typed(&format!("holdfast {words} --admin http://{}", site.site.admin));
    assert_eq!(ended.code, Some(0), "{words}: {ended:?}");
    ended.out
}

fn order(kind: &str) -> Call {
    Call::post(&format!("/tx/orders?pan={CARD}&shop=1"))
        .header("Authorization", &format!("Bearer {TOKEN}"))
        .header("Cookie", &format!("sid={TOKEN}"))
        .header("X-Card", CARD)
        .header("X-Odd", "caf\u{9b}31m\u{202e}")
        .header("Content-Type", kind)
        .lane("till-7")
}

fn sale(key: &str) -> Call {
    let body = format!("{{\"item\":\"rope\u{9b}2J\",\"card\":{{\"no\":\"{CARD}\",\"code\":\"{CODE}\"}}}}");
    order("application/json").key(key).body(body)
}

/// The store's service has run out of what the cloud's has sold.
fn differ(two: &Two) {
    let is_order = |seen: &Seen| seen.is_write() && seen.target.starts_with("/tx/orders");
    let card = |no: &str| format!("\"card\":{{\"no\":\"{no}\"}}");
    let sold = format!("{{\"sold\":1,{}}}", card(CARD));
    let none = format!("{{\"sold\":0,\"why\":\"no rope\",{}}}", card(CODE));
    two.at_cloud.rule(move |seen| {
        let act = || Act::answer(201).header("Set-Cookie", &format!("sid={TOKEN}")).body(sold.clone());
        is_order(seen).then(act)
    });
    two.at_store.rule(move |seen| is_order(seen).then(|| Act::answer(409).body(none.clone())));
}

#[test]
fn a_divergence_is_judged_and_mended_by_what_is_shown_alone() {
    let two = two();
    differ(&two);
    two.cloud.tell(&sale("order-7")).expect(201);
    wait_for("the store cannot follow", SOON, || two.store.count("quarantine") == 1);
    let listed = two.store.api("/quarantine");
    let id = listed[0]["id"].as_str().expect("one stands there").to_owned();
    assert!(ask(&two.store, "quarantine ls").contains(&id), "{id}");
    let page = ask(&two.store, &format!("quarantine show {id} --body"));
    for part in [
        "REASON    divergence\n",
        "the decider's replica answered 201, this one 409",
        "SERVICE   tx",
        "REQUEST   POST /tx/orders?pan=***&shop=1\n",
        " at cloud\n",
        "(stands for its header:authorization) from 127.0.0.1\n",
        "KEY       order-7\n",
        "LANE      header:x-session-id = till-7 (",
        "  status: 201 at the decider, 409 here\n",
        "  /sold: 1 at the decider, 0 here\n",
        "  /why: absent at the decider, \"no rope\" here\n",
        "  /card/no: differs (masked)\n",
        "  Authorization: Bearer ***\n",
        "\"card\":{\"no\":\"***\",\"code\":\"***\"}}\n",
        "ANSWER OF ITS DECIDER: 201\n",
        "ANSWER OF THIS REPLICA: 409\n",
        "| {\"sold\":0,\"why\":\"no rope\",\"card\":{\"no\":\"***\"}}\n",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    // Here it is decided about, and there.
    let stands = ask(&two.store, &format!("writes show {id}"));
    assert!(stands.contains("store    yes       quarantine: divergence\n"), "{stands}");
    let lane =
        page.lines().find_map(|line| Some(line.strip_prefix("LANE ")?.rsplit_once('(')?.1.trim_end_matches(')')));
    let of_lane = ask(&two.store, &format!("quarantine ls --lane {}", lane.expect("it has one")));
    assert!(of_lane.contains(&id), "{of_lane}");
    assert!(page.contains("\nSINCE     20") && page.contains("\nACCEPTED  20"), "{page}");
    two.wait_settled();
    // What is said of another site is typed there.
    let commands = || page.lines().filter_map(|line| line.strip_prefix("  holdfast "));
    let there = commands().find_map(|line| line.strip_suffix("   # at cloud")).expect("a look at the other site");
    let seen = ask(&two.cloud, there);
    for part in ["KEY       order-7\n", "ANSWER OF ITS DECIDER: 201\n", "store    yes       decided or held there"] {
        assert!(seen.contains(part), "{part}\n{seen}");
    }
    // The store has rope again.
    two.at_store.as_usual();
    let resend = commands().find(|line| line.starts_with("quarantine resend")).expect("an order to send it again");
    let ended = typed(&format!("holdfast {resend}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    wait_for("nothing is left", SOON, || two.store.count("quarantine") == 0);
    two.wait_equal(1);
    let sent = two.at_store.applied();
    let body = sent[0].text();
    assert!(body.contains(CARD) && body.contains(CODE), "what is sent is not masked: {body}");
    assert_eq!(sent[0].header("x-card"), Some(CARD));
}

#[test]
fn nothing_that_is_shown_or_logged_holds_a_credential_or_what_is_masked() {
    let two = two();
    differ(&two);
    two.cloud.tell(&sale("order-7")).expect(201);
    // What a mask finds nothing in, and what only looks like JSON.
    two.cloud.tell(&order("text/plain").key("order-8").body(format!("{CARD} by mail"))).expect(201);
    let cut = format!("{{\"card\":{{\"no\":\"{CARD}\"");
    two.cloud.tell(&order("application/json").key("order-9").body(cut)).expect(201);
    wait_for("the store cannot follow", SOON, || two.store.count("quarantine") == 3);
    let entries = two.store.api("/quarantine");
    let ids: Vec<&str> = entries.as_array().unwrap().iter().filter_map(|entry| entry["id"].as_str()).collect();
    let mut shown = vec![entries.to_string()];
    for site in [&two.store, &two.cloud] {
        for id in &ids {
            for end in ["", " --body", " --body -o json"] {
                shown.push(ask(site, &format!("writes show {id}{end}")));
            }
        }
        for words in
            ["writes ls", "writes ls -o json", "quarantine ls --all", "quarantine ls -o json", "status -o json"]
        {
            shown.push(ask(site, words));
        }
        shown.push(Call::get("/metrics").told(site.site.admin).text());
    }
    for id in &ids {
        for end in ["", " --body", " --body -o json"] {
            shown.push(ask(&two.store, &format!("quarantine show {id}{end}")));
        }
    }
    assert!(shown.iter().filter(|text| text.contains("order-8")).count() > 5, "the pages are about them");
    assert!(shown.iter().any(|text| text.contains("it is neither JSON nor a form")), "{shown:#?}");
    ask(&two.store, &format!("quarantine discard {}", ids[0]));
    shown.extend([two.store.log(), two.cloud.log()]);
    assert!(shown.last().unwrap().contains("{\"log\":\"access\""), "requests are recorded");
    for text in &shown {
        for secret in [TOKEN, CARD, CODE] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let odd = text.chars().find(|sign| sign.is_control() && *sign != '\n' && *sign != '\t' || *sign == '\u{202e}');
        assert_eq!(odd, None, "it steers a terminal: {text:?}");
    }
    // By the API too, for whoever asks it himself.
    for id in &ids[1..] {
        let told = Call::get(&format!("/api/v1/quarantine/{id}?body=true")).told(two.store.site.admin).expect(200);
        assert!(![TOKEN, CARD, CODE].iter().any(|secret| told.text().contains(secret)), "{}", told.text());
    }
}
