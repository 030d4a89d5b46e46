//! QR codes of links: SVG for pages and print shops, PNG for everything else.

use maud::{Markup, PreEscaped, html};
use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code. Scanners need four (ISO/IEC 18004).
const QUIET: usize = 4;
pub const SIZE_MIN: u32 = 64;
pub const SIZE_MAX: u32 = 2_048;
pub const SIZE_DEFAULT: u32 = 512;

/// The modules of a link, dark on light whatever the page's colours are.
pub struct Qr {
    dark: Vec<bool>,
    width: usize,
}

impl Qr {
    /// Nothing where the text is too long for any code (over 2,000 bytes).
    pub fn of(link: &str) -> Option<Self> {
        // M mends 15 %: enough for paper, and the modules stay large.
        let code = QrCode::with_error_correction_level(link, EcLevel::M).ok()?;
        Some(Self { width: code.width(), dark: code.into_colors().into_iter().map(|color| color == Color::Dark).collect() })
    }

    fn dark(&self, x: usize, y: usize) -> bool {
        self.dark[y * self.width + x]
    }

    /// One path: a run of dark modules is one rectangle.
    fn path(&self) -> String {
        let mut path = String::new();
        for y in 0..self.width {
            let mut x = 0;
            while x < self.width {
                let run = (x..self.width).take_while(|&x| self.dark(x, y)).count();
                if run > 0 {
                    path.push_str(&format!("M{} {}h{run}v1h-{run}z", x + QUIET, y + QUIET));
                }
                x += run.max(1);
            }
        }
        path
    }

    fn total(&self) -> usize {
        self.width + 2 * QUIET
    }

    /// To stand in a page.
    pub fn markup(&self, title: &str) -> Markup {
        let total = self.total();
        html! {
            svg.code viewBox=(format!("0 0 {total} {total}")) role="img" aria-label=(title) shape-rendering="crispEdges" {
                path fill="#fff" d=(format!("M0 0h{total}v{total}h-{total}z")) {}
                path fill="#000" d=(self.path()) {}
            }
        }
    }

    /// To stand alone in a file.
    pub fn svg(&self, title: &str, size: u32) -> String {
        let (total, size) = (self.total(), size.clamp(SIZE_MIN, SIZE_MAX));
        let document = html! {
            (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
            svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {total} {total}")) width=(size) height=(size) role="img" shape-rendering="crispEdges" {
                title { (title) }
                path fill="#fff" d=(format!("M0 0h{total}v{total}h-{total}z")) {}
                path fill="#000" d=(self.path()) {}
            }
        };
        document.into_string()
    }

    /// A picture of `size` pixels a side. A module is a whole number of pixels, so that
    /// edges are sharp; what remains is quiet zone. Codes with more modules than pixels
    /// were asked for get one pixel for each.
    pub fn png(&self, size: u32) -> Vec<u8> {
        let size = (size.clamp(SIZE_MIN, SIZE_MAX) as usize).max(self.total());
        let module = size / self.total();
        let margin = (size - module * self.width) / 2;
        let row_len = size.div_ceil(8);
        let mut pixels = vec![0xff_u8; row_len * size];
        for y in 0..self.width * module {
            let row = &mut pixels[(margin + y) * row_len..][..row_len];
            for x in (0..self.width * module).filter(|x| self.dark(x / module, y / module)) {
                row[(margin + x) / 8] &= !(0x80 >> ((margin + x) % 8));
            }
        }
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, size as u32, size as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        // Writing to memory fails for no image that fits the numbers above.
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        debug_assert!(written.is_ok(), "{written:?}");
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://refer.northlight.example/PRIYA24K";

    fn read(width: usize, dark: impl Fn(usize, usize) -> bool) -> String {
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, width, |x, y| if dark(x, y) { 0 } else { 255 });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    fn pixels(file: &[u8]) -> (usize, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!(info.width, info.height);
        (info.width as usize, bytes)
    }

    #[test]
    fn a_scanner_finds_the_link_in_the_picture() {
        let long = format!("https://refer.example.com/{}", "x".repeat(300));
        for link in [LINK, "http://[::1]:8080/é", &long] {
            for size in [150, 333, 512, 2_048] {
                let (width, bytes) = pixels(&Qr::of(link).unwrap().png(size));
                assert_eq!(width, size as usize);
                assert_eq!(read(width, |x, y| bytes[y * width.div_ceil(8) + x / 8] & (0x80 >> (x % 8)) == 0), link);
            }
        }
    }

    #[test]
    fn a_scanner_finds_the_link_in_the_drawing() {
        const SCALE: usize = 4;
        let qr = Qr::of(LINK).unwrap();
        let svg = qr.svg("Priya’s <link>", 512);
        assert!(svg.contains("<title>Priya’s &lt;link&gt;</title>"));
        let total = qr.total();
        let mut dark = vec![false; total * total];
        let path = svg.rsplit_once("fill=\"#000\" d=\"").unwrap().1.split('"').next().unwrap();
        for run in path.split_terminator('z') {
            let numbers: Vec<usize> = run.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
            let [x, y, length, ..] = numbers[..] else { panic!("{run}") };
            dark[y * total + x..][..length].fill(true);
        }
        assert_eq!(read(total * SCALE, |x, y| dark[y / SCALE * total + x / SCALE]), LINK);
        let margin = |n: usize| n < QUIET || n >= total - QUIET;
        assert!((0..total * total).all(|i| !dark[i] || !(margin(i % total) || margin(i / total))), "the quiet zone is quiet");
    }

    #[test]
    fn sizes_stay_within_bounds() {
        let qr = Qr::of(LINK).unwrap();
        for (asked, given) in [(0, 64), (64, 64), (100_000, 2_048)] {
            assert_eq!(pixels(&qr.png(asked)).0, given);
        }
        assert!(Qr::of(&"x".repeat(5_000)).is_none());
    }
}
