//! A box that joins by a code, and everybody else who comes to that door.
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::kit::*;
use super::refusals::{https, secured};
use crate::identity::{
    Authority, Credentials, Files, INVITES_FILE, Invites, JoinCode, Joining, Renewals, Trust, now_s,
};
use crate::link::{JoinError, Joins, Limits, LinkSettings, ask_to_join};
use crate::wire::{self, Join, Kind};

/// A hub that lets boxes join, and the folder with the authority that all of the realm trust.
struct Door {
    folder: tempfile::TempDir,
    joins: Joins,
    credentials: Arc<Credentials>,
    cloud: Site,
}

impl Door {
    async fn open() -> Self {
        Self::with(Limits { dead_after: SOON, ..hub().limits }).await
    }

    async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let realm = Authority::init(folder.path(), "acme", 100).unwrap();
        let authority = Authority::open(&realm.cert, &realm.key).unwrap();
        let of_cloud = authority.issue(&site("cloud"), folder.path(), 50).unwrap();
        let delegated = authority.delegate(&site("cloud"), folder.path(), 90).unwrap();
        let renewals = Arc::new(Renewals::open(&delegated.cert, &delegated.key, 60).unwrap());
        let mut settings = LinkSettings { limits, ..hub() };
        settings.sites.push(site("store-043"));
        let file = folder.path().join(INVITES_FILE);
        let invites = Arc::new(Invites::open(file, site("cloud"), &settings.sites));
        let joins = Joins::new(invites, renewals);
        settings.joins = Some(joins.clone());
        let settings = secured(settings, Files { ca: realm.cert, cert: of_cloud.cert, key: of_cloud.key });
        let credentials = settings.tls.clone().unwrap();
        let cloud = start(settings).await;
        Self { folder, joins, credentials, cloud }
    }

    fn code(&self, name: &str) -> JoinCode {
        let trust = self.credentials.current().trust(&site("cloud")).unwrap();
        let code = JoinCode::new(site(name), trust).unwrap();
        self.joins.invites.invite(&site(name), &JoinCode::secret_hash(&code.secret), 1, now_s()).unwrap();
        JoinCode::parse(&code.to_text()).unwrap()
    }

    fn port(&self) -> u16 {
        self.cloud.links.local_addr().unwrap().port()
    }

    async fn ask(&self, code: &JoinCode, joining: &Joining) -> Result<wire::Given, JoinError> {
        ask_to_join(code, "127.0.0.1", self.port(), joining.request.clone()).await
    }

    fn box_of(&self, name: &str, folder: &str) -> Joining {
        Joining::begin(&site(name), &self.folder.path().join(folder)).unwrap()
    }
}

fn refusal(error: JoinError) -> String {
    match error {
        JoinError::Refused { code, .. } => code,
        other => panic!("{other}"),
    }
}

fn files(folder: &Path, name: &str) -> Files {
    let at = |name: String| folder.join(name);
    Files { ca: at("ca.pem".to_owned()), cert: at(format!("{name}.pem")), key: at(format!("{name}.key")) }
}

#[tokio::test]
async fn a_box_joins_by_its_code_and_links() {
    let mut door = Door::open().await;
    let code = door.code("store-042");
    let joining = door.box_of("store-042", "box");
    let given = door.ask(&code, &joining).await.unwrap();
    assert_eq!((given.hub.as_str(), given.realm.as_str()), ("cloud", "acme"));
    // Its answer was lost: the same box asks again, with the key that it has kept.
    let key = std::fs::read(door.folder.path().join("box/store-042.key")).unwrap();
    drop(joining);
    let again = door.box_of("store-042", "box");
    let given = door.ask(&code, &again).await.unwrap();
    let issued = again.finish(&given.certificate, &given.authorities).unwrap();
    let folder = door.folder.path().join("box");
    assert_eq!(std::fs::read(&issued.key).unwrap(), key);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&issued.key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["ca.pem", "store-042.key", "store-042.pem"]);
    drop(again);
    // It is there: nothing is written over it.
    let error = Joining::begin(&site("store-042"), &folder).map(drop).unwrap_err().to_string();
    assert!(error.contains("store-042.pem is there already"), "{error}");
    let mut store = start(secured(edge(https(&door.cloud)), files(&folder, "store-042"))).await;
    door.cloud.up("store-042").await;
    store.up("cloud").await;
}

#[tokio::test]
async fn a_code_is_good_for_one_box_of_one_name_until_its_end() {
    let door = Door::open().await;
    let code = door.code("store-042");
    let (first, other) = (door.box_of("store-042", "first"), door.box_of("store-042", "other"));
    // A guess, and the code of one site for another one.
    let guess = JoinCode { secret: [0; 16], ..code.clone() };
    assert_eq!(refusal(door.ask(&guess, &first).await.unwrap_err()), "unknown-code");
    let stolen = JoinCode { site: site("store-043"), ..code.clone() };
    assert_eq!(refusal(door.ask(&stolen, &door.box_of("store-043", "43")).await.unwrap_err()), "unknown-code");
    let unlisted = JoinCode { site: site("store-044"), ..code.clone() };
    assert_eq!(refusal(door.ask(&unlisted, &first).await.unwrap_err()), "unknown-code");
    // What is no request uses nothing up.
    let error = ask_to_join(&code, "127.0.0.1", door.port(), b"nonsense".to_vec()).await.unwrap_err();
    assert_eq!(refusal(error), "bad-request");
    let given = door.ask(&code, &first).await.unwrap();
    assert_eq!(refusal(door.ask(&code, &other).await.unwrap_err()), "used-code");
    // What was overheard, or given for the one, does nothing for the other.
    let error = other.finish(&given.certificate, &given.authorities).unwrap_err().to_string();
    assert!(error.contains("does not belong to certificate"), "{error}");
    // Another code takes its place, and one that is over says so.
    let later = door.code("store-042");
    assert_eq!(refusal(door.ask(&code, &first).await.unwrap_err()), "unknown-code");
    assert!(door.ask(&later, &other).await.is_ok());
    let old = door.code("store-043");
    let hash = JoinCode::secret_hash(&old.secret);
    door.joins.invites.invite(&site("store-043"), &hash, 1, now_s() - 7_200).unwrap();
    assert_eq!(refusal(door.ask(&old, &door.box_of("store-043", "43")).await.unwrap_err()), "expired-code");
}

#[tokio::test]
async fn whoever_is_not_the_hub_is_told_nothing() {
    let door = Door::open().await;
    let code = door.code("store-042");
    let joining = door.box_of("store-042", "box");
    let told = |error: JoinError| match error {
        JoinError::NotTheHub { why, .. } => why,
        other => panic!("{other}"),
    };
    // Another realm; and of this one another hub, or another authority.
    let other = Door::open().await;
    let error = other.ask(&code, &joining).await.unwrap_err();
    assert!(told(error).contains("not the hub that the code is from"));
    let posing = Door { cloud: start_as_store(&door).await, ..Door::open().await };
    let error = posing.ask(&code, &joining).await.unwrap_err();
    assert!(told(error).contains("not the hub that the code is from"));
    let wrong = JoinCode { trust: Trust::of("store-042", b""), ..code.clone() };
    assert!(told(door.ask(&wrong, &joining).await.unwrap_err()).contains("not the hub"));
    // A hub at which nobody joins, plain TCP, and nobody at all.
    let settings = LinkSettings { tls: Some(door.credentials.clone()), ..hub() };
    let without = start(settings).await;
    let error =
        ask_to_join(&code, "127.0.0.1", without.links.local_addr().unwrap().port(), joining.request.clone()).await;
    let why = told(error.unwrap_err());
    assert!(why.contains("boxes join at the link.listen of a hub with [identity.renewals]"), "{why}");
    let plain = start(hub()).await;
    let error =
        ask_to_join(&code, "127.0.0.1", plain.links.local_addr().unwrap().port(), joining.request.clone()).await;
    told(error.unwrap_err());
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = ask_to_join(&code, "127.0.0.1", gone, joining.request.clone()).await.unwrap_err();
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error}");
    // The code is as good as before.
    assert!(door.ask(&code, &joining).await.is_ok());
}

/// What somebody who takes connections does with them.
async fn behaves<F: Future<Output = ()> + Send + 'static>(
    with: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            with(listener.accept().await.unwrap().0).await;
        }
    });
    port
}

#[tokio::test]
async fn what_broke_off_is_tried_again_and_said_as_it_was() {
    let door = Door::open().await;
    let code = door.code("store-042");
    let joining = door.box_of("store-042", "box");
    let ask = async |port| ask_to_join(&code, "127.0.0.1", port, joining.request.clone()).await.unwrap_err();
    // It ends, or is reset, before the hub has shown who it is: nothing was told.
    let ends = behaves(|mut io: TcpStream| async move { drop(io.read(&mut [0; 4_096]).await) }).await;
    let resets = behaves(|io: TcpStream| async move { drop(io.readable().await) }).await;
    for port in [ends, resets] {
        let error = ask(port).await;
        assert!(matches!(error, JoinError::Handshake { .. }) && error.may_pass(), "{error}");
        assert!(error.to_string().contains("nothing was told, the code is as good as before"), "{error}");
    }
    // The hub, over a line that breaks when it would answer: nobody knows what it did.
    let hub_port = door.port();
    let breaks = behaves(move |mut io: TcpStream| async move {
        let mut hub = TcpStream::connect(("127.0.0.1", hub_port)).await.unwrap();
        let (mut up, mut down, mut turns) = ([0; 8_192], [0; 8_192], 0);
        loop {
            tokio::select! {
                read = io.read(&mut up) => {
                    let read = read.unwrap_or(0);
                    turns += 1;
                    if read == 0 || hub.write_all(&up[..read]).await.is_err() { return }
                }
                read = hub.read(&mut down) => {
                    let read = read.unwrap_or(0);
                    // What follows the handshake.
                    if read == 0 || turns > 1 || io.write_all(&down[..read]).await.is_err() { return }
                }
            }
        }
    })
    .await;
    let error = ask(breaks).await;
    assert!(matches!(error, JoinError::Broken { .. }) && error.may_pass(), "{error}");
    assert!(error.to_string().contains("whether the hub has used the code is not known"), "{error}");
    // And the same again does it.
    assert!(door.ask(&code, &joining).await.is_ok());
    // A hub that cannot write it down has used nothing up.
    let code = door.code("store-043");
    let file = door.folder.path().join(INVITES_FILE);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let error = door.ask(&code, &door.box_of("store-043", "43")).await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("not-kept"), "{error}");
    std::fs::remove_dir(&file).unwrap();
    assert!(door.ask(&code, &door.box_of("store-043", "43")).await.is_ok());
}

/// A member of the realm that lets boxes join, and is not the hub.
async fn start_as_store(door: &Door) -> Site {
    let folder = door.folder.path();
    let authority = Authority::open(&folder.join("ca.pem"), &folder.join("ca.key")).unwrap();
    let issued = authority.issue(&site("store-043"), folder, 50).unwrap();
    let files = Files { ca: folder.join("ca.pem"), cert: issued.cert, key: issued.key };
    let mut settings = LinkSettings { joins: Some(door.joins.clone()), ..hub() };
    settings.me = site("store-043");
    settings.sites.push(site("store-043"));
    start(secured(settings, files)).await
}

/// A connection at the door, past the handshake.
async fn at_the_door(door: &Door) -> tokio_rustls::client::TlsStream<TcpStream> {
    let trust = door.credentials.current().trust(&site("cloud")).unwrap();
    let verifier = Arc::new(crate::identity::HubVerifier::new(trust));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    client.alpn_protocols = vec![crate::identity::JOIN_PROTOCOL.to_vec()];
    let tcp = TcpStream::connect(door.cloud.links.local_addr().unwrap()).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, tcp).await.unwrap()
}

#[tokio::test]
async fn strangers_say_one_small_thing_and_keep_no_place() {
    let limits = hub().limits;
    let door = Door::with(Limits { connections: 32, ..limits }).await;
    let code = door.code("store-042");
    // What is no join ends the connection without an answer: links, something too long, noise, and nothing at all.
    let secret = code.secret;
    let whole = |request: Vec<u8>| {
        wire::encode_join(&Join { site: site("store-042"), secret, request, software: "x".into() }).unwrap()
    };
    let long_name = Join { site: site(&"x".repeat(300)), secret, request: vec![], software: "x".into() };
    for said in [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        whole(vec![0; 5_000]).to_vec(),
        wire::encode_join(&long_name).unwrap().to_vec(),
        wire::encode_hello(&wire::samples::hello()).unwrap().to_vec(),
        vec![0xff; 100],
        whole(vec![1; 9])[..20].to_vec(),
        Vec::new(),
    ] {
        let mut io = at_the_door(&door).await;
        io.write_all(&said).await.unwrap();
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(SOON, io.read_to_end(&mut heard)).await.expect("it ends");
        assert!(heard.is_empty(), "{said:?}: {ended:?} {heard:?}");
    }
    // Many who only stand there keep nobody out.
    let mut standing = Vec::new();
    for _ in 0..64 {
        standing.push(at_the_door(&door).await);
    }
    let joining = door.box_of("store-042", "box");
    assert!(door.ask(&code, &joining).await.is_ok());
    drop(standing);
    // One who has joined has no link by that, whatever else he says.
    let mut io = at_the_door(&door).await;
    io.write_all(&whole(joining.request.clone())).await.unwrap();
    io.write_all(&whole(joining.request.clone())).await.unwrap();
    let first = crate::link::join::read(&mut io, Kind::Joined, wire::JOINED_BYTES_MAX).await.unwrap();
    assert!(matches!(wire::decode_joined(&first).unwrap(), wire::Joined::Given(_)));
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(SOON, io.read_to_end(&mut rest)).await.expect("it ends");
    assert!(rest.is_empty());
    assert!(door.cloud.links.state().iter().all(|link| link.connections == 0));
}
