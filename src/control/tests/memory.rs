//! The in-memory twin: cuts, losses, delays, repairs.
use std::sync::Arc;

use uuid::Uuid;

use super::{Recorder, group, log, print};
use crate::control::{Control, ControlSettings, Memory, Role, Way};
use crate::model::SiteName;

fn join(network: &Memory, site: &str, boot: u8) -> (Control, Arc<Recorder>) {
    let mut settings = ControlSettings::new("acme", SiteName::new(site), "n", Role::Off);
    settings.boot = Uuid::from_bytes([boot; 16]);
    let recorder = Arc::new(Recorder::default());
    (network.join(&settings, recorder.clone()), recorder)
}

fn site(name: &str) -> SiteName {
    SiteName::new(name)
}

#[test]
fn hints_reach_all_others_and_not_the_speaker() {
    let network = Memory::new(1);
    let (a, heard_a) = join(&network, "a", 1);
    let (_b, heard_b) = join(&network, "b", 2);
    let (_c, heard_c) = join(&network, "c", 3);
    network.set(&site("a"), &site("c"), Way { delay_ms: 20, ..Way::default() });
    a.publish_fingerprint(&group("s1"), print("a", 1));
    a.publish_fingerprint(&group("s2"), print("a", 2));
    a.announce_head(&group(""), log(), 5);
    a.announce_head(&group(""), log(), 6);
    a.publish_health(&group(""), true, 3);
    network.advance(0);
    assert_eq!(heard_b.numbers(), [1, 2]);
    {
        let heard = heard_b.heard.lock().unwrap();
        assert_eq!(heard.prints[1].0, group("s2"));
        assert_eq!(heard.prints[1].1, print("a", 2));
        assert_eq!(heard.heads, [(site("a"), group(""), log(), 6)], "a newer head takes the place of an older one");
        assert_eq!(heard.health, [(site("a"), group(""), true, 3)]);
    }
    network.advance(19);
    assert!(heard_c.numbers().is_empty());
    network.advance(20);
    assert_eq!(heard_c.numbers(), [1, 2]);
    network.advance(60_000);
    assert_eq!(heard_b.numbers(), [1, 2], "a digest that fits asks for nothing, and nothing comes twice");
    assert!(heard_a.numbers().is_empty());
    let status = a.status();
    assert_eq!((status.published, status.questions_answered), (2, 0));
}

#[test]
fn what_was_lost_or_cut_off_is_repaired_by_the_digest() {
    let network = Memory::new(2);
    let (a, _) = join(&network, "a", 1);
    let (b, heard_b) = join(&network, "b", 2);
    network.set(&site("a"), &site("b"), Way { lost_per_mille: 500, ..Way::default() });
    for n in 1..=400 {
        a.publish_fingerprint(&group(""), print("a", n));
        network.advance(n);
    }
    assert!(heard_b.numbers().len() < 390);
    network.cut(&site("a"), &site("b"), true);
    for n in 401..=500 {
        a.publish_fingerprint(&group(""), print("a", n));
        network.advance(n);
    }
    network.set(&site("a"), &site("b"), Way::default());
    network.cut(&site("a"), &site("b"), false);
    network.advance(20_000);
    assert_eq!(heard_b.numbers(), (1..=500).collect::<Vec<_>>());
    assert!(b.status().questions_asked > 0);

    // A node that comes later, or restarts, gets the window too.
    let (_c, heard_c) = join(&network, "c", 3);
    network.advance(30_000);
    assert_eq!(heard_c.numbers(), (1..=500).collect::<Vec<_>>());
}

#[test]
fn only_the_window_can_be_asked_for_and_an_answer_is_bounded() {
    let network = Memory::new(3);
    let (a, _) = join(&network, "a", 1);
    for n in 1..=6_000 {
        a.publish_fingerprint(&group(""), print("a", n));
        if n % 100 == 0 {
            network.advance(n / 100);
        }
    }
    let (_b, heard_b) = join(&network, "b", 2);
    network.advance(3_100);
    let first = heard_b.numbers();
    assert!(first.len() <= 1_024 && first.contains(&6_000), "the newest first: {}", first.len());
    network.advance(60_000);
    assert_eq!(heard_b.numbers(), (6_000 - 4_095..=6_000).collect::<Vec<_>>());
}

#[test]
fn liveliness_follows_each_direction_and_a_new_boot_is_another_node() {
    let network = Memory::new(4);
    let (_a, heard_a) = join(&network, "a", 1);
    let (_b, heard_b) = join(&network, "b", 2);
    network.set(&site("a"), &site("b"), Way { cut: true, ..Way::default() });
    network.leave(&site("b"), "n");
    let (_b2, heard_b2) = join(&network, "b", 3);
    let seen = |recorder: &Recorder| {
        let heard = recorder.heard.lock().unwrap();
        heard.alive.iter().map(|(s, _, boot, up)| (s.to_string(), boot.as_bytes()[0], *up)).collect::<Vec<_>>()
    };
    let b = |boot, up| ("b".to_owned(), boot, up);
    assert_eq!(seen(&heard_a), [b(2, true), b(2, false), b(3, true)]);
    assert_eq!(seen(&heard_b), [("a".to_owned(), 1, true), ("a".to_owned(), 1, false)]);
    assert_eq!(seen(&heard_b2), []);
}

#[test]
fn the_same_calls_and_seed_give_the_same_run() {
    let run = |seed| {
        let network = Memory::new(seed);
        let (a, _) = join(&network, "a", 1);
        let (_b, heard) = join(&network, "b", 2);
        network.set(&site("a"), &site("b"), Way { lost_per_mille: 300, delay_ms: 7, cut: false });
        for n in 1..=100 {
            a.publish_fingerprint(&group(""), print("a", n));
            network.advance(n * 3);
        }
        let heard = heard.heard.lock().unwrap();
        heard.prints.iter().map(|p| p.1.id.n).collect::<Vec<_>>()
    };
    assert_eq!(run(9), run(9));
    assert_ne!(run(9), run(10));
}

#[test]
fn a_full_queue_drops_and_counts() {
    let network = Memory::new(5);
    let (a, _) = join(&network, "a", 1);
    (0..10_000).for_each(|n| a.publish_fingerprint(&group(""), print("a", n)));
    assert_eq!(a.status().dropped_out, 10_000 - 8_192);
    a.stop();
    a.publish_fingerprint(&group(""), print("a", 1));
    assert_eq!(a.status().dropped_out, 10_001 - 8_192);
    let off = Control::off();
    off.publish_fingerprint(&group(""), print("a", 1));
    assert_eq!(off.status(), Default::default());
}
