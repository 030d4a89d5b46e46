//! Stylesheet, script and fonts, in the binary. Their addresses carry a hash of their
//! content, so browsers keep them for ever and never use an old one.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, io::Write, sync::LazyLock};

/// For every answer that is an asset.
pub const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

pub struct Asset {
    url: String,
    pub content_type: &'static str,
    pub body: Cow<'static, [u8]>,
    /// Compressed once, where that makes it smaller.
    pub gzip: Option<Vec<u8>>,
}

const HASH_LEN: usize = 10;

impl Asset {
    fn new(name: &str, extension: &str, content_type: &'static str, body: Cow<'static, [u8]>) -> Self {
        let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&body));
        Self { url: format!("/assets/{name}.{}.{extension}", &hash[..HASH_LEN]), content_type, gzip: gzip(&body), body }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().filter(|gzip| gzip.len() < body.len() * 9 / 10)
}

fn font(name: &str, bytes: &'static [u8]) -> Asset {
    Asset::new(name, "woff2", "font/woff2", Cow::Borrowed(bytes))
}

pub static FONT_TEXT: LazyLock<Asset> = LazyLock::new(|| font("geist-latin", include_bytes!("assets/geist-latin-wght-normal.woff2")));
pub static FONT_TEXT_EXT: LazyLock<Asset> = LazyLock::new(|| font("geist-latin-ext", include_bytes!("assets/geist-latin-ext-wght-normal.woff2")));
pub static FONT_HEAD: LazyLock<Asset> = LazyLock::new(|| font("bricolage", include_bytes!("assets/bricolage-700-latin.woff2")));
pub static ICON: LazyLock<Asset> = LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", Cow::Borrowed(include_bytes!("assets/icon.svg"))));
pub static JS: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("public", "js", "text/javascript; charset=utf-8", Cow::Borrowed(include_bytes!("assets/public.js"))));
/// The stylesheet names the fonts by their file; here they get their hashed addresses.
pub static CSS: LazyLock<Asset> = LazyLock::new(|| {
    let css = [("geist-latin-wght-normal", &FONT_TEXT), ("geist-latin-ext-wght-normal", &FONT_TEXT_EXT), ("bricolage-700-latin", &FONT_HEAD)]
        .into_iter()
        .fold(include_str!("assets/public.css").to_owned(), |css, (file, font)| css.replace(&format!("{file}.woff2"), font.url()));
    Asset::new("public", "css", "text/css; charset=utf-8", Cow::Owned(css.into_bytes()))
});

/// The asset at an address (`/assets/…`).
pub fn find(path: &str) -> Option<&'static Asset> {
    let all: [&'static Asset; 6] = [&CSS, &JS, &FONT_TEXT, &FONT_TEXT_EXT, &FONT_HEAD, &ICON];
    all.into_iter().find(|asset| asset.url == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_found_at_its_address() {
        for asset in [&CSS, &JS, &FONT_TEXT, &FONT_TEXT_EXT, &FONT_HEAD, &ICON] {
            assert_eq!(find(asset.url()).unwrap().body, asset.body);
        }
        assert!(find("/assets/public.css").is_none());
    }

    #[test]
    fn the_stylesheet_asks_for_nothing_that_is_not_there() {
        let css = std::str::from_utf8(&CSS.body).unwrap();
        for url in css.split("url(").skip(1).map(|rest| rest.split(')').next().unwrap().trim_matches('"')) {
            assert!(find(url).is_some(), "{url}");
        }
    }

    #[test]
    fn the_script_stays_small() {
        assert!(JS.body.len() <= 2_048, "{}", JS.body.len());
    }
}
