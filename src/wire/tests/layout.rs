//! bincode 2.0.1 itself reads what we write, into types that are declared here a second time, and writes the same
//! bytes.
use bincode::config::{Configuration, Fixint, LittleEndian, NoLimit};
use bincode::{Decode, Encode};

use super::samples::{SAMPLES, group, hello, join, joined, prints, welcome};
use crate::wire::{
    Beat, Kind, encode_beat, encode_fingerprints, encode_hello, encode_join, encode_joined, encode_message,
    encode_welcome, open,
};

const LEGACY: Configuration<LittleEndian, Fixint, NoLimit> = bincode::config::legacy();

type Log = ([u8; 16], u32);
type Id = (Log, u64);
type Group = (String, String);
type Headers = Vec<(String, Vec<u8>)>;
type After = (Vec<(Log, u64)>, Vec<(Log, u64, u64)>, Vec<Id>);
type Facts = (u64, Option<[u8; 16]>, [u8; 32], Option<([u8; 16], [u8; 32])>, u64, Option<String>, Vec<Id>, bool);
type Request = (String, String, String, Headers, Vec<u8>);
type Answer = (u16, Headers, Vec<u8>, Option<[u8; 32]>);
type Outcome = (Verdict, After, Option<Id>, u16, Option<Answer>, bool, Vec<Id>);
type Item = (u64, [u8; 8], Id, Facts, Outcome, Option<(Id, u64)>, Option<Request>);
type Page = (Log, String, u64, Vec<Item>);
type Recorded = (Id, Verdict, Option<Id>, u64, Vec<Page>, Option<Answer>, After);
type Cursor = (Log, String, u64, [u8; 8], u64, bool, u64);
type Wish = (Id, u32, u64, Facts, After, Request, Vec<Page>);

#[derive(Encode, Decode)]
enum Verdict {
    Applied,
    Refused,
    NotExecuted,
    MayHaveApplied,
    Undecided,
    Void,
    Duplicate,
}
#[derive(Encode, Decode)]
enum Word {
    Stored,
    Sending,
    Done(Box<Outcome>, Vec<Page>),
    Unknown,
    Void,
    NotHere,
    OfAnother(HeldState),
}
#[derive(Encode, Decode)]
enum HeldState {
    Done,
    Unknown,
}
#[derive(Encode, Decode)]
enum Known {
    Nothing,
    OtherRequest,
    OfAnother(HeldState),
    InFlight,
    Recorded(Box<Recorded>),
    Unknown,
}
#[derive(Encode, Decode)]
enum Message {
    Status(u64, Log, u64, Vec<(Log, u64)>, bool, bool, bool, u64, u64, Vec<Cursor>, Vec<Id>),
    Page(Page),
    Wish(Box<Wish>),
    Revoke(Id, u32),
    Word(Id, u32, Word),
    Question(u64, [u8; 16], [u8; 32], Option<[u8; 32]>),
    Reply(u64, Known),
    Again(Page),
    Ahead(String, Box<Item>),
    Ask(Id, u32),
}
type Terms = (String, std::collections::BTreeMap<String, u64>);
type Hello = (u16, String, String, String, [u8; 16], String, Vec<Terms>, [u8; 16]);
type Welcome = (String, [u8; 16], String, Vec<(String, Vec<String>)>, [u8; 16]);
type Join = (String, [u8; 16], Vec<u8>, String);
#[derive(Encode, Decode)]
enum Joined {
    Given(String, String, String, String),
    Refused(String, String),
}

fn same_in_bincode<T: Encode + Decode<()>>(name: &str, envelope: &[u8], kind: Kind) {
    let payload = open(envelope, kind, 1 << 20).unwrap();
    let (value, read): (T, usize) = bincode::decode_from_slice(payload, LEGACY).expect(name);
    assert_eq!(read, payload.len(), "{name}: bincode did not read all of it");
    assert_eq!(bincode::encode_to_vec(&value, LEGACY).unwrap(), payload, "{name}");
}

#[test]
fn the_layout_is_bincodes() {
    for (name, message) in SAMPLES {
        let envelope = encode_message(&group(), &message()).unwrap();
        same_in_bincode::<(Group, Message)>(name, &envelope, Kind::Message);
    }
    same_in_bincode::<Hello>("hello", &encode_hello(&hello()).unwrap(), Kind::Hello);
    same_in_bincode::<Welcome>("welcome", &encode_welcome(&welcome()).unwrap(), Kind::Welcome);
    same_in_bincode::<Join>("join", &encode_join(&join()).unwrap(), Kind::Join);
    for joined in joined() {
        same_in_bincode::<Joined>("joined", &encode_joined(&joined).unwrap(), Kind::Joined);
    }
    same_in_bincode::<Vec<([u8; 16], String, Id)>>("prints", &encode_fingerprints(&prints(3)), Kind::Fingerprints);
    let beat = encode_beat(&Beat { sent_us: 1, echo: Some((2, 3)), asks: true, every_s: 4 });
    same_in_bincode::<(u32, Option<(u32, u32)>, bool, u16)>("beat", &beat, Kind::Beat);
}
