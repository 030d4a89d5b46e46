use super::{
    Failure, Result, client,
    import::Written,
    place::{Opened, Place},
    progress::{self, Progress, count},
};
use crate::{
    config::Config,
    engine::{
        export::{Kind, Order},
        import::Format,
    },
};
use goodword_core::time::Timestamp;
use http_body_util::BodyExt;
use hyper::Method;
use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// Export people, conversions, rewards, events or signals to a file
///
/// As CSV, or as JSON Lines in the shapes of the API, oldest first. Referrers and leads can be
/// imported again as they are. In CSV, a cell that a spreadsheet would compute (it begins with
/// =, +, -, @ or a tab) gets an apostrophe in front; an import takes it away again.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// What to export; all makes a folder with a file of each
    kind: What,
    /// The file, or the folder for all [default: standard output]
    to: Option<PathBuf>,
    /// Only this campaign, by id, code or exact name
    #[arg(long, value_name = "CAMPAIGN")]
    campaign: Option<String>,
    /// Only what was created at this time or later, like 2026-11-20 or 2026-11-20T13:45:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// The format [default: by the file's name, else csv]
    #[arg(long)]
    format: Option<Written>,
    /// Begin a CSV file with a byte order mark, by which some spreadsheets know UTF-8
    #[arg(long)]
    bom: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Referrers,
    Leads,
    Conversions,
    Rewards,
    Events,
    Signals,
    All,
}

impl What {
    fn kinds(self) -> Vec<Kind> {
        match self {
            What::Referrers => vec![Kind::Referrers],
            What::Leads => vec![Kind::Leads],
            What::Conversions => vec![Kind::Conversions],
            What::Rewards => vec![Kind::Rewards],
            What::Events => vec![Kind::Events],
            What::Signals => vec![Kind::Signals],
            What::All => Kind::ALL.to_vec(),
        }
    }
}

impl Export {
    pub fn run(self) -> Result {
        let (config, _log) = self.place.start()?;
        super::block_on(self.export(&config))
    }

    fn format(&self) -> Format {
        let by_name = self.to.as_ref().filter(|_| self.kind != What::All).and_then(|path| Format::of_file(&path.to_string_lossy()));
        self.format.map(Format::from).or(by_name).unwrap_or(Format::Csv)
    }

    async fn export(self, config: &Config) -> Result {
        let folder = match (self.kind, &self.to) {
            (What::All, None) => return Err(Failure::new("all goes into a folder").hint("Name it: goodword export all FOLDER.")),
            (What::All, Some(folder)) => {
                std::fs::create_dir_all(folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
                Some(folder.clone())
            }
            _ => None,
        };
        let server = self.place.server()?;
        let opened = match server {
            Some(_) => None,
            None => Some(self.place.open(config, "export …").await?),
        };
        let campaign = match (&self.campaign, &opened) {
            (Some(name), Some(opened)) => Some(opened.campaign(name).await?.id),
            _ => None,
        };
        let mut failure = Ok(());
        for kind in self.kind.kinds() {
            let to = folder.as_ref().map(|folder| folder.join(format!("{}.{}", kind.as_str(), self.format().as_str()))).or_else(|| self.to.clone());
            let order = Order { kind, format: self.format(), campaign, since: self.since, bom: self.bom };
            let mut out = Out::open(to.as_deref())?;
            failure = match (&server, &opened) {
                (Some(server), _) => self.through(server, kind, &mut out).await,
                (None, Some(opened)) => here(opened, order, &mut out).await,
                (None, None) => Ok(()),
            };
            failure = failure.and_then(|()| out.finish());
            if failure.is_err() {
                break;
            }
        }
        if let Some(opened) = opened {
            opened.close().await?;
        }
        failure
    }

    async fn through(&self, server: &client::Client, kind: Kind, out: &mut Out) -> Result {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("format", self.format().as_str());
        if let Some(campaign) = &self.campaign {
            query.append_pair("campaign", campaign);
        }
        if let Some(since) = self.since {
            query.append_pair("since", &since.to_string());
        }
        if self.bom {
            query.append_pair("bom", "true");
        }
        let path = format!("/v1/exports/{}?{}", kind.as_str(), query.finish());
        let mut body = server.ask(Method::GET, &path, None, client::empty()).await?.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::new(format!("the export broke off: {error}")))?;
            if let Some(data) = frame.data_ref() {
                out.write(data)?;
            }
        }
        Ok(())
    }
}

async fn here(opened: &Opened, order: Order, out: &mut Out) -> Result {
    let kind = order.kind;
    let mut export = opened.engine.export(opened.space, order).await?;
    while let Some(page) = export.next_page().await? {
        out.write(&page)?;
        let rows = export.rows();
        out.progress.show(|| format!("{}: {}", kind.as_str(), count(rows, "row")));
    }
    out.rows = Some((kind, export.rows()));
    Ok(())
}

/// Where an export goes. A file gets its name when it is whole.
struct Out {
    writer: BufWriter<Box<dyn Write + Send>>,
    files: Option<(PathBuf, PathBuf)>,
    progress: Progress,
    rows: Option<(Kind, u64)>,
    bytes: u64,
}

impl Out {
    fn open(to: Option<&Path>) -> Result<Self> {
        let (writer, files): (Box<dyn Write + Send>, _) = match to {
            None => (Box::new(std::io::stdout()), None),
            Some(path) if path.as_os_str() == "-" => (Box::new(std::io::stdout()), None),
            Some(path) => {
                let mut partial = path.as_os_str().to_owned();
                partial.push(".partial");
                let partial = PathBuf::from(partial);
                let file = private_file(&partial).map_err(|error| Failure::new(format!("{}: {error}", partial.display())))?;
                (Box::new(file), Some((partial, path.to_owned())))
            }
        };
        Ok(Self { writer: BufWriter::new(writer), files, progress: Progress::new(), rows: None, bytes: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result {
        self.bytes += bytes.len() as u64;
        self.writer.write_all(bytes).map_err(|error| Failure::new(format!("the export cannot be written: {error}")))
    }

    fn finish(&mut self) -> Result {
        self.writer.flush().map_err(|error| Failure::new(format!("the export cannot be written: {error}")))?;
        let Some((partial, path)) = &self.files else { return Ok(()) };
        std::fs::rename(partial, path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        self.progress.clear();
        let took = progress::duration(self.progress.elapsed());
        let what = self
            .rows
            .map_or_else(|| format!("{} KiB", progress::grouped(self.bytes / 1024)), |(kind, rows)| format!("{} of {}", count(rows, "row"), kind.as_str()));
        eprintln!("{}: {what} in {took}", path.display());
        Ok(())
    }
}

/// A new file that only its owner can read: it is full of addresses.
pub(super) fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
