//! An authority for tests, and files that are wrong in one way each.
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};

use super::files::certificates;
use super::*;
use crate::model::SiteName;

/// A certificate authority in a folder.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub folder: PathBuf,
}

fn at(s: i64) -> impl FnOnce() -> std::time::SystemTime {
    move || std::time::UNIX_EPOCH + Duration::from_secs(s.unsigned_abs())
}

impl Ca {
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// With the name as DNS name, or as common name only.
    pub fn files(&self, site: &str, as_dns: bool) -> Files {
        self.files_until(site, as_dns, Duration::from_secs(1 << 30))
    }

    /// Valid for so long from now on.
    pub fn files_until(&self, site: &str, as_dns: bool, valid: Duration) -> Files {
        self.files_with(site, |params| {
            if !as_dns {
                params.subject_alt_names.clear();
                params.distinguished_name.push(DnType::CommonName, site);
            }
            params.not_after = at(now_s() + valid.as_secs().cast_signed())().into();
        })
    }

    /// `{site}.pem` and `{site}.key`, with whatever else is to be in the certificate.
    pub fn files_with(&self, site: &str, change: impl FnOnce(&mut CertificateParams)) -> Files {
        let mut params = CertificateParams::new(vec![site.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "some name");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let [cert, key_path] = ["pem", "key"].map(|extension| self.folder.join(format!("{site}.{extension}")));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&key_path, key.serialize_pem()).unwrap();
        fs::set_permissions(&key_path, fs::Permissions::from_mode(0o600)).unwrap();
        Files { ca: self.folder.join("ca.pem"), cert, key: key_path }
    }

    pub fn credentials(&self, site: &str, listed: &[SiteName]) -> Arc<Credentials> {
        Credentials::open(self.files(site, true), SiteName::new(site), listed).unwrap()
    }
}

fn sites() -> Vec<SiteName> {
    ["store", "cloud"].map(SiteName::new).to_vec()
}

fn found(files: &Files, now_s: i64) -> Vec<(&'static str, Grade, String)> {
    let found = examine(files, &SiteName::new("store"), &sites(), now_s);
    let folder = format!("{}/", files.cert.parent().unwrap().display());
    found.into_iter().map(|finding| (finding.key, finding.grade, finding.text.replace(&folder, ""))).collect()
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_one_line_each() {
    use Grade::{Bad, Warning};
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Ca::new(folder.path(), "ca"), Ca::new(folder.path(), "other"));
    // 2026-01-01.
    let now = 1_767_225_600;
    let day = 86_400;
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        ca.files_with("store", |params| {
            params.not_after = at(now + 400 * day)().into();
            change(params);
        })
    };
    let usage = |usages: &'static [ExtendedKeyUsagePurpose]| {
        move |params: &mut CertificateParams| params.extended_key_usages = usages.to_vec()
    };
    // the files | the one thing that is not good
    let case = |files: Files, key: &str, grade: Grade, text: &str| {
        let found: Vec<_> = found(&files, now).into_iter().filter(|found| found.1 != Grade::Good).collect();
        assert_eq!(found, [(key, grade, text.to_owned())].map(|(k, g, t)| (static_key(k), g, t)), "{text}");
    };
    let until = |left: i64| move |params: &mut CertificateParams| params.not_after = at(now + left)().into();
    let cert = "identity.cert";
    case(with(&until(-3 * day)), cert, Bad, "store.pem expired 3 days ago, on Mon, 29 Dec 2025 00:00:00 GMT");
    case(with(&until(0)), cert, Bad, "store.pem expired 0 minutes ago, on Thu, 01 Jan 2026 00:00:00 GMT");
    case(with(&until(2 * day)), cert, Warning, "store.pem expires in 2 days, on Sat, 03 Jan 2026 00:00:00 GMT");
    case(with(&until(3_600)), cert, Warning, "store.pem expires in 60 minutes, on Thu, 01 Jan 2026 01:00:00 GMT");
    case(with(&until(29 * day)), cert, Warning, "store.pem expires in 29 days, on Fri, 30 Jan 2026 00:00:00 GMT");
    let later = |params: &mut CertificateParams| params.not_before = at(now + 2 * 3_600)().into();
    case(
        with(&later),
        cert,
        Bad,
        "store.pem is not valid before Thu, 01 Jan 2026 02:00:00 GMT, in 2 hours: is the clock right?",
    );
    let names = |names: &'static [&str]| {
        move |params: &mut CertificateParams| {
            let name = |name: &&str| SanType::DnsName((*name).try_into().unwrap());
            params.subject_alt_names = names.iter().map(name).collect();
        }
    };
    let right = "it must bear store as a DNS name (SAN)";
    case(
        with(&names(&["cloud", "x.example"])),
        cert,
        Bad,
        &format!("store.pem is for cloud, x.example, not for site store: {right}"),
    );
    case(
        with(&names(&[])),
        cert,
        Bad,
        &format!("store.pem has no DNS name (SAN); its common name \"some name\" does not count: {right}"),
    );
    case(
        with(&names(&["store", "cloud"])),
        cert,
        Bad,
        &format!("store.pem is for two sites of the realm, store and cloud: a certificate speaks for one: {right}"),
    );
    case(
        with(&usage(&[ExtendedKeyUsagePurpose::ServerAuth])),
        cert,
        Bad,
        "store.pem is not made for clientAuth: its extended key usage must hold serverAuth and clientAuth, or be \
        absent",
    );
    let good = with(&|_| {});
    assert!(found(&good, now).iter().all(|found| found.1 == Grade::Good), "{:?}", found(&good, now));
    let foreign = Files { ca: other.folder.join("ca.pem"), ..good.clone() };
    case(
        foreign,
        cert,
        Bad,
        &format!(
            "store.pem was signed by CN=ca, which is none of the authorities in {}",
            other.folder.join("ca.pem").display()
        ),
    );
    // An authority of the same name and another key.
    let twin = Ca::new(&folder.path().join("twin"), "ca");
    let mixed = Files { ca: twin.folder.join("ca.pem"), ..good.clone() };
    let said = found(&mixed, now);
    assert!(
        said.iter().any(|found| found.1 == Bad && found.2.starts_with("store.pem was signed with another key")),
        "{said:?}"
    );
    let no_authority = Files { ca: good.cert.clone(), ..good.clone() };
    let said = found(&no_authority, now);
    let expected = "store.pem (CN=some name) is no authority's certificate: it may not sign others".to_owned();
    assert!(said.contains(&("identity.ca", Bad, expected)), "{said:?}");

    let strange = ca.files("cloud", true).key;
    case(
        Files { key: strange.clone(), ..good.clone() },
        "identity.key",
        Bad,
        &format!("private key {strange:?} does not belong to certificate {:?}", good.cert)
            .replace(&format!("{}/", ca.folder.display()), ""),
    );
    for (mode, warns) in [(0o644, true), (0o640, true), (0o600, false)] {
        fs::set_permissions(&good.key, fs::Permissions::from_mode(mode)).unwrap();
        let expected = "store.key may be read or changed by others than its owner: `chmod 600 store.key`";
        let said = found(&good, now).into_iter().any(|found| found == ("identity.key", Warning, expected.to_owned()));
        assert_eq!(said, warns, "{mode:o}");
    }
    fs::remove_file(&good.key).unwrap();
    case(
        good.clone(),
        "identity.key",
        Bad,
        "private key \"store.key\" cannot be read: No such file or directory (os error 2)",
    );
}

fn static_key(key: &str) -> &'static str {
    ["identity.ca", "identity.cert", "identity.key"].into_iter().find(|known| *known == key).unwrap()
}

#[test]
fn new_files_are_taken_up_once_they_fit_together_and_bad_ones_keep_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let files = ca.files_until("store", true, Duration::from_secs(86_400));
    let credentials = Credentials::open(files.clone(), SiteName::new("store"), &sites()).unwrap();
    let first = credentials.standing();
    assert!((first.not_after_s - now_s() - 86_400).abs() < 600 && first.trouble.is_none(), "{first:?}");

    // Replaced one by one: between the two they do not fit, which is nothing to speak of yet.
    let (old_cert, old_key) = (fs::read(&files.cert).unwrap(), fs::read(&files.key).unwrap());
    ca.files_until("store", true, Duration::from_secs(9 * 86_400));
    let (new_cert, new_key) = (fs::read(&files.cert).unwrap(), fs::read(&files.key).unwrap());
    fs::write(&files.key, &old_key).unwrap();
    credentials.look(false);
    assert_eq!(credentials.standing(), first);
    fs::write(&files.key, &new_key).unwrap();
    credentials.look(false);
    let second = credentials.standing();
    assert!((second.not_after_s - now_s() - 9 * 86_400).abs() < 600 && second.trouble.is_none(), "{second:?}");

    // What still does not fit at the second look is said, and changes nothing.
    fs::write(&files.cert, &old_cert).unwrap();
    credentials.look(false);
    assert_eq!(credentials.standing().trouble, None);
    credentials.look(false);
    let trouble = credentials.standing().trouble.unwrap();
    assert!(trouble.contains("does not belong to certificate"), "{trouble}");
    assert_eq!(credentials.standing().not_after_s, second.not_after_s);
    // Back as they were, all is well; and a person who asks is told at once.
    fs::write(&files.cert, &new_cert).unwrap();
    credentials.look(false);
    assert_eq!(credentials.standing(), second);
    ca.files_with("store", |params| params.subject_alt_names = vec![SanType::DnsName("cloud".try_into().unwrap())]);
    credentials.look(true);
    let trouble = credentials.standing().trouble.unwrap();
    assert!(trouble.contains("is for cloud, not for site store"), "{trouble}");
    // What is over already, or what no other site would accept, is no better than what is there.
    ca.files_with("store", |params| params.not_after = at(now_s() - 60)().into());
    credentials.look(true);
    let trouble = credentials.standing().trouble.unwrap();
    assert!(trouble.contains("expired 1 minute ago"), "{trouble}");
    let strange = Ca::new(folder.path(), "other").files("store", true);
    fs::copy(&strange.cert, &files.cert).unwrap();
    fs::copy(&strange.key, &files.key).unwrap();
    credentials.look(true);
    let trouble = credentials.standing().trouble.unwrap();
    assert!(trouble.contains("was signed by CN=other"), "{trouble}");
    assert_eq!(credentials.standing().not_after_s, second.not_after_s);
}

#[test]
fn an_authority_issues_renews_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let (apart, out) = (folder.path().join("apart"), folder.path().join("out"));
    let store = SiteName::new("store");
    let made = Authority::init(&apart, "acme", 100).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&made.key), 0o600);
    let again = Authority::init(&apart, "acme", 100).unwrap_err();
    assert!(matches!(again, AuthorityError::Exists { .. }), "{again}");

    let authority = Authority::open(&made.cert, &made.key).unwrap();
    let issued = authority.issue(&store, &out, 90).unwrap();
    assert_eq!(mode(&issued.key), 0o600);
    let files = Files { ca: out.join("ca.pem"), cert: issued.cert.clone(), key: issued.key.clone() };
    let said = examine(&files, &store, &sites(), now_s());
    assert!(said.iter().all(|finding| finding.grade == Grade::Good), "{said:?}");
    let shown = show(&issued.cert, now_s()).unwrap();
    assert_eq!(
        (shown[0].names.clone(), shown[0].subject.as_str(), shown[0].is_authority),
        (vec!["store".to_owned()], "CN=store", false)
    );
    let again = authority.issue(&store, &out, 90).unwrap_err();
    assert!(matches!(again, AuthorityError::Exists { .. }), "{again}");

    // A renewal is a new certificate for the key that is there.
    let key = fs::read(&issued.key).unwrap();
    let credentials = Credentials::open(files.clone(), store.clone(), &sites()).unwrap();
    let before = credentials.standing().not_after_s;
    authority.renew(&store, &out, 95).unwrap();
    credentials.look(false);
    assert!(credentials.standing().not_after_s > before + 4 * 86_400);
    assert_eq!(fs::read(&issued.key).unwrap(), key);
    let missing = authority.renew(&SiteName::new("cloud"), &out, 9).unwrap_err();
    assert!(matches!(missing, AuthorityError::Read { .. }), "{missing}");

    // A hub signs anew what a site shows, below the authority that everyone trusts, and for no longer than it may
    // itself.
    let delegated = authority.delegate(&SiteName::new("cloud"), &apart, 50).unwrap();
    let renewals = Renewals::open(&delegated.cert, &delegated.key, 90).unwrap();
    let shown = certificates("certificate", &issued.cert).unwrap().swap_remove(0);
    let (pem, _) = renewals.renew(&store, &shown).unwrap();
    assert!(credentials.replace(&pem).unwrap_err().contains("ends no later"));
    authority.renew(&store, &out, 20).unwrap();
    let shorter = Credentials::open(files.clone(), store.clone(), &sites()).unwrap();
    assert!(!shorter.wants_renewal());
    shorter.replace(&pem).unwrap();
    let left_s = shorter.standing().not_after_s - now_s();
    assert!((left_s / 86_400 - 49).abs() <= 1, "{left_s}");
    assert_eq!(show(&issued.cert, now_s()).unwrap()[1].subject, "CN=renewals by cloud");
    // Whoever else it is signed for, or whosever key it is: not taken.
    let strange = Ca::new(folder.path(), "strange").files("store", true);
    for (pem, why) in [
        (renewals.renew(&SiteName::new("cloud"), &shown).unwrap().0, "is for cloud, not for site store"),
        (fs::read_to_string(&strange.cert).unwrap(), "does not belong to certificate"),
        ("nonsense".to_owned(), "holds no"),
    ] {
        let refused = shorter.replace(&pem).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3, "nothing is left of what was refused");

    let longer = authority.issue(&SiteName::new("cloud"), &out, 101).unwrap_err();
    assert!(matches!(longer, AuthorityError::EndsBefore { .. }), "{longer}");
    assert!(!out.join("cloud.key").exists(), "nothing is left of what was refused");
    let other = Authority::init(&folder.path().join("other"), "acme", 100).unwrap();
    let mixed = Authority::open(&made.cert, &other.key).err().unwrap();
    assert!(matches!(mixed, AuthorityError::OtherKey { .. }), "{mixed}");
}

#[test]
fn what_a_hub_signs_with_must_lead_to_what_the_realm_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (ours, theirs) =
        (Authority::init(&at("ours"), "acme", 100).unwrap(), Authority::init(&at("theirs"), "acme", 100).unwrap());
    let cloud = SiteName::new("cloud");
    let delegated = Authority::open(&ours.cert, &ours.key).unwrap().delegate(&cloud, &at("ours"), 50).unwrap();
    let said = |ca: &Path, now_s: i64| -> Vec<(Grade, String)> {
        let found = examine_renewals(&delegated.cert, &delegated.key, ca, now_s);
        found.into_iter().map(|finding| (finding.grade, finding.text)).collect()
    };
    let good = said(&ours.cert, now_s());
    assert!(good.len() == 1 && good[0].0 == Grade::Good && good[0].1.contains("expires in 50 days"), "{good:?}");
    let near = said(&ours.cert, now_s() + 45 * 86_400);
    assert!(near.len() == 1 && near[0].0 == Grade::Warning && near[0].1.contains("expires in 5 days"), "{near:?}");
    let over = said(&ours.cert, now_s() + 53 * 86_400);
    assert!(over.len() == 1 && over[0].0 == Grade::Bad && over[0].1.contains("expired 3 days ago"), "{over:?}");
    let foreign = said(&theirs.cert, now_s());
    assert!(foreign.len() == 1 && foreign[0].0 == Grade::Bad, "{foreign:?}");
    assert!(
        foreign[0].1.contains("cloud-renewals.pem signs what nobody accepts with the authorities in "),
        "{foreign:?}"
    );
    fs::set_permissions(&delegated.key, fs::Permissions::from_mode(0o644)).unwrap();
    let open = said(&ours.cert, now_s());
    assert!(open.len() == 2 && open[1].1.contains("may be read or changed by others"), "{open:?}");
}

#[test]
fn a_join_that_was_interrupted_goes_on_with_its_key_and_overwrites_nothing_that_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let store = SiteName::new("store");
    let realm = Authority::init(&at("realm"), "acme", 100).unwrap();
    let authority = Authority::open(&realm.cert, &realm.key).unwrap();
    let delegated = authority.delegate(&SiteName::new("cloud"), &at("realm"), 50).unwrap();
    let renewals = Renewals::open(&delegated.cert, &delegated.key, 40).unwrap();
    let authorities = fs::read_to_string(&realm.cert).unwrap();
    let sign = |joining: &Joining| renewals.sign(&store, &Request::read(&joining.request).unwrap()).unwrap().0;

    let key = |joining: &Joining| Request::read(&joining.request).unwrap().key_hash;
    let first = key(&Joining::begin(&store, &at("box")).unwrap());
    let second = Joining::begin(&store, &at("box")).unwrap();
    assert_eq!(first, key(&second));
    // What a hub gives is looked at as a site's own files are.
    let foreign = Authority::init(&at("foreign"), "other", 100).unwrap();
    let foreign = fs::read_to_string(foreign.cert).unwrap();
    for (certificate, authorities, why) in [
        (sign(&second), foreign.as_str(), "which is none of the authorities in"),
        ("nonsense".to_owned(), authorities.as_str(), "holds no"),
        (sign(&second), "", "holds no"),
        (
            sign(&Joining::begin(&store, &at("other box")).unwrap()),
            authorities.as_str(),
            "does not belong to certificate",
        ),
    ] {
        let error = second.finish(&certificate, authorities).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains(".new"), "{why}: {error}");
        let names = fs::read_dir(at("box")).unwrap().count();
        assert_eq!(names, 1, "only the key is there");
    }
    // Authorities that an installation brought, and that are others.
    fs::write(at("box/ca.pem"), &foreign).unwrap();
    let error = second.finish(&sign(&second), &authorities).unwrap_err().to_string();
    assert!(error.contains("ca.pem is there already") && error.contains("may still use its code"), "{error}");
    fs::write(at("box/ca.pem"), format!("# ours\n{authorities}")).unwrap();
    let issued = second.finish(&sign(&second), &authorities).unwrap();
    let its_key = key(&second);
    drop(second);
    assert!(fs::read_to_string(at("box/ca.pem")).unwrap().starts_with("# ours"));
    let error = Joining::begin(&store, &at("box")).map(drop).unwrap_err().to_string();
    assert!(error.contains("store.pem is there already"), "{error}");
    // One that is over is no loss.
    let ca = Ca::new(folder.path(), "short");
    let over = ca.files_with("store", |params| params.not_after = self::at(now_s() - 60)().into());
    fs::copy(&over.cert, &issued.cert).unwrap();
    assert_eq!(key(&Joining::begin(&store, &at("box")).unwrap()), its_key);
    // A key of another kind is not asked for.
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    fs::write(at("box/store.key"), p384.serialize_pem()).unwrap();
    let error = Joining::begin(&store, &at("box")).map(drop).unwrap_err().to_string();
    assert!(error.contains("not of the kind that `holdfast join` makes"), "{error}");
}
