use super::{
    Failure, Result, client,
    export::private_file,
    place::Place,
    progress::{self, Progress, count, grouped},
    referral_factory::ReferralFactory,
};
use crate::{
    api::imports::ImportResult,
    config::Config,
    engine::{
        export::neutralised,
        import::{BadRow, Format, Importer, Kind, Order, Raw, Report, Watch},
    },
};
use goodword_core::{ids::RewardDefinitionId, reward::RewardDefinition};
use hyper::Method;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use uuid::Uuid;

/// Import people, qualifications or coupons from a file
///
/// A CSV file begins with a line that names its columns; JSON Lines have an object in each line.
/// Every row is checked. Bad ones are told with their line and reason, the good ones are kept.
/// Running a file again changes nothing.
///
/// Columns of referrers: email, first_name, last_name, external_id, code, created_at, suspended_at,
/// and the campaign's own fields by their keys. Of leads: the same, and referrer (code, e-mail
/// address or id), link_used_at, status and qualified_at. Of qualifications: one of email, code,
/// coupon, external_id and lead_id, and qualified_at, event_id, note. Of coupons: code.
///
/// What a lead's row tells of the past happened then: holds count from that time. A cell in which an
/// apostrophe keeps a spreadsheet from computing it (see export) is read without the apostrophe.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
pub struct Import {
    #[command(subcommand)]
    from: Option<Product>,
    /// What the file holds
    #[arg(required = true)]
    kind: Option<What>,
    /// The file; - reads from standard input
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// The campaign, by id, code or exact name
    #[arg(long, value_name = "CAMPAIGN")]
    campaign: Option<String>,
    /// The reward whose coupons these are, by id or name, where the campaign has several
    #[arg(long, value_name = "REWARD")]
    reward: Option<String>,
    /// The file's format [default: by its name]
    #[arg(long)]
    format: Option<Written>,
    /// Write the bad rows to this CSV file: line, reason, and the row
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Check everything and keep nothing
    #[arg(long)]
    dry_run: bool,
    /// Send an event for each referrer, instead of one for each chunk of them
    #[arg(long)]
    events: bool,
    /// Pass over a column; can be given several times
    #[arg(long = "ignore-column", value_name = "NAME")]
    ignore: Vec<String>,
    /// Print the summary as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Everything at once, from another product.
#[derive(Debug, clap::Subcommand)]
enum Product {
    ReferralFactory(Box<ReferralFactory>),
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    Referrers,
    Leads,
    Qualifications,
    Coupons,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Written {
    Csv,
    Jsonl,
}

impl From<Written> for Format {
    fn from(written: Written) -> Self {
        match written {
            Written::Csv => Format::Csv,
            Written::Jsonl => Format::JsonLines,
        }
    }
}

/// Bad rows that are shown where no file keeps them.
const SHOWN: u64 = 10;

impl Import {
    pub fn run(mut self) -> Result {
        if let Some(Product::ReferralFactory(command)) = self.from.take() {
            return command.run();
        }
        let (Some(kind), Some(file)) = (self.kind, self.file.take()) else { return Err(Failure::new("say what to import, and from which file")) };
        let (config, _log) = self.place.start()?;
        super::block_on(self.import(&config, kind, &file))
    }

    async fn import(self, config: &Config, kind: What, file: &Path) -> Result {
        let kind = match kind {
            What::Referrers => Kind::Referrers,
            What::Leads => Kind::Leads,
            What::Qualifications => Kind::Qualifications,
            What::Coupons => Kind::Coupons,
        };
        if self.campaign.is_none() && kind != Kind::Qualifications {
            return Err(Failure::new(format!("{} belong to a campaign", kind.as_str())).hint("Name it with --campaign, by id, code or exact name."));
        }
        let format = self.format.map(Format::from).or_else(|| Format::of_file(&file.to_string_lossy()));
        let format = format.ok_or_else(|| Failure::new("the file's name does not say its format").hint("Say it with --format csv or --format jsonl."))?;
        let (input, size) = open(file)?;
        let read = Arc::new(AtomicU64::new(0));
        let input = Counted { inner: input, read: read.clone() };
        let mut screen = Screen { progress: Progress::new(), errors: None, shown: 0, read, size };
        if let Some(path) = &self.errors {
            screen.errors = Some(Errors::create(path)?);
        }
        let report = match self.place.server()? {
            Some(server) => self.through(&server, kind, format, input, &mut screen).await?,
            None => self.here(config, kind, format, file, input, &mut screen).await?,
        };
        screen.progress.clear();
        if let Some(errors) = &mut screen.errors {
            errors.finish()?;
        }
        self.tell(kind, &report, &screen)
    }

    async fn here(&self, config: &Config, kind: Kind, format: Format, file: &Path, input: impl Read + Send + 'static, screen: &mut Screen) -> Result<Report> {
        let rest = format!("import {} {}", kind.as_str(), file.display());
        let opened = self.place.open(config, &rest).await?;
        let campaign = match &self.campaign {
            Some(name) => Some(opened.campaign(name).await?),
            None => None,
        };
        let reward = match (&self.reward, &campaign) {
            (Some(name), Some(campaign)) => Some(reward(&campaign.configuration.rewards, name)?),
            _ => None,
        };
        let order = Order {
            kind,
            format,
            campaign: campaign.map(|campaign| campaign.id),
            reward,
            ignore: self.ignore.clone(),
            each: self.events,
            dry_run: self.dry_run,
            id: Uuid::now_v7(),
        };
        let importer = Importer { space: opened.space, actor: "cli".into() };
        let report = opened.engine.import(importer, order, input, screen).await;
        opened.close().await?;
        Ok(report?)
    }

    async fn through(&self, server: &client::Client, kind: Kind, format: Format, input: impl Read + Send + 'static, screen: &mut Screen) -> Result<Report> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("kind", kind.as_str());
        let options = [("campaign", &self.campaign), ("reward", &self.reward)];
        for (name, value) in options {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if !self.ignore.is_empty() {
            query.append_pair("ignore", &self.ignore.join(","));
        }
        for (name, flag) in [("dry_run", self.dry_run), ("each", self.events)] {
            if flag {
                query.append_pair(name, "true");
            }
        }
        let path = format!("/v1/imports?{}", query.finish());
        let asked = server.ask(Method::POST, &path, Some(format.media_type()), client::stream_of(input)?);
        let mut asked = std::pin::pin!(asked);
        let response = loop {
            tokio::select! {
                response = &mut asked => break response?,
                () = tokio::time::sleep(std::time::Duration::from_millis(200)) => screen.sent(),
            }
        };
        let body = client::read(response, 256 << 20).await?;
        let result: ImportResult = serde_json::from_slice(&body).map_err(Failure::new)?;
        screen.header(&result.columns);
        for bad in &result.bad_rows {
            screen.bad(&BadRow { line: bad.line, reason: bad.reason.clone(), row: Raw::of_cells(&bad.row) });
        }
        if result.bad_rows_left_out > 0 {
            screen.progress.clear();
            eprintln!("The server names {} bad rows and leaves out {}.", grouped(result.bad_rows.len() as u64), grouped(result.bad_rows_left_out));
        }
        Ok(result.report)
    }

    fn tell(&self, kind: Kind, report: &Report, screen: &Screen) -> Result {
        let took = screen.progress.elapsed();
        if self.json {
            let mut line =
                serde_json::json!({"kind": kind, "dry_run": self.dry_run, "seconds": (took.as_secs_f64() * 1_000.0).round() / 1_000.0, "errors": self.errors});
            if let (Some(line), Ok(serde_json::Value::Object(report))) = (line.as_object_mut(), serde_json::to_value(report)) {
                line.extend(report);
            }
            println!("{line}");
        } else {
            let would = if self.dry_run { "would be " } else { "" };
            println!(
                "{} in {}: {} {would}imported, {} already there, {} refused.",
                count(report.rows, "row"),
                progress::duration(took),
                grouped(report.imported),
                grouped(report.already_there),
                grouped(report.bad)
            );
            if screen.errors.is_none() && report.bad > screen.shown {
                eprintln!("{} more were refused. --errors FILE keeps them all.", grouped(report.bad - screen.shown));
            }
        }
        if let Some(why) = &report.stopped {
            return Err(Failure::new(format!("the import ended early: {why}")).hint("What was imported by then is kept; mend the file and run it again."));
        }
        match (report.bad, &self.errors) {
            (0, _) => Ok(()),
            (bad, Some(path)) => Err(Failure::new(format!("{} refused; see {}", were(bad), path.display()))
                .hint("Mend them there and import that file with --ignore-column line --ignore-column reason.")),
            (bad, None) => Err(Failure::new(format!("{} refused", were(bad)))),
        }
    }
}

/// `1 row was`, `2 rows were`.
fn were(rows: u64) -> String {
    format!("{} {}", count(rows, "row"), if rows == 1 { "was" } else { "were" })
}

fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Failure::new(format!("{} is a folder", path.display())));
    }
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

/// A reward by its id or name.
fn reward(rewards: &[RewardDefinition], name: &str) -> Result<RewardDefinitionId> {
    let found = rewards.iter().find(|reward| reward.id.to_string() == name || reward.terms.name.as_str() == name).map(|reward| reward.id);
    found.ok_or_else(|| {
        let names: Vec<&str> = rewards.iter().map(|reward| reward.terms.name.as_str()).collect();
        Failure::new(format!("the campaign has no reward {name}; its rewards are {}", names.join(", ")))
    })
}

/// Counts what is read, for the progress.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
}

struct Screen {
    progress: Progress,
    errors: Option<Errors>,
    shown: u64,
    read: Arc<AtomicU64>,
    size: Option<u64>,
}

impl Screen {
    fn share(&self) -> String {
        let read = self.read.load(Relaxed);
        self.size.filter(|size| *size > 0).map_or_else(String::new, |size| format!(", {} % of the file read", read * 100 / size))
    }

    /// How much went to the server, which answers at the end.
    fn sent(&mut self) {
        let text = format!("{} KiB sent{}", grouped(self.read.load(Relaxed) / 1024), self.share());
        self.progress.show(|| text);
    }
}

impl Watch for Screen {
    fn header(&mut self, columns: &[String]) {
        if let Some(errors) = &mut self.errors {
            errors.header(columns);
        }
    }

    fn progress(&mut self, report: &Report) {
        let share = self.share();
        let rate = report.rows as f64 / self.progress.elapsed().as_secs_f64().max(0.001);
        let done = report.imported + report.already_there + report.bad;
        self.progress.show(|| format!("{} ({} a second{share}), {} refused", count(done, "row"), grouped(rate as u64), grouped(report.bad)));
    }

    fn bad(&mut self, row: &BadRow) {
        match &mut self.errors {
            Some(errors) => errors.row(row),
            None if self.shown < SHOWN => {
                self.progress.clear();
                eprintln!("line {}: {}", row.line, row.reason);
                self.shown += 1;
            }
            None => {}
        }
    }
}

/// The CSV file of bad rows. Cells are made safe for spreadsheets, as in exports.
struct Errors {
    writer: csv::Writer<File>,
    failure: Option<csv::Error>,
}

impl Errors {
    fn create(path: &Path) -> Result<Self> {
        let file = private_file(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        Ok(Self { writer: csv::WriterBuilder::new().flexible(true).from_writer(file), failure: None })
    }

    fn write(&mut self, cells: impl Iterator<Item = String>) {
        if let Err(error) = self.writer.write_record(cells) {
            self.failure.get_or_insert(error);
        }
    }

    fn header(&mut self, columns: &[String]) {
        let own = if columns.is_empty() { vec!["row".to_owned()] } else { columns.to_vec() };
        self.write(["line".to_owned(), "reason".to_owned()].into_iter().chain(own));
    }

    fn row(&mut self, row: &BadRow) {
        let cells = [row.line.to_string(), row.reason.clone()].into_iter().chain(row.row.cells().into_iter().map(|cell| neutralised(&cell).into_owned()));
        self.write(cells.collect::<Vec<_>>().into_iter());
    }

    fn finish(&mut self) -> Result {
        match self.failure.take() {
            Some(error) => Err(Failure::new(format!("the file of bad rows cannot be written: {error}"))),
            None => Ok(self.writer.flush()?),
        }
    }
}
