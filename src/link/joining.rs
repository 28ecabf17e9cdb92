//! The box's side of joining: finds the hub, makes sure that it is the one of the code, and asks it once.
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::dial::chain;
use super::{hello, join};
use crate::identity::{HubVerifier, JOIN_PROTOCOL, JoinCode, Refused};
use crate::telemetry::safe;
use crate::wire::{self, Given, Join, Joined, Kind};

/// For each step: a hub over a bad line.
const STEP: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("the hub cannot be reached at {address}: {why}")]
    Unreachable { address: String, why: String },
    /// Before anything was said.
    #[error("the handshake with {address} broke off ({why}): nothing was told, the code is as good as before")]
    Handshake { address: String, why: String },
    #[error("{address} answers, and was told nothing: {why}")]
    NotTheHub { address: String, why: String },
    #[error(
        "the exchange with {address} broke off ({why}), and whether the hub has used the code is not known: say the \
         same again, it is good for the key of this box until its end"
    )]
    Broken { address: String, why: String },
    /// The hub's own words.
    #[error("refused by the hub ({code}): {detail}")]
    Refused { code: String, detail: String },
}

impl JoinError {
    /// The same at another time may do.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            JoinError::Unreachable { .. } | JoinError::Handshake { .. } | JoinError::Broken { .. } => true,
            JoinError::NotTheHub { .. } => false,
            JoinError::Refused { code, .. } => code == Refused::NOT_KEPT,
        }
    }
}

/// Asks the hub for a certificate for the key of `request`.
pub(crate) async fn ask_to_join(code: &JoinCode, host: &str, port: u16, request: Vec<u8>) -> Result<Given, JoinError> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let unreachable = |why: String| JoinError::Unreachable { address: address.clone(), why };
    let slow = || format!("no answer within {} s", STEP.as_secs());
    let tcp = timeout(STEP, TcpStream::connect((host, port))).await.map_err(|_| unreachable(slow()))?;
    let tcp = tcp.map_err(|error| unreachable(error.to_string()))?;

    let verifier = Arc::new(HubVerifier::new(code.trust));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    client.alpn_protocols = vec![JOIN_PROTOCOL.to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_early_data = false;
    let other = |why: String| JoinError::NotTheHub { address: address.clone(), why };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| other(error.to_string()))?;
    let broke_off = |why: String| JoinError::Handshake { address: address.clone(), why };
    let connecting = timeout(STEP, TlsConnector::from(Arc::new(client)).connect(name, tcp)).await;
    let connected = connecting.map_err(|_| broke_off(slow()))?;
    let mut io = connected.map_err(|error| match error.get_ref().is_some_and(|why| why.is::<rustls::Error>()) {
        true => other(advise(&error)),
        false => broke_off(chain(&error)),
    })?;
    // The handshake is over: this is the hub that the code is from.
    if io.get_ref().1.alpn_protocol() != Some(JOIN_PROTOCOL) {
        return Err(other("it does not let boxes join".to_owned()));
    }
    let broken = |why: String| JoinError::Broken { address: address.clone(), why };
    let join = Join { site: code.site.clone(), secret: code.secret, request, software: hello::SOFTWARE.to_owned() };
    let asked = wire::encode_join(&join).map_err(|error| broken(error.to_string()))?;
    let exchange = async {
        tokio::io::AsyncWriteExt::write_all(&mut io, &asked).await.map_err(|error| chain(&error))?;
        join::read(&mut io, Kind::Joined, wire::JOINED_BYTES_MAX).await
    };
    let answer = timeout(STEP, exchange).await.map_err(|_| broken(slow()))?.map_err(broken)?;
    let joined = wire::decode_joined(&answer).map_err(|error| broken(error.to_string()))?;
    joined.check().map_err(|why| broken(why.to_string()))?;
    match joined {
        Joined::Refused { code, detail } => Err(JoinError::Refused { code: safe(&code), detail: safe(&detail) }),
        Joined::Given(given) if Some(&given.hub) != verifier.hub() => {
            Err(broken(format!("it calls itself {:?}, and its certificate does not", given.hub.as_str())))
        }
        Joined::Given(given) => Ok(given),
    }
}

/// What is behind what TLS says.
fn advise(error: &std::io::Error) -> String {
    let said = chain(error);
    let hint = match () {
        () if said.contains("NoApplicationProtocol") || said.contains("no application protocol") => {
            "; boxes join at the link.listen of a hub with [identity.renewals]"
        }
        () if said.contains("NotValidYet") || said.contains("not valid yet") => "; is the clock of this box right?",
        () if said.contains("Expired") || said.contains("expired") => {
            "; its certificate is over, or the clock of this box is wrong"
        }
        () if said.contains("corrupt message") || said.contains("InvalidContentType") => "; it speaks no TLS there",
        () => "",
    };
    format!("{said}{hint}")
}
