//! Signed text that passes through browsers: nobody but this installation can make it,
//! and what was made for one purpose is of no use for another.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use goodword_core::ids::ReferrerId;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// 128 bits: nobody guesses that, and addresses stay short.
const MAC_LEN: usize = 16;

/// HMAC-SHA256 with the installation's secret, for one purpose.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    pub fn new(secret: &[u8], purpose: &'static str) -> Self {
        let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        Self(mac)
    }

    fn mac(&self, about: &str, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&(about.len() as u64).to_be_bytes());
        mac.update(about.as_bytes());
        mac.update(payload);
        mac
    }

    /// The payload with its signature, as text for addresses, forms and cookies. It is
    /// good only together with `about`.
    pub fn seal(&self, about: &str, payload: &[u8]) -> String {
        let mut bytes = payload.to_vec();
        bytes.extend_from_slice(&self.mac(about, payload).finalize().into_bytes()[..MAC_LEN]);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The payload, if we have sealed it for the same thing.
    pub fn open(&self, about: &str, sealed: &str) -> Option<Vec<u8>> {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let mac = bytes.split_off(bytes.len().checked_sub(MAC_LEN)?);
        self.mac(about, &bytes).verify_truncated_left(&mac).ok()?;
        Some(bytes)
    }
}

/// Makes and reads the addresses of referrers' own pages.
///
/// Such an address is all that is needed to see the page, and it stays the same: it can
/// stand in e-mails and in a company's own account area.
#[derive(Clone)]
pub struct PageAddress(Signer);

impl PageAddress {
    pub fn new(secret: &[u8]) -> Self {
        Self(Signer::new(secret, "goodword referrer page 1"))
    }

    /// The path of a referrer's page; `space` is the number of the side it is on.
    pub fn path(&self, space: i64, id: ReferrerId) -> String {
        let mut payload = space.to_be_bytes().to_vec();
        payload.extend_from_slice(id.uuid().as_bytes());
        format!("/me/{}", self.0.seal("", &payload))
    }

    /// Whose page it is.
    pub fn read(&self, token: &str) -> Option<(i64, ReferrerId)> {
        let payload = self.0.open("", token)?;
        let (space, id) = payload.split_at_checked(size_of::<i64>())?;
        Some((i64::from_be_bytes(space.try_into().ok()?), ReferrerId::from_uuid(Uuid::from_slice(id).ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_for_the_same_thing_only() {
        let signer = Signer::new(b"secret", "test");
        let sealed = signer.seal("page", b"payload");
        assert_eq!(signer.open("page", &sealed).as_deref(), Some(&b"payload"[..]));
        assert_eq!(signer.open("pagep", &sealed), None);
        assert_eq!(Signer::new(b"secret", "other").open("page", &sealed), None);
        assert_eq!(Signer::new(b"Secret", "test").open("page", &sealed), None);
        for i in 0..sealed.len() {
            let mut tampered = sealed.clone().into_bytes();
            tampered[i] = if tampered[i] == b'A' { b'B' } else { b'A' };
            assert_eq!(signer.open("page", std::str::from_utf8(&tampered).unwrap()), None, "character {i}");
        }
        for text in ["", "A", "====", &sealed[..21], "é"] {
            assert_eq!(signer.open("page", text), None, "{text}");
        }
        assert_eq!(signer.open("x", &signer.seal("x", b"")).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn a_referrers_page_has_one_address() {
        let (address, id) = (PageAddress::new(b"secret"), ReferrerId::from_uuid(Uuid::from_u128(7)));
        let path = address.path(3, id);
        assert_eq!(path, address.path(3, id));
        assert_eq!(address.read(path.strip_prefix("/me/").unwrap()), Some((3, id)));
        assert_ne!(path, address.path(2, id));
        assert_eq!(PageAddress::new(b"other").read(path.strip_prefix("/me/").unwrap()), None);
    }
}
