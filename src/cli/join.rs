//! `holdfast identity invite` at a hub, and `holdfast join` at a box that is new.
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::args::{Ask, Output};
use super::client;
use super::exit::{Exit, Failure};
use super::output::{self, safe};
use super::typed;
use crate::identity::{JoinCode, Joining, Trust};
use crate::link::{self, JoinError};
use crate::model::SiteName;
use crate::wire::Given;

/// Of links, where `--hub` names none.
const PORT: u16 = 7_443;

#[derive(Debug, Args)]
pub(super) struct JoinArguments {
    /// As `holdfast identity invite SITE` printed it at the hub. Without it, or with `-`: it is asked for, or read from
    /// standard input. As an argument it stands in the list of processes and in the shell's history
    code: Option<String>,
    /// Where the hub is reached: host, and the port of its link.listen [default port: 7443]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = hub)]
    hub: (String, u16),
    /// Where the three files are written
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// A host, an address or one in brackets, with or without a port.
fn hub(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is no HOST[:PORT], as cloud.example.com:7443");
    let text = text.strip_prefix("https://").unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
        // An IPv6 address without brackets has no port.
        None if text.parse::<std::net::Ipv6Addr>().is_ok() => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
    let port = port.map_or(Ok(PORT), str::parse);
    match port {
        Ok(port @ 1..) if is_host => Ok((host.to_owned(), port)),
        _ => Err(wrong()),
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        let exit = match &error {
            _ if error.may_pass() => Exit::TryAgain,
            _ => Exit::Usage,
        };
        Failure::new(exit, error)
    }
}

pub(super) fn join(arguments: &JoinArguments) -> Result<ExitCode, Failure> {
    let code = match arguments.code.as_deref() {
        None | Some("-") => JoinCode::parse(&typed::line("code (it is not shown): ")?),
        Some(code) => JoinCode::parse(code),
    };
    let code = code.map_err(Failure::usage)?;
    let joining = Joining::begin(&code.site, &arguments.folder)?;
    let (host, port) = (arguments.hub.0.as_str(), arguments.hub.1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let given = runtime.block_on(link::ask_to_join(&code, host, port, joining.request.clone()))?;
    let issued = joining.finish(&given.certificate, &given.authorities)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let report = json!({
        "site": code.site,
        "realm": given.realm,
        "hub": given.hub,
        "link": format!("https://{host}:{port}"),
        "ca": arguments.folder.join("ca.pem"),
        "cert": issued.cert,
        "key": issued.key,
        "not_after": issued.not_after,
    });
    output::print(arguments.output, &report, |report| told(report, &code.site, &given))?;
    Ok(ExitCode::SUCCESS)
}

/// What goes into the configuration, as it can be copied.
fn told(report: &Value, site: &SiteName, given: &Given) -> String {
    let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    let (hub, realm) = (&given.hub, &given.realm);
    format!(
        "this box is {site} now: wrote {}, {} (until {}) and {}\n\n\
         holdfast.toml, beside its services:\n\n\
         site = \"{site}\"\n\n\
         [realm]\nname = {realm:?}\nsites = [\"{site}\", {:?}]\n\n\
         [identity]\nca = \"ca.pem\"\ncert = \"{site}.pem\"\nkey = \"{site}.key\"\nrenew = true\n\n\
         [[peer]]\nsite = {:?}\nlink = \"{}\"\n\n\
         next: holdfast check --config holdfast.toml, then start it\n",
        text("key"),
        text("cert"),
        text("not_after"),
        text("ca"),
        hub.as_str(),
        hub.as_str(),
        text("link"),
    )
}

/// The secret is made here and stands in the code alone: the appliance, its log and its file have a hash of it.
pub(super) fn invite(site: &SiteName, hours: u32, ask: &Ask) -> Result<ExitCode, Failure> {
    // It is shown once: where nobody looks, nothing is made.
    if output::is_reader_gone(Duration::ZERO) {
        return Err(Failure::disk("nobody reads standard output, where the code would be shown: none was made"));
    }
    // Whom the code is for and what it trusts, the appliance says; until then it is a secret and no more.
    let code = JoinCode::new(site.clone(), Trust::of("", b"")).map_err(Failure::internal)?;
    let hash: String = JoinCode::secret_hash(&code.secret).iter().map(|byte| format!("{byte:02x}")).collect();
    let path = format!("/api/v1/identity/invites?site={}&hours={hours}&secret={hash}", client::escape(site.as_str()));
    let made = client::post(ask, &path)?;
    let trust = made["trust"].as_str().and_then(Trust::from_hex);
    let trust = trust.ok_or_else(|| Failure::internal("the appliance does not say by what the box knows it"))?;
    let text = JoinCode { trust, ..code }.to_text();
    let mut report = made.clone();
    report["code"] = json!(text);
    let shown = output::print_once(ask.output, &report, |report| {
        format!(
            "{text}\n\ngood for one box, until {}; shown only now. At the box, in the folder of its holdfast.toml:\n\
             holdfast join --hub HOST[:PORT], where HOST is how {} is reached from there; it asks for the code\n",
            safe(report["until"].as_str().unwrap_or("?")),
            safe(report["hub"].as_str().unwrap_or("this hub")),
        )
    });
    shown.map_err(|error| {
        Failure::disk(format!(
            "the code cannot be shown ({error}) and is lost; it ended the one before, if there was one for {site}: \
             make another"
        ))
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_is_a_host_and_maybe_a_port() {
        // text | host | port
        for (text, host, port) in [
            ("cloud.example.com", "cloud.example.com", 7_443),
            ("cloud.example.com:9", "cloud.example.com", 9),
            ("https://cloud.example.com:9/", "cloud.example.com", 9),
            ("10.0.0.1:7443", "10.0.0.1", 7_443),
            ("[::1]", "::1", 7_443),
            ("[::1]:9", "::1", 9),
            ("fe80::1", "fe80::1", 7_443),
        ] {
            assert_eq!(hub(text), Ok((host.to_owned(), port)), "{text}");
        }
        for wrong in ["", ":7443", "a:0", "a:70000", "a:b", "a/b", "http://a", "u@a", "a b", "[::1]x", "a:1:2"] {
            assert!(hub(wrong).is_err(), "{wrong}: {:?}", hub(wrong));
        }
    }
}
