//! Which addresses this server calls: those of the public internet, and the networks that
//! the operator allows (`allow_networks`).
//!
//! An address is judged where the connection is made, after the name was resolved, so that
//! a name which points elsewhere the next time changes nothing. It is judged as well when
//! an endpoint is made, so that a mistake is told at once.

use goodword_core::text::WebUrl;
use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};
use url::{Host, Url};

/// Why an address is not called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What this server calls.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
    /// Where this server itself listens: calling it would be a loop.
    listen: Option<SocketAddr>,
    /// Where people reach this server: host and port.
    public: Option<(String, u16)>,
}

/// Names of the services that clouds have for their own machines, whatever they resolve to here,
const METADATA_NAMES: [&str; 5] = ["metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal", "metadata.goog"];
/// and the address that they mean.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Endings of names that nobody on the public internet can have (RFC 6761, 6762, 8375, and ICANN's `internal`).
const INNER_ENDINGS: [&str; 5] = [".internal", ".local", ".localhost", ".home.arpa", ".test"];

/// Ports where something listens that reads lines and would take our request for commands:
/// those that browsers do not call (<https://fetch.spec.whatwg.org/#port-blocking>), Redis and memcached.
const PORTS: [u16; 84] = [
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137,
    139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 11211,
];

/// How long a name may take to resolve while somebody waits for the answer to a request.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(2);

impl Guard {
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed, listen: None, public: None }
    }

    /// Every address, for tools whose user says where to.
    pub fn anywhere() -> Self {
        Self::new(["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()).collect())
    }

    /// With the server's own addresses, which are never called.
    pub fn with_own(mut self, listen: SocketAddr, public_url: &str) -> Self {
        self.listen = Some(listen);
        self.public = Url::parse(public_url).ok().and_then(|url| host_and_port(&url));
        self
    }

    /// Whether somebody who connects there reaches this server.
    fn is_own(&self, address: SocketAddr) -> bool {
        let Some(own) = self.listen.filter(|own| own.port() == address.port()) else { return false };
        let (own, to) = (own.ip().to_canonical(), address.ip().to_canonical());
        own == to || to.is_unspecified() || (own.is_unspecified() && is_of_this_machine(address))
    }

    /// Whether people reach this server there: by http or https, as proxies serve both.
    fn is_public(&self, url: &Url) -> bool {
        const WEB: [u16; 2] = [80, 443];
        match (&self.public, host_and_port(url)) {
            (Some((own, own_port)), Some((host, port))) => *own == host && (*own_port == port || (WEB.contains(own_port) && WEB.contains(&port))),
            _ => false,
        }
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        let canonical = ip.to_canonical();
        self.allowed.iter().any(|net| net.contains(&canonical) || net.contains(&ip))
    }

    /// Judges one address, as it is about to be connected to.
    pub fn check(&self, address: SocketAddr) -> Result<(), Refused> {
        let ip = address.ip();
        if self.is_own(address) {
            return Err(Refused(format!("{address} is this server itself")));
        }
        if self.is_allowed(ip) {
            return Ok(());
        }
        if let Some(what) = special(ip) {
            return Err(Refused(format!("{ip} is {what}; an operator can allow it with allow_networks")));
        }
        self.check_port(address.port())
    }

    fn check_port(&self, port: u16) -> Result<(), Refused> {
        if PORTS.contains(&port) { Err(Refused(format!("port {port} belongs to another protocol"))) } else { Ok(()) }
    }

    /// Judges what can be judged of an address without asking the network.
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused("only http and https are called".into()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused("an address holds no password; send it in a header".into()));
        }
        if self.is_public(url) {
            return Err(Refused("this is the address of this server itself".into()));
        }
        let port = url.port_or_known_default().unwrap_or(0);
        match url.host() {
            None => Err(Refused("there is no host in it".into())),
            Some(Host::Ipv4(ip)) => self.check(SocketAddr::new(ip.into(), port)),
            Some(Host::Ipv6(ip)) => self.check(SocketAddr::new(ip.into(), port)),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let leads_to = |ips: &[IpAddr], what: &str| match ips.iter().any(|ip| self.is_allowed(*ip)) {
                    true => Ok(()),
                    false => Err(Refused(format!("{name} is a name of {what}; an operator can allow its network with allow_networks"))),
                };
                if name == "localhost" || name.ends_with(".localhost") {
                    leads_to(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], "this machine")?;
                }
                if METADATA_NAMES.contains(&name.as_str()) {
                    leads_to(&[METADATA.into()], "the cloud that this machine is in")?;
                }
                // Inside, operators have what they like where they like: there the address decides.
                let is_inner = !name.contains('.') || INNER_ENDINGS.iter().any(|ending| name.ends_with(ending));
                if is_inner && !self.allowed.is_empty() { Ok(()) } else { self.check_port(port) }
            }
        }
    }

    /// Judges the address of a new endpoint, with what its name resolves to now. A name
    /// that cannot be resolved passes: it may be there tomorrow, and is judged at every
    /// connection.
    pub async fn admit(&self, url: &WebUrl) -> Result<(), Refused> {
        let url = Url::parse(url.as_str()).map_err(|error| Refused(error.to_string()))?;
        self.check_url(&url)?;
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        let port = url.port_or_known_default().unwrap_or(0);
        match tokio::time::timeout(RESOLVE_DEADLINE, tokio::net::lookup_host((name, port))).await {
            Ok(Ok(addresses)) => self.choose(addresses).map(drop).map_err(|refused| Refused(format!("{name}: {refused}"))),
            _ => Ok(()),
        }
    }

    /// Of what a name resolves to, the addresses that may be called.
    pub fn choose(&self, addresses: impl IntoIterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let (mut good, mut refused) = (Vec::new(), None);
        for address in addresses {
            match self.check(address) {
                Ok(()) => good.push(address),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if good.is_empty() => Err(why),
            _ => Ok(good),
        }
    }
}

/// The host as it is compared: a dot at the end says nothing.
fn host_and_port(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.trim_end_matches('.').to_ascii_lowercase(), url.port_or_known_default()?))
}

/// Whether an address is one of this machine's interfaces: the kernel lets a socket be bound to no other.
/// Nothing is sent. (With `ip_nonlocal_bind` it lets, and then our port is taken for ours everywhere: who
/// needs both says in `listen` where to listen.)
fn is_of_this_machine(address: SocketAddr) -> bool {
    let mut local = SocketAddr::new(address.ip().to_canonical(), 0);
    if let (SocketAddr::V6(local), SocketAddr::V6(address)) = (&mut local, address) {
        local.set_scope_id(address.scope_id());
    }
    local.ip().is_loopback() || UdpSocket::bind(local).is_ok()
}

/// What an address is, where it is not one of the public internet.
///
/// IANA's registries of special addresses, and the ways in which IPv6 carries an IPv4
/// address inside: <https://www.iana.org/assignments/iana-ipv4-special-registry>,
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>.
pub fn special(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => special_v4(ip),
        IpAddr::V6(ip) => special_v6(ip),
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, d] = ip.octets();
    Some(match (a, b, c, d) {
        (0, ..) => "an address of \"this network\"",
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => "a private address",
        (100, 64..=127, ..) => "an address shared behind a carrier's NAT",
        (127, ..) => "this machine itself",
        (169, 254, ..) => "a link-local address (where clouds keep their metadata)",
        (168, 63, 129, 16) => "Azure's address for its own machines",
        (192, 0, 0, _) => "an address for protocols",
        (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) => "an address for documentation",
        (192, 88, 99, _) => "a 6to4 relay",
        (198, 18..=19, ..) => "an address for measurements",
        (224..=239, ..) => "a multicast address",
        (240.., ..) => "a reserved address",
        _ => return None,
    })
}

fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let s = ip.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    // Addresses that the machine or its network turns into IPv4 are what they turn into.
    if let Some(v4) = ip.to_ipv4_mapped() {
        return special_v4(v4);
    }
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return special_v4(embedded(s[6], s[7]));
    }
    Some(match s {
        [0, 0, 0, 0, 0, 0, 0, 1] => "this machine itself",
        // ::/8: unspecified, IPv4-compatible, SIIT (::ffff:0:a.b.c.d), and 64:ff9b:1::/48 (local NAT64).
        [0x0000..=0x00ff, ..] => "a reserved address",
        [0xfc00..=0xfdff, ..] => "a private address",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xfec0..=0xfeff, ..] => "a site-local address",
        [0xff00..=0xffff, ..] => "a multicast address",
        [0x2001, 0x0000..=0x01ff, ..] => "an address for protocols (Teredo among them)",
        [0x2001, 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => "an address for documentation",
        [0x2002, ..] => "a 6to4 address",
        // ISATAP (RFC 5214): the interface is 0:5efe or 200:5efe and an IPv4 address.
        [_, _, _, _, 0x0000 | 0x0200, 0x5efe, _, _] => "an ISATAP address",
        [0x2000..=0x3fff, ..] => return None,
        _ => "a reserved address",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an address in any spelling is refused when an endpoint is made. No name here is looked up.
    fn refused(text: &str) -> bool {
        match text.parse::<WebUrl>() {
            Err(_) => true,
            Ok(url) => Guard::default().check_url(&Url::parse(url.as_str()).unwrap()).is_err(),
        }
    }

    #[test]
    fn what_is_inside_is_refused_in_every_spelling() {
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://0/",
            "http://localhost/",
            "http://LocalHost./",
            "http://a.localhost/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[64:ff9b:1::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:0:0:0:0:80ff:fffe]/",
            "http://[::ffff:0:7f00:1]/",
            "http://[2a00::5efe:7f00:1]/",
            "http://[2a00::200:5efe:7f00:1]/",
            "http://[fec0::1]/",
            "http://[3fff::1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://metadata.google.internal/",
            "http://100.100.100.200/",
            "http://192.0.0.192/",
            "http://168.63.129.16/",
            "http://10.0.0.1/",
            "http://172.31.0.1/",
            "http://192.168.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[fd00:ec2::254]/",
            "http://[fe80::1]/",
            "http://[fe80::1%25eth0]/",
            "http://user:pass@example.com/",
            "http://127.0.0.1\\@example.com/",
            "http://127.0.0.1#@example.com/",
            "http://127。0。0。1/",
            "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
            "http://example.com:25/",
            "http://example.com:6379/",
            "gopher://example.com/",
            "file:///etc/passwd",
            "unix:/run/x",
        ] {
            assert!(refused(text), "{text}");
        }
        for text in ["https://example.com/hook?x=1", "http://8.8.8.8:5678/", "https://[2606:4700::1111]/", "http://[64:ff9b::808:808]/", "http://172.32.0.1/"] {
            assert!(!refused(text), "{text}");
        }
    }

    /// The project's own list of vectors, where this is built inside the project.
    #[test]
    fn every_vector_of_the_project_is_refused() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/proof/ssrf-vectors.txt");
        let Ok(text) = std::fs::read_to_string(path) else {
            eprintln!("*** {path} is not there: our own vectors only ***");
            return;
        };
        let mut count = 0;
        for vector in text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace) {
            // The last lines describe redirects, rebinding and the server's own addresses in words: see below,
            // and tests/delivery.rs.
            if vector.contains("://") {
                assert!(refused(vector), "{vector}");
                count += 1;
            }
        }
        assert!(count >= 45, "only {count} vectors were found");
    }

    #[test]
    fn a_name_leads_only_to_what_may_be_called() {
        let guard = Guard::default();
        let public: SocketAddr = "93.184.216.34:443".parse().unwrap();
        let inside: SocketAddr = "127.0.0.1:443".parse().unwrap();
        let inside6: SocketAddr = "[fd00::1]:443".parse().unwrap();
        assert_eq!(guard.choose([inside, public]).unwrap(), [public], "rebinding with two answers");
        assert!(guard.choose([inside]).is_err(), "rebinding, the second time");
        assert!(guard.choose([inside6]).is_err(), "inside by IPv6 only");
        assert!(guard.choose([]).unwrap().is_empty());
    }

    #[test]
    fn an_operator_opens_networks_and_never_the_server_itself() {
        let own: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]).with_own(own, "https://refer.example.com");
        for (address, may) in [
            ("127.0.0.1:5678", true),
            ("[::ffff:127.0.0.1]:5678", true),
            ("10.1.2.3:25", true),
            ("192.168.0.1:80", false),
            ("127.0.0.1:8080", false),
            ("[::ffff:127.0.0.1]:8080", false),
            ("[::1]:80", false),
        ] {
            assert_eq!(guard.check(address.parse().unwrap()).is_ok(), may, "{address}");
        }
        let judge = |text: &str| guard.check_url(&Url::parse(text).unwrap());
        assert!(judge("https://refer.example.com/v1/leads").is_err());
        for again in ["https://refer.example.com./x", "http://refer.example.com/", "http://REFER.example.com.:443/"] {
            assert!(judge(again).unwrap_err().to_string().contains("this server itself"), "{again}");
        }
        assert!(judge("https://refer.example.com:444/").is_ok());
        assert!(judge("http://localhost:5678/").is_ok());
    }

    /// An address of this machine that is not loopback: the one that it would send from. Nothing is sent.
    fn own_address() -> Option<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").or_else(|_| socket.connect("8.8.8.8:9")).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
    }

    #[test]
    fn who_listens_everywhere_is_called_nowhere() {
        for listen in ["0.0.0.0:8080", "[::]:8080"] {
            let guard = Guard::anywhere().with_own(listen.parse().unwrap(), "https://refer.example.com");
            let own = own_address().map(|ip| SocketAddr::new(ip, 8080).to_string());
            let mapped = own.as_ref().map(|own| format!("[::ffff:{}]:8080", own.trim_end_matches(":8080")));
            for address in
                ["127.0.0.1:8080", "127.0.0.2:8080", "[::1]:8080", "0.0.0.0:8080", "[::]:8080"].map(str::to_owned).into_iter().chain(own).chain(mapped)
            {
                let refused = guard.check(address.parse().unwrap()).expect_err(&address);
                assert!(refused.to_string().contains("this server itself"), "{listen}: {refused}");
                assert!(guard.check_url(&Url::parse(&format!("http://{address}/v1/hooks/in_1")).unwrap()).is_err(), "{address}");
            }
            // Another port, or another machine.
            for address in ["127.0.0.1:8081", "198.51.100.7:8080"] {
                assert!(guard.check(address.parse().unwrap()).is_ok(), "{address}");
            }
        }
        let one = Guard::anywhere().with_own("127.0.0.1:8080".parse().unwrap(), "http://127.0.0.1:8080");
        assert!(one.check("0.0.0.0:8080".parse().unwrap()).is_err(), "which leads to loopback");
        assert!(one.check("127.0.0.2:8080".parse().unwrap()).is_ok(), "where somebody else may listen");
    }

    #[test]
    fn a_network_that_is_allowed_opens_no_other() {
        let judge = |allowed: &str, text: &str| Guard::new(vec![allowed.parse().unwrap()]).check_url(&Url::parse(text).unwrap());
        for (allowed, text, may) in [
            ("10.9.0.0/16", "http://metadata.google.internal/", false),
            ("10.9.0.0/16", "http://instance-data/", false),
            ("10.9.0.0/16", "http://Metadata.goog./", false),
            ("169.254.0.0/16", "http://metadata.google.internal/", true),
            ("169.254.169.254/32", "http://instance-data/", true),
            ("10.9.0.0/16", "http://localhost:5678/", false),
            ("10.9.0.0/16", "http://n8n.localhost:5678/", false),
            ("127.0.0.0/8", "http://localhost:5678/", true),
            ("::1/128", "http://localhost:5678/", true),
            ("10.9.0.0/16", "http://example.com:6379/", false),
            ("10.9.0.0/16", "http://example.com.:25/", false),
            ("10.9.0.0/16", "http://example.com:5678/", true),
            // By which address these can be called is judged when they are resolved.
            ("10.9.0.0/16", "http://n8n:6000/", true),
            ("10.9.0.0/16", "http://n8n.tools.svc.cluster.local:6000/", true),
        ] {
            assert_eq!(judge(allowed, text).is_ok(), may, "{text} with {allowed}");
        }
    }
}
