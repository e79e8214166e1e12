//! Development certificates: a small CA of this machine's own and a leaf for localhost, made when they are missing
//! and kept in one directory.
//!
//! | file | what | mode |
//! |---|---|---|
//! | `ca.pem`, `ca-key.pem` | the CA: ten years, and only for names of this machine (name constraints) | 0644, 0600 |
//! | `server.pem`, `server-key.pem` | the leaf: 397 days, renewed when fewer than 30 are left | 0644, 0600 |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The CA's certificate, for clients to trust.
pub(crate) const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca-key.pem";
const LEAF_FILE: &str = "server.pem";
const LEAF_KEY_FILE: &str = "server-key.pem";

const CA_DAYS: i64 = 3_650;
/// What browsers accept at most.
const LEAF_DAYS: i64 = 397;
const RENEW_DAYS: i64 = 30;

/// Why there are no development certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: {problem}; remove {CA_FILE} and {CA_KEY_FILE} to have a new CA made", path.display())]
    Ca { path: PathBuf, problem: String },
    #[error("a development certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// Where the certificate chain and the key of the leaf stand.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Makes what is missing or about to expire in `dir`. Safe to run from several processes at once.
pub(crate) fn ensure(dir: &Path) -> Result<Leaf, CertError> {
    ensure_at(dir, OffsetDateTime::now_utc())
}

fn ensure_at(dir: &Path, now: OffsetDateTime) -> Result<Leaf, CertError> {
    fs::create_dir_all(dir).map_err(at(dir))?;
    let lock_path = dir.join(".lock");
    let lock = File::create(&lock_path).map_err(at(&lock_path))?;
    lock.lock().map_err(at(&lock_path))?;

    let ca = match read_ca(dir, now)? {
        Some(ca) => ca,
        None => make_ca(dir, now)?,
    };
    let leaf = Leaf { cert: dir.join(LEAF_FILE), key: dir.join(LEAF_KEY_FILE) };
    if let Err(why) = check_leaf(&leaf, &ca, now) {
        make_leaf(&leaf, &ca, now)?;
        tracing::info!("made a development certificate for localhost in {} ({why})", leaf.cert.display());
    }
    Ok(leaf)
}

struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// The CA that stands in `dir`; `None` if there is none, or it would not outlive a new leaf by much.
fn read_ca(dir: &Path, now: OffsetDateTime) -> Result<Option<Ca>, CertError> {
    let (cert_path, key_path) = (dir.join(CA_FILE), dir.join(CA_KEY_FILE));
    let (cert, key) = match (fs::read(&cert_path), fs::read_to_string(&key_path)) {
        (Ok(cert), Ok(key)) => (cert, key),
        (Err(cert), Err(key)) if both_missing(&cert, &key) => return Ok(None),
        (Err(error), _) => return Err(CertError::Ca { path: cert_path, problem: error.to_string() }),
        (_, Err(error)) => return Err(CertError::Ca { path: key_path, problem: error.to_string() }),
    };
    warn_if_others_can_read(&key_path);
    let der = CertificateDer::from_pem_slice(&cert)
        .map_err(|error| CertError::Ca { path: cert_path.clone(), problem: error.to_string() })?;
    let key = KeyPair::from_pem(&key)
        .map_err(|error| CertError::Ca { path: key_path.clone(), problem: error.to_string() })?;
    let (_, parsed) = X509Certificate::from_der(&der)
        .map_err(|error| CertError::Ca { path: cert_path.clone(), problem: error.to_string() })?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        let problem = format!("is not the key of {CA_FILE}");
        return Err(CertError::Ca { path: key_path, problem });
    }
    if expires_soon(&parsed, now) {
        tracing::warn!(
            "the development CA in {} expires soon: made a new one, trust that",
            cert_path.display()
        );
        return Ok(None);
    }
    let issuer = Issuer::from_ca_cert_der(&der, key)?;
    Ok(Some(Ca { der, issuer }))
}

fn both_missing(a: &io::Error, b: &io::Error) -> bool {
    a.kind() == io::ErrorKind::NotFound && b.kind() == io::ErrorKind::NotFound
}

fn make_ca(dir: &Path, now: OffsetDateTime) -> Result<Ca, CertError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Plimsoll development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Whoever trusts this CA trusts it for this machine only, should its key ever leak.
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".into()),
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(Ipv4Addr::LOCALHOST.into(), 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(Ipv6Addr::LOCALHOST.into(), 128)),
        ],
        excluded_subtrees: Vec::new(),
    });
    set_validity(&mut params, now, CA_DAYS);
    let cert = params.self_signed(&key)?;
    write(&dir.join(CA_KEY_FILE), 0o600, &key.serialize_pem())?;
    write(&dir.join(CA_FILE), 0o644, &cert.pem())?;
    Ok(Ca { der: cert.der().clone(), issuer: Issuer::new(params, key) })
}

fn leaf_names() -> [IpAddr; 2] {
    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

fn make_leaf(leaf: &Leaf, ca: &Ca, now: OffsetDateTime) -> Result<(), CertError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["localhost".to_string()])?;
    params.subject_alt_names.extend(leaf_names().map(SanType::IpAddress));
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, LEAF_DAYS);
    let cert = params.signed_by(&key, &ca.issuer)?;
    write(&leaf.key, 0o600, &key.serialize_pem())?;
    write(&leaf.cert, 0o644, &cert.pem())
}

/// Why the leaf must be made anew, if it must.
fn check_leaf(leaf: &Leaf, ca: &Ca, now: OffsetDateTime) -> Result<(), String> {
    let (cert, key) = match (fs::read(&leaf.cert), fs::read_to_string(&leaf.key)) {
        (Ok(cert), Ok(key)) => (cert, key),
        _ => return Err("there was none".into()),
    };
    let der = CertificateDer::from_pem_slice(&cert).map_err(|_| "the old one was unreadable")?;
    let (_, cert) = X509Certificate::from_der(&der).map_err(|_| "the old one was unreadable")?;
    let (_, ca) = X509Certificate::from_der(&ca.der).map_err(|_| "the CA was unreadable")?;
    let key = KeyPair::from_pem(&key).map_err(|_| "the old key was unreadable")?;
    if cert.public_key().raw != key.subject_public_key_info() {
        return Err("the old key belonged to another".into());
    }
    if cert.issuer() != ca.subject() || cert.verify_signature(Some(ca.public_key())).is_err() {
        return Err("the old one came from another CA".into());
    }
    if expires_soon(&cert, now) {
        return Err(format!("the old one had fewer than {RENEW_DAYS} days left"));
    }
    Ok(())
}

fn expires_soon(cert: &X509Certificate<'_>, now: OffsetDateTime) -> bool {
    cert.validity().not_after.to_datetime() < now + Duration::days(RENEW_DAYS)
}

fn set_validity(params: &mut CertificateParams, now: OffsetDateTime, days: i64) {
    // An hour of tolerance for clients whose clock is behind.
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(days);
}

/// Writes a file that has its mode before it has content, and appears whole or not at all.
fn write(path: &Path, mode: u32, content: &str) -> Result<(), CertError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&draft)(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft).map_err(at(&draft))?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(at(&draft))?;
    fs::rename(&draft, path).map_err(at(path))
}

/// Says so if a private key can be read by other users of this machine.
pub(crate) fn warn_if_others_can_read(key: &Path) {
    if let Ok(metadata) = fs::metadata(key)
        && metadata.permissions().mode() & 0o077 != 0
    {
        tracing::warn!("{} can be read by other users; run: chmod 600 {}", key.display(), key.display());
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> CertError {
    let path = path.to_owned();
    move |error| CertError::Io { path: path.clone(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(dir: &Path) -> [Vec<u8>; 4] {
        [CA_FILE, CA_KEY_FILE, LEAF_FILE, LEAF_KEY_FILE].map(|name| fs::read(dir.join(name)).unwrap())
    }

    #[test]
    fn what_stands_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path()).unwrap();
        let first = contents(dir.path());
        ensure(dir.path()).unwrap();
        assert_eq!(contents(dir.path()), first);
    }

    #[test]
    fn a_leaf_is_renewed_when_fewer_than_thirty_days_are_left_and_the_ca_stays() {
        let dir = tempfile::tempdir().unwrap();
        let start = OffsetDateTime::now_utc();
        ensure_at(dir.path(), start).unwrap();
        let [ca, ca_key, leaf, _] = contents(dir.path());
        ensure_at(dir.path(), start + Duration::days(LEAF_DAYS - 31)).unwrap();
        assert_eq!(contents(dir.path())[2], leaf);
        ensure_at(dir.path(), start + Duration::days(LEAF_DAYS - 29)).unwrap();
        let later = contents(dir.path());
        assert_eq!([&later[0], &later[1]], [&ca, &ca_key]);
        assert_ne!(later[2], leaf);
    }

    #[test]
    fn keys_are_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path()).unwrap();
        for name in [CA_KEY_FILE, LEAF_KEY_FILE] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_leaf_of_another_ca_is_replaced() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        ensure(dir.path()).unwrap();
        ensure(other.path()).unwrap();
        for name in [LEAF_FILE, LEAF_KEY_FILE] {
            fs::copy(other.path().join(name), dir.path().join(name)).unwrap();
        }
        let foreign = contents(dir.path());
        ensure(dir.path()).unwrap();
        assert_ne!(contents(dir.path())[2], foreign[2]);
    }

    #[test]
    fn half_a_ca_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path()).unwrap();
        let ca = fs::read(dir.path().join(CA_FILE)).unwrap();
        fs::remove_file(dir.path().join(CA_KEY_FILE)).unwrap();
        let error = ensure(dir.path()).unwrap_err().to_string();
        assert!(error.contains("ca-key.pem") && error.contains("remove"), "{error}");
        assert_eq!(fs::read(dir.path().join(CA_FILE)).unwrap(), ca);
    }
}
