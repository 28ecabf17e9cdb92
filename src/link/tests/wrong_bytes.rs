//! G9 by volume: hellos and pages as bytes, with numbers and bytes written over them and their checksums right again,
//! through the decoders and checks to whoever decides by them. A failure prints its seed.
use super::kit::{edge, hub};
use crate::link::hello::{hello_to, judge};
use crate::model::{Group, NUMBER_MAX, SiteName};
use crate::service::testing::{Bench, log, new_write, page, settings};
use crate::service::{Event, Message, Settings};
use crate::wire;

const HELLOS: usize = 50_000;
const PAGES: usize = 50_000;
/// Pages that one machine hears before the next begins.
const ROUND: usize = 64;
const LIMIT: usize = 1 << 20;
const NUMBERS: [u64; 12] =
    [0, 1, 3, 255, (1 << 32) - 1, 1 << 32, 1 << 40, NUMBER_MAX, NUMBER_MAX + 1, 1 << 62, u64::MAX - 1, u64::MAX];

/// `SEED=n` repeats a run.
fn rng() -> fastrand::Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Writes numbers, or single bytes, over a few places.
fn spoil(rng: &mut fastrand::Rng, bytes: &mut [u8]) {
    for _ in 0..rng.usize(1..4) {
        let number = if rng.bool() { NUMBERS[rng.usize(..NUMBERS.len())] } else { rng.u64(..) };
        let width = [8, 4, 2, 1][rng.usize(..4)].min(bytes.len());
        let at = rng.usize(..=bytes.len() - width);
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }
}

/// The checksum of an envelope is right again.
fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&crc);
}

#[test]
fn no_hello_ends_a_site_and_an_honest_one_is_taken_afterwards() {
    let mut rng = rng();
    let (me, other) = (hub(), edge("http://127.0.0.1:1".to_owned()));
    let honest = wire::encode_hello(&hello_to(&other, &me.me)).unwrap();
    let (mut taken, mut read) = (0, 0);
    for n in 0..HELLOS {
        let mut bytes = honest.to_vec();
        let end = bytes.len() - 4;
        spoil(&mut rng, &mut bytes[6..end]);
        seal(&mut bytes);
        if n % 8 == 0 {
            bytes.truncate(rng.usize(..bytes.len()));
        }
        let hello = wire::decode_hello(&bytes);
        let speaker = Ok(SiteName::new("store-042"));
        let judged = judge(&me, &hello, Some(&speaker).filter(|_| rng.bool()));
        read += usize::from(hello.is_ok());
        if judged.is_ok() {
            // Whatever else it says, it is of a listed site, of this realm, meant for this one, and short enough for
            // people.
            let hello = hello.expect("what cannot be read is refused");
            assert!(
                hello.site == other.me && hello.to == me.me && hello.realm == me.realm && hello.software.len() < 256
            );
            taken += 1;
        }
    }
    println!("of {HELLOS} hellos {read} could be read, {taken} were taken");
    assert!(read > HELLOS / 50 && taken > 0 && taken < read, "{read} {taken}");
    assert_eq!(judge(&me, &wire::decode_hello(&honest), None).unwrap(), []);
}

/// Where the frames of a page begin that was not compressed: behind their length.
fn frames_start(envelope: &[u8]) -> usize {
    let end = envelope.len() - 4;
    let length = |at: usize| u64::from_le_bytes(envelope[at..at + 8].try_into().unwrap()) as usize;
    (6..end - 8).find(|&at| length(at) == end - at - 8).expect("it is not compressed") + 8
}

/// The checksums of its records are right again, by the lengths that it had.
fn seal_records(honest: &[u8], bytes: &mut [u8]) {
    let mut at = frames_start(honest);
    while at < honest.len() - 4 {
        let length = u32::from_le_bytes(honest[at..at + 4].try_into().unwrap()) as usize;
        let crc = crc32fast::hash(&bytes[at + 8..at + 8 + length]).to_le_bytes();
        bytes[at + 4..at + 8].copy_from_slice(&crc);
        at += 8 + length;
    }
}

fn machine() -> Bench {
    let order = ["b", "a"].map(SiteName::new).to_vec();
    let mut bench = Bench::new(Settings { order, ..settings("a", &["a", "b", "c"]) });
    bench.submit(new_write("POST", 1, 1));
    bench
}

#[test]
fn no_bytes_of_a_page_end_a_machine_and_an_honest_page_is_taken_afterwards() {
    let mut rng = rng();
    let group = Group { service: "pos".into(), store: String::new() };
    let honest: Vec<Vec<u8>> = [page(log(2), "b", 1, 1), page(log(2), "b", 1, 3), page(log(3), "c", 2, 4)]
        .iter()
        .map(|page| wire::encode_page(&group, page).unwrap().to_vec())
        .collect();
    let (mut bench, mut read, mut heard) = (machine(), 0, 0);
    for n in 0..PAGES {
        if n % ROUND == 0 {
            bench = machine();
        }
        let honest = &honest[rng.usize(..honest.len())];
        let mut bytes = honest.clone();
        let (start, end) = (if rng.u8(..) < 200 { frames_start(honest) } else { 6 }, honest.len() - 4);
        spoil(&mut rng, &mut bytes[start..end]);
        if rng.u8(..) < 230 {
            seal_records(honest, &mut bytes);
        }
        seal(&mut bytes);
        let Ok((_, page)) = wire::decode_page(&bytes, LIMIT) else { continue };
        read += 1;
        let message = if rng.bool() { Message::Page(page) } else { Message::Again(page) };
        heard += usize::from(message.check().is_ok());
        // A group is given only what has passed the check; its own must hold without it.
        bench.hear(["b", "c"][rng.usize(..2)], message);
        if rng.u8(..) < 20 {
            bench.wait(rng.u64(1..3_000));
        }
    }
    println!("of {PAGES} pages {read} could be read, {heard} were plausible");
    assert!(read > PAGES / 20 && heard > 0 && heard < read, "{read} {heard}");
    let mut bench = machine();
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    let (_, page) = wire::decode_page(&honest[1], LIMIT).unwrap();
    bench.hear("b", Message::Page(page));
    assert_eq!(bench.core.mirror.series[&log(2)].received, 3);
}
