//! `holdfast identity`: an authority of one's own, what it signs, and what is in certificate files.
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::{Ask, Output};
use super::exit::{Exit, Failure};
use super::join;
use super::output::{self, Column, Show, safe};
use crate::config::Config;
use crate::identity::{self, Authority, AuthorityError, Grade, HOURS_MAX, Invited, Issued, now_s, span};
use crate::model::SiteName;
use crate::telemetry;

#[derive(Debug, Subcommand)]
pub(super) enum IdentityCommand {
    /// Make an authority: `ca.pem` goes to every site, `ca.key` to a safe place
    Init {
        /// Name of the authority, as certificates show it
        #[arg(long, default_value = "holdfast")]
        name: String,
        /// Where its two files are written
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        folder: PathBuf,
        /// How long it lasts
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// Form of the result
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// A key and a certificate for a site: `SITE.key` and `SITE.pem`
    Issue {
        #[command(flatten)]
        asked: Asked,
    },
    /// A new `SITE.pem` for the key that the site has; a running site takes it up by itself
    Renew {
        #[command(flatten)]
        asked: Asked,
    },
    /// An authority for a hub that signs renewals over links: `SITE-renewals.pem` and `.key`
    Delegate {
        #[command(flatten)]
        asked: Asked,
    },
    /// At a hub: a code by which one box joins as SITE
    Invite {
        /// As in `realm.sites`
        #[arg(value_parser = site_name)]
        site: SiteName,
        /// How long the code is good for
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=i64::from(HOURS_MAX)))]
        hours: u32,
        #[command(flatten)]
        ask: Ask,
    },
    /// Whom certificates speak for, who signed them, and when they end
    Show {
        /// Certificates, PEM [default: those of [identity] in the configuration]
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The configuration whose [identity] is shown
        #[arg(long, value_name = "FILE", default_value = "holdfast.toml", conflicts_with = "files")]
        config: PathBuf,
        /// Form of the result
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(super) struct Asked {
    /// As in `realm.sites`
    #[arg(value_parser = site_name)]
    site: SiteName,
    /// The authority's certificate
    #[arg(long, value_name = "FILE", default_value = "ca.pem")]
    ca: PathBuf,
    /// The authority's key
    #[arg(long, value_name = "FILE", default_value = "ca.key")]
    ca_key: PathBuf,
    /// Where the site's files are
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// How long the certificate lasts
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

fn site_name(text: &str) -> Result<SiteName, String> {
    let is_name = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    match is_name {
        true => Ok(SiteName::new(text)),
        false => Err("a site's name has letters, digits, - and _, at most 64 of them".to_owned()),
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        let exit = match &error {
            AuthorityError::Write { .. } => Exit::Disk,
            AuthorityError::Busy { .. } => Exit::TryAgain,
            AuthorityError::Make(_) => Exit::Internal,
            AuthorityError::Exists { .. }
            | AuthorityError::Read { .. }
            | AuthorityError::File(_)
            | AuthorityError::Unusable { .. }
            | AuthorityError::OtherKey { .. }
            | AuthorityError::NotAFolder { .. }
            | AuthorityError::Shown { .. }
            | AuthorityError::Given { .. }
            | AuthorityError::EndsBefore { .. } => Exit::Usage,
        };
        Failure::new(exit, error)
    }
}

pub(super) fn run(command: IdentityCommand) -> Result<ExitCode, Failure> {
    match command {
        IdentityCommand::Init { name, folder, days, output } => {
            let made = Authority::init(&folder, &name, days)?;
            let next = format!(
                "{} goes to every site; keep {} apart from all of them\n",
                made.cert.display(),
                made.key.display()
            );
            say(output, &made, &next)
        }
        IdentityCommand::Issue { asked } => {
            let issued =
                Authority::open_by_hand(&asked.ca, &asked.ca_key)?.issue(&asked.site, &asked.folder, asked.days)?;
            let next = format!(
                "[identity]\nca = \"ca.pem\"\ncert = \"{0}.pem\"\nkey = \"{0}.key\"\n",
                issued.site.as_ref().map_or("", SiteName::as_str)
            );
            say(asked.output, &issued, &next)
        }
        IdentityCommand::Renew { asked } => {
            let issued =
                Authority::open_by_hand(&asked.ca, &asked.ca_key)?.renew(&asked.site, &asked.folder, asked.days)?;
            let (cert, key) = (issued.cert.display(), issued.key.display());
            let wrote = format!(
                "wrote {cert}, until {}, for {key}, which stays\n\
                 a site that runs takes it up within seconds, or at once on SIGHUP\n",
                issued.not_after
            );
            print(asked.output, &issued, wrote)
        }
        IdentityCommand::Delegate { asked } => {
            let made =
                Authority::open_by_hand(&asked.ca, &asked.ca_key)?.delegate(&asked.site, &asked.folder, asked.days)?;
            let next =
                format!("[identity.renewals]\ncert = \"{0}-renewals.pem\"\nkey = \"{0}-renewals.key\"\n", asked.site);
            say(asked.output, &made, &next)
        }
        IdentityCommand::Invite { site, hours, ask } => join::invite(&site, hours, &ask),
        IdentityCommand::Show { files, config, output } => show(&files, &config, output),
    }
}

fn say(output: Output, made: &Issued, next: &str) -> Result<ExitCode, Failure> {
    let wrote = format!("wrote {} and {}, until {}\n{next}", made.cert.display(), made.key.display(), made.not_after);
    print(output, made, wrote)
}

fn print(output: Output, made: &Issued, wrote: String) -> Result<ExitCode, Failure> {
    let report = serde_json::to_value(made).map_err(Failure::internal)?;
    output::print(output, &report, |_| wrote)?;
    Ok(ExitCode::SUCCESS)
}

fn show(files: &[PathBuf], config: &Path, output: Output) -> Result<ExitCode, Failure> {
    let (mut found, mut invited) = (Vec::new(), Vec::new());
    let mut files = files.to_vec();
    if files.is_empty() {
        let config = Config::load(config).map_err(Failure::config)?;
        let Some(identity) = &config.identity else {
            return Err(Failure::usage("the configuration has no [identity]: name a FILE"));
        };
        let own = identity.files();
        found = identity::examine(&own, &config.site, &config.realm.sites, now_s());
        files = vec![own.cert, own.ca];
        if let Some(renewals) = &identity.renewals {
            found.extend(identity::examine_renewals(&renewals.cert, &renewals.key, &identity.ca, now_s()));
            files.push(renewals.cert.clone());
            let told = identity::invited(&config.data_dir);
            for why in &told.trouble {
                telemetry::say_warning(&format!("holdfast: warning: {why}"));
            }
            invited = told.invited;
        }
    }
    let mut certificates = Vec::new();
    for file in &files {
        for shown in identity::show(file, now_s()).map_err(Failure::usage)? {
            let mut shown = serde_json::to_value(shown).map_err(Failure::internal)?;
            shown["file"] = json!(file.display().to_string());
            shown["left"] = json!(left(shown["left_s"].as_i64().unwrap_or(0)));
            certificates.push(shown);
        }
    }
    let bad = found.iter().filter(|finding| finding.grade == Grade::Bad);
    let exit =
        bad.map(|finding| if finding.may_pass { Exit::TryAgain } else { Exit::Config }).max_by_key(|exit| *exit as u8);
    let wrong: Vec<String> = found
        .iter()
        .filter(|finding| finding.grade != Grade::Good)
        .map(|finding| format!("{}: {}", finding.key, finding.text))
        .collect();
    let report = json!({ "certificates": certificates, "problems": wrong, "invited": invited });
    output::print(output, &report, |report| format!("{}{}", table(report, &wrong), invitations(&invited)))?;
    Ok(exit.map_or(ExitCode::SUCCESS, Exit::into))
}

fn invitations(invited: &[Invited]) -> String {
    let now_s = now_s();
    let line = |one: &Invited| match &one.used {
        Some(at) => format!("{} has joined by a code on {}\n", safe(one.site.as_str()), safe(at)),
        None if one.until_s <= now_s => {
            let (site, until) = (safe(one.site.as_str()), safe(&one.until));
            format!("the code for {site} was good until {until}, and nobody used it\n")
        }
        None => format!("{} may join by a code until {}\n", safe(one.site.as_str()), safe(&one.until)),
    };
    invited.iter().map(line).collect()
}

fn left(left_s: i64) -> String {
    if left_s > 0 { format!("in {}", span(left_s)) } else { format!("{} ago", span(left_s.saturating_neg())) }
}

fn table(report: &Value, wrong: &[String]) -> String {
    let columns: &[Column] = &[
        ("FILE", "/file", Show::Plain),
        ("FOR", "/names", Show::Plain),
        ("SUBJECT", "/subject", Show::Plain),
        ("SIGNED BY", "/issuer", Show::Plain),
        ("ENDS", "/left", Show::Plain),
        ("ON", "/not_after", Show::Plain),
    ];
    let wrong: String = wrong.iter().map(|line| format!("{line}\n")).collect();
    format!("{}{wrong}", output::rows(&report["certificates"], columns))
}
