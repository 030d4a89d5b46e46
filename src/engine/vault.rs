//! Secrets at rest: what must be read again (signing secrets, credentials) lies sealed in
//! the database, by XChaCha20-Poly1305. A sealed value is bound to its place, so that it
//! cannot be moved into another row or column and be opened there.
//!
//! A sealed value is one byte of version, the key's id (4 bytes), the nonce (24 bytes) and
//! the sealed text with its tag (16 bytes more than the text).

use super::{Error, Result};
use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use goodword_store::{self as store, Arg, Command, Store, Tx};
use sha2::{Digest, Sha256};
use std::{fmt, io::Write, path::Path};

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const NONCE_LEN: usize = 24;
/// Less could be guessed. `openssl rand -base64 32` makes 44 characters.
const KEY_TEXT_LEN_MIN: usize = 32;

/// The keys of the installation. The first one seals; all of them open, so that a new key
/// is put in front of the old one.
#[derive(Clone)]
pub struct Vault(Vec<(KeyId, XChaCha20Poly1305)>);

type KeyId = [u8; KEY_ID_LEN];

/// What a sealed value belongs to: a table's column and the row's id.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub column: &'static str,
    pub id: &'a (dyn fmt::Display + Sync),
}

impl Place<'_> {
    fn text(self) -> String {
        format!("{}/{}", self.column, self.id)
    }
}

impl Vault {
    /// Keys in a text, with white space or commas between them, the newest first.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).collect();
        match words.iter().find(|word| word.len() < KEY_TEXT_LEN_MIN) {
            _ if words.is_empty() => Err("the secret key is empty".into()),
            Some(_) => Err(format!("a secret key needs at least {KEY_TEXT_LEN_MIN} characters: openssl rand -base64 32 makes one")),
            None => Ok(Self(words.into_iter().map(|word| Self::key(word.as_bytes())).collect())),
        }
    }

    /// Reads the file with the key; makes it, for its owner's eyes only, where there is none.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        use std::os::unix::fs::OpenOptionsExt;
        let failed = |error: std::io::Error| format!("the secret key file {}: {error}", path.display());
        let mut file = match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Self::from_text(&std::fs::read_to_string(path).map_err(failed)?).map_err(|problem| format!("{}: {problem}", path.display()));
            }
            Err(error) => return Err(failed(error)),
        };
        let text: String = super::random_bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        // On the disk before the first secret is sealed with it.
        writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(failed)?;
        Self::from_text(&text)
    }

    /// A vault whose key lies in the database itself: it protects nothing, and is for tests.
    pub fn open_to_the_database(secret: &[u8; 32]) -> Self {
        Self(vec![Self::key(secret)])
    }

    /// A vault without a key: it seals and opens nothing.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    fn key(material: &[u8]) -> (KeyId, XChaCha20Poly1305) {
        // One hash for the key and another for its id, which everybody may see.
        let derive = |purpose: &[u8]| -> [u8; 32] { Sha256::new().chain_update(purpose).chain_update(material).finalize().into() };
        let (key, id) = (derive(b"goodword vault key 1\0"), derive(b"goodword vault id 1\0"));
        ([id[0], id[1], id[2], id[3]], XChaCha20Poly1305::new(&Key::from(key)))
    }

    /// Seals a text for its place.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>> {
        let broken = || Error::Store(store::Error::Database("a secret cannot be sealed".into()));
        let (id, cipher) = self.0.first().ok_or_else(broken)?;
        let nonce: [u8; NONCE_LEN] = super::random_bytes();
        let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: place.text().as_bytes() }).map_err(|_| broken())?;
        let mut value = Vec::with_capacity(1 + KEY_ID_LEN + NONCE_LEN + sealed.len());
        value.push(VERSION);
        value.extend_from_slice(id);
        value.extend_from_slice(&nonce);
        value.extend_from_slice(&sealed);
        Ok(value)
    }

    /// Opens what was sealed for that place.
    pub fn open(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>> {
        let broken = |why: &str| Error::Store(store::Error::Database(format!("{} {why}", place.text())));
        let parts = value.strip_prefix(&[VERSION]).and_then(|rest| rest.split_at_checked(KEY_ID_LEN));
        let (id, rest) = parts.ok_or_else(|| broken("is not a sealed value"))?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(|| broken("is not a sealed value"))?;
        let (_, cipher) = self.0.iter().find(|(known, _)| known == id).ok_or_else(|| broken("was sealed with a key that is not among the secret keys"))?;
        cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: place.text().as_bytes() })
            .map_err(|_| broken("was changed, or sealed for another place"))
    }

    /// Whether this is the key that a database was first opened with.
    pub fn opens(&self, Probe(kept): &Probe) -> bool {
        let bytes: Vec<u8> = kept.as_bytes().chunks(2).filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
        self.open(PROBE, &bytes).is_ok()
    }

    /// Refuses a key that is not the one of this database: with it nothing could be read,
    /// and two nodes with different keys could not read what the other has written.
    pub(super) async fn check(&self, store: &Store) -> Result<()> {
        struct Keep(String);
        impl Command for Keep {
            type Output = String;
            type Error = Error;

            async fn apply(&self, tx: &mut Tx<'_>) -> Result<String> {
                tx.execute("INSERT INTO installation (key, value) VALUES ('vault', $1) ON CONFLICT DO NOTHING", &[self.0.as_str().into()]).await?;
                let kept = tx.fetch_one("SELECT value FROM installation WHERE key = 'vault'", &[], |row| row.get::<String>(0)).await?;
                Ok(kept.unwrap_or_default())
            }
        }
        let probe = self.seal(PROBE, b"goodword")?;
        let kept = store.write(Keep(probe.iter().map(|byte| format!("{byte:02x}")).collect())).await?;
        match self.opens(&Probe(kept)) {
            true => Ok(()),
            false => Err(Error::Store(store::Error::Database(ANOTHER_KEY.into()))),
        }
    }
}

/// What is said of a key that is not the database's.
pub const ANOTHER_KEY: &str = "this database was encrypted with another secret key: set secret_key or secret_key_file to the one it was made with";

const PROBE: Place<'static> = Place { column: "installation.vault", id: &"probe" };

/// What a database knows its key by.
pub struct Probe(String);

/// The probe of a database; `None` for one that no key has been used with yet.
pub async fn probe(store: &Store) -> Result<Option<Probe>> {
    let sql = "SELECT value FROM installation WHERE key = 'vault'";
    store.read(move |tx| Box::pin(async move { Ok(tx.fetch_one(sql, &[], |row| row.get(0)).await?.map(Probe)) })).await
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({} keys)", self.0.len())
    }
}

/// A sealed value as an argument.
pub(super) fn sealed(value: Option<&Vec<u8>>) -> Arg<'_> {
    value.map_or(Arg::Null, |bytes| Arg::Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: &&'static str) -> Place<'static> {
        Place { column: "endpoints.secret", id: Box::leak(Box::new(*id)) }
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_only() {
        let vault = Vault::from_text(&"k".repeat(32)).unwrap();
        let value = vault.seal(place(&"ep_1"), b"hush").unwrap();
        assert_eq!(vault.open(place(&"ep_1"), &value).unwrap(), b"hush");
        assert!(vault.open(place(&"ep_2"), &value).is_err());
        assert!(vault.open(Place { column: "endpoints.headers", id: &"ep_1" }, &value).is_err());
        assert!(!value.windows(4).any(|window| window == b"hush"));
        for i in 0..value.len() {
            let mut changed = value.clone();
            changed[i] ^= 1;
            assert!(vault.open(place(&"ep_1"), &changed).is_err(), "byte {i}");
            assert!(vault.open(place(&"ep_1"), &value[..i]).is_err(), "cut at {i}");
        }
        assert_ne!(value, vault.seal(place(&"ep_1"), b"hush").unwrap());
    }

    #[test]
    fn a_new_key_goes_in_front_of_the_old_one() {
        let (old, new) = ("o".repeat(40), "n".repeat(40));
        let sealed = Vault::from_text(&old).unwrap().seal(place(&"x"), b"1").unwrap();
        assert_eq!(Vault::from_text(&format!("{new}\n{old}\n")).unwrap().open(place(&"x"), &sealed).unwrap(), b"1");
        assert!(Vault::from_text(&new).unwrap().open(place(&"x"), &sealed).is_err());
        assert!(Vault::from_text("short").is_err() && Vault::from_text(" ").is_err());
    }

    #[test]
    fn the_file_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        let sealed = Vault::from_file(&path).unwrap().seal(place(&"x"), b"1").unwrap();
        assert_eq!(Vault::from_file(&path).unwrap().open(place(&"x"), &sealed).unwrap(), b"1");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
