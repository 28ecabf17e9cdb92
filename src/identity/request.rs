//! What somebody else asks to be signed: a key, and the proof that the asker has its other half.
use rcgen::{PublicKeyData, SignatureAlgorithm};
use rustls_pki_types::{CertificateDer, alg_id};
use sha2::{Digest as _, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// With the longest names a request is a tenth of it.
const REQUEST_BYTES_MAX: usize = 2 << 10;

/// A key of which the other half is elsewhere.
pub(super) struct PublicKey {
    bytes: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl PublicKey {
    /// Of a certificate.
    pub fn shown(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
        Self::of(parsed.public_key())
    }

    fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, String> {
        let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let curve = curve.map(|curve| curve.to_id_string()).unwrap_or_default();
        let algorithm = match (key.algorithm.algorithm.to_id_string().as_str(), curve.as_str()) {
            ("1.2.840.10045.2.1", "1.2.840.10045.3.1.7") => &rcgen::PKCS_ECDSA_P256_SHA256,
            ("1.2.840.10045.2.1", "1.3.132.0.34") => &rcgen::PKCS_ECDSA_P384_SHA384,
            ("1.3.101.112", _) => &rcgen::PKCS_ED25519,
            ("1.2.840.113549.1.1.1", _) => &rcgen::PKCS_RSA_SHA256,
            (other, _) => return Err(format!("its key is of a kind ({other}) that is not signed here")),
        };
        Ok(Self { bytes: key.subject_public_key.data.to_vec(), algorithm })
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// A certificate signing request (PKCS #10). Nothing in it counts but its key: whom it is for, others say.
pub(crate) struct Request {
    pub(super) key: PublicKey,
    /// SHA-256 of the key.
    pub key_hash: [u8; 32],
}

impl Request {
    /// Only of the kind of key that `holdfast join` makes (P-256), and signed with that key.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(format!("it has {} bytes, at most {REQUEST_BYTES_MAX} are read", der.len()));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("bytes follow its end".to_owned());
        }
        let info = &request.certification_request_info;
        let key = PublicKey::of(&info.subject_pki)?;
        if key.algorithm != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err("its key is not of the kind that `holdfast join` makes (P-256)".to_owned());
        }
        let known = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
        let p256 = known.iter().find(|one| {
            one.public_key_alg_id() == alg_id::ECDSA_P256 && one.signature_alg_id() == alg_id::ECDSA_SHA256
        });
        let p256 = p256.ok_or("P-256 is not known here")?;
        p256.verify_signature(&key.bytes, info.raw, &request.signature_value.data)
            .map_err(|_| "it is not signed with the key that it is for".to_owned())?;
        let key_hash = Sha256::digest(info.subject_pki.raw).into();
        Ok(Self { key, key_hash })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn request(key: &KeyPair) -> Vec<u8> {
        CertificateParams::new(vec!["store".to_owned()]).unwrap().serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn only_who_has_the_key_can_ask_for_it() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let (mine, theirs) = (request(&one), request(&other));
        let hash = |der: &[u8]| Request::read(der).map(|request| request.key_hash);
        assert_eq!(hash(&mine).unwrap(), hash(&request(&one)).unwrap());
        assert_ne!(hash(&mine).unwrap(), hash(&theirs).unwrap());
        // Another's key under one's own signature, and the reverse.
        let place = |der: &[u8], key: &KeyPair| {
            let key = key.public_key_raw();
            der.windows(key.len()).position(|part| part == key).unwrap()
        };
        let mut stolen = mine.clone();
        let at = place(&stolen, &one);
        stolen[at..at + other.public_key_raw().len()].copy_from_slice(other.public_key_raw());
        assert!(hash(&stolen).unwrap_err().contains("not signed with the key"));
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        for (der, why) in [
            (request(&p384), "not of the kind"),
            (request(&ed25519), "not of the kind"),
            ([mine.clone(), vec![0]].concat(), "bytes follow its end"),
            (vec![0; REQUEST_BYTES_MAX + 1], "at most 2048 are read"),
        ] {
            let error = hash(&der).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_changed_request_never_panics_and_is_never_for_another_key(
            at in any::<prop::sample::Index>(),
            change in 1..=255u8,
            cut in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let key = KeyPair::generate().unwrap();
            let whole = request(&key);
            let of_key = Request::read(&whole).unwrap().key_hash;
            let mut changed = whole.clone();
            changed[at.index(whole.len())] ^= change;
            if let Ok(read) = Request::read(&changed) {
                prop_assert_eq!(read.key_hash, of_key);
            }
            prop_assert!(Request::read(&whole[..cut.index(whole.len())]).is_err());
            let _ = Request::read(&noise);
        }
    }
}
