//! Signatures, exactly as Standard Webhooks 1.0 has them
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>):
//! `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. While a secret is being
//! changed there is one for each secret, with a space between.

use crate::engine::endpoint::SigningSecret;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

type HmacSha256 = Hmac<Sha256>;

/// A secret that is ready to sign.
#[derive(Clone)]
pub struct Signer(HmacSha256);

impl Signer {
    pub fn new(secret: &SigningSecret) -> Option<Self> {
        HmacSha256::new_from_slice(secret.bytes()).ok().map(Self)
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

/// The value of `webhook-signature`.
pub fn signature(signers: &[Signer], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut text = String::with_capacity(signers.len() * 48);
    for signer in signers {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str("v1,");
        BASE64.encode_string(signer.mac(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]), &mut text);
    }
    text
}

/// The value of `webhook-token`: HMAC-SHA256 over `id.timestamp` in hex, for engines that see
/// only the parsed body and cannot check the signature (Make); while a secret is being changed
/// one for each, with a space between. It says who sent the request, and nothing about the body.
pub fn token(signers: &[Signer], id: &str, timestamp: &str) -> String {
    let one = |signer: &Signer| -> String { signer.mac(&[id.as_bytes(), b".", timestamp.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect() };
    signers.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The header that says from which installation a delivery is: one that comes back to its own, through a proxy
/// for example, would be a loop.
pub const INSTALLATION: &str = "goodword-installation";

/// Its value: the same on every node, and nothing that could be made of the secret by others or the other way round.
pub fn installation(secret: &[u8; 32]) -> String {
    let mut mac = HmacSha256::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(b"goodword installation 1");
    mac.finalize().into_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn signer(text: &str) -> Signer {
        Signer::new(&text.parse().unwrap()).unwrap()
    }

    /// The example that the specification's libraries test themselves with.
    #[test]
    fn the_vector_of_the_specification() {
        assert_eq!(signature(&[signer(SECRET)], ID, "1614265330", BODY), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the library compares with the machine's clock")]
    fn the_official_library_accepts_it_and_nothing_else() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
        let fresh = SigningSecret::random();
        let verifies = |secret: &str, header: &str, body: &[u8]| {
            let webhook = standardwebhooks::Webhook::new(secret).unwrap();
            let mut headers = http::HeaderMap::new();
            headers.insert("webhook-id", ID.parse().unwrap());
            headers.insert("webhook-timestamp", now.parse().unwrap());
            headers.insert("webhook-signature", header.parse().unwrap());
            webhook.verify(body, &headers).is_ok()
        };
        // During a change both secrets verify.
        let header = signature(&[Signer::new(&fresh).unwrap(), signer(SECRET)], ID, &now, BODY);
        assert_eq!(header.split(' ').count(), 2);
        assert!(verifies(&fresh.reveal(), &header, BODY) && verifies(SECRET, &header, BODY));
        assert!(!verifies(SECRET, &header, b"{}"));
        assert!(!verifies(&SigningSecret::random().reveal(), &header, BODY));
    }

    #[test]
    fn the_token_is_over_id_and_time() {
        let signers = [signer(SECRET)];
        let text = token(&signers, ID, "1");
        assert_eq!(text.len(), 64);
        assert_ne!(text, token(&signers, ID, "2"));
        // During a change whoever knows the old secret finds theirs.
        let both = token(&[Signer::new(&SigningSecret::random()).unwrap(), signer(SECRET)], ID, "1");
        assert!(both.len() == 129 && both.ends_with(&format!(" {text}")));
    }
}
