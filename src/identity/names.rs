//! Whom a certificate speaks for.
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use crate::model::SiteName;

/// What a certificate says of its bearer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// DNS names (SAN): the only ones that count.
    pub dns: Vec<String>,
    /// Common names, to tell a person what is there in place of a DNS name.
    pub common: Vec<String>,
}

impl Names {
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
        let alternative = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let dns =
            alternative.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            });
        let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(str::to_owned);
        Ok(Self { dns: dns.collect(), common: common.collect() })
    }

    /// The one site of the realm that its bearer speaks for; where no sites are listed, the first name.
    pub fn speaker(&self, listed: &[SiteName]) -> Result<SiteName, String> {
        if self.dns.is_empty() {
            return Err(match self.common.first() {
                Some(common) => {
                    format!("has no DNS name (SAN); its common name {common:?} does not count")
                }
                None => "has no DNS name (SAN)".to_owned(),
            });
        }
        if listed.is_empty() {
            return Ok(SiteName::new(&*self.dns[0]));
        }
        let mut sites = listed.iter().filter(|site| self.dns.iter().any(|name| name == site.as_str()));
        match (sites.next(), sites.next()) {
            (Some(site), None) => Ok(site.clone()),
            (Some(one), Some(other)) => {
                Err(format!("is for two sites of the realm, {one} and {other}: a certificate speaks for one"))
            }
            (None, _) => Err(format!("is for {}, and none of them is a site of the realm", self.dns.join(", "))),
        }
    }

    /// Whether its bearer is `site`, and what it is instead.
    pub fn must_be(&self, site: &SiteName, listed: &[SiteName]) -> Result<(), String> {
        if !self.dns.is_empty() && !self.dns.iter().any(|name| name == site.as_str()) {
            return Err(format!("is for {}, not for site {site}", self.dns.join(", ")));
        }
        let listed = if listed.is_empty() { std::slice::from_ref(site) } else { listed };
        self.speaker(listed).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_speaks_for_the_one_site_that_it_bears_as_a_dns_name() {
        let sites = ["store", "cloud"].map(SiteName::new);
        let names = |dns: &[&str], common: &[&str]| Names {
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            common: common.iter().map(|name| (*name).to_owned()).collect(),
        };
        // DNS names | common names | who speaks | part of the reason
        for (dns, common, speaker, why) in [
            (&["store"][..], &[][..], Some("store"), ""),
            (&["store.example.com", "store", "127.0.0.1"], &["cloud"], Some("store"), ""),
            (&[], &["store"], None, "its common name \"store\" does not count"),
            (&[], &[], None, "has no DNS name (SAN)"),
            (&["Store", "*"], &["store"], None, "is for Store, *, and none of them is a site of the realm"),
            (&["store", "cloud"], &[], None, "is for two sites of the realm, store and cloud"),
        ] {
            let names = names(dns, common);
            match names.speaker(&sites) {
                Ok(site) => assert_eq!(Some(site.as_str()), speaker, "{names:?}"),
                Err(said) => assert!(speaker.is_none() && said.contains(why), "{names:?}: {said}"),
            }
            let may_be = |site: &str| names.must_be(&SiteName::new(site), &sites).is_ok();
            assert_eq!((may_be("store"), may_be("cloud")), (speaker == Some("store"), false), "{names:?}");
        }
        let said = names(&["cloud"], &[]).must_be(&SiteName::new("store"), &sites).unwrap_err();
        assert_eq!(said, "is for cloud, not for site store");
        assert!(names(&["any"], &[]).must_be(&SiteName::new("any"), &[]).is_ok());
    }
}
