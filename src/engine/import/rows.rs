//! Rows of a file: CSV with a header, or JSON Lines. Read as a stream, so that a file of any
//! size needs the memory of its longest row.

use csv::ByteRecord;
use serde_json::{Map, Value};
use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    JsonLines,
}

impl Format {
    /// What the name of a file says.
    pub fn of_file(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "csv" | "tsv" | "txt" => Some(Format::Csv),
            "jsonl" | "ndjson" | "json" => Some(Format::JsonLines),
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
        }
    }

    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv",
            Format::JsonLines => "application/x-ndjson",
        }
    }
}

/// A row as it came, for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    Record(ByteRecord),
    Text(String),
}

impl Raw {
    /// The row of those cells.
    pub fn of_cells(cells: &[String]) -> Self {
        Raw::Record(ByteRecord::from(cells.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// The cells of a CSV row, or the whole text of a JSON one.
    pub fn cells(&self) -> Vec<String> {
        match self {
            Raw::Record(record) => record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect(),
            Raw::Text(text) => vec![text.clone()],
        }
    }
}

/// What a row holds, if it can be read at all.
pub enum Content {
    /// Cells in the order of the header.
    Cells,
    Object(Map<String, Value>),
    Unreadable(String),
}

pub struct Row {
    /// The line that it begins on, from 1; the header of a CSV file is line 1.
    pub line: u64,
    pub raw: Raw,
    pub content: Content,
}

/// A longer row is a mistake: most often a quotation mark that is never closed.
const ROW_BYTES_MAX: u64 = 1 << 20;
/// What is read ahead may belong to rows that come later.
const READ_AHEAD: usize = 64 * 1024;
const COLUMNS_MAX: usize = 200;

/// Stops a row that does not end. `since` counts the bytes since the last row.
///
/// Behind the end of the file come two more line ends: the first ends the last row, wherever the file itself did not,
/// and nobody sees the second, an empty line. Only a cell whose quotation mark is never closed swallows both.
pub struct Bounded<R> {
    inner: R,
    since: Arc<AtomicU64>,
    read: u64,
    end: &'static [u8],
}

/// Whether the row that was read last has a quotation mark that is never closed.
fn is_open<R: Read>(reader: &csv::Reader<Bounded<R>>) -> bool {
    let source = reader.get_ref();
    source.end.is_empty() && reader.position().byte() == source.read
}

const UNCLOSED: &str = "an unclosed quote: everything behind it is taken for one cell";

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut n = self.inner.read(buffer)?;
        if n == 0 && !buffer.is_empty() {
            n = self.end.read(buffer)?;
        }
        self.read += n as u64;
        if self.since.fetch_add(n as u64, Relaxed) + n as u64 > ROW_BYTES_MAX + READ_AHEAD as u64 {
            return Err(io::Error::other("a row is longer than 1 MiB; most often a quotation mark is not closed"));
        }
        Ok(n)
    }
}

/// The rows of a file.
pub enum Rows<R> {
    Csv { reader: Box<csv::Reader<Bounded<BufReader<R>>>>, since: Arc<AtomicU64>, header: Vec<String>, record: ByteRecord, crlf: bool },
    JsonLines { reader: BufReader<R>, line: u64 },
}

impl<R: Read> Rows<R> {
    /// Reads the header of a CSV file; fails with what was expected instead. Semicolons and tabs separate as well as commas do: the header says which.
    pub fn open(format: Format, input: R) -> Result<Self, String> {
        let mut input = BufReader::with_capacity(READ_AHEAD, input);
        let start = input.fill_buf().map_err(|error| error.to_string())?;
        if start.starts_with(&[0xFF, 0xFE]) || start.starts_with(&[0xFE, 0xFF]) {
            return Err("UTF-8, but the file is UTF-16".to_owned());
        }
        let bom = if start.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        if format == Format::JsonLines {
            input.consume(bom);
            return Ok(Self::JsonLines { reader: input, line: 0 });
        }
        let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let crlf = first.ends_with(b"\r");
        let count = |separator: u8| first.iter().filter(|byte| **byte == separator).count();
        let separator = [b',', b';', b'\t'].into_iter().rev().max_by_key(|separator| count(*separator)).unwrap_or(b',');
        input.consume(bom);
        let since = Arc::new(AtomicU64::new(0));
        let end: &[u8] = if crlf { b"\r\n\r\n" } else { b"\n\n" };
        let bounded = Bounded { inner: input, since: since.clone(), read: 0, end };
        let mut reader = csv::ReaderBuilder::new().delimiter(separator).flexible(true).has_headers(false).buffer_capacity(READ_AHEAD).from_reader(bounded);
        let mut record = ByteRecord::new();
        if !reader.read_byte_record(&mut record).map_err(|error| error.to_string())? {
            return Err("a first line that names the columns, but the file is empty".to_owned());
        }
        if is_open(&reader) {
            return Err(format!("a header without {UNCLOSED}"));
        }
        if record.len() > COLUMNS_MAX {
            return Err(format!("at most {COLUMNS_MAX} columns, but the header names {}", record.len()));
        }
        let header: Option<Vec<String>> = record.iter().map(|cell| std::str::from_utf8(cell).ok().map(|name| name.trim().to_owned())).collect();
        let header = header.ok_or("UTF-8, but the header is not")?;
        since.store(0, Relaxed);
        Ok(Self::Csv { reader: Box::new(reader), since, header, record, crlf })
    }

    /// The columns of a CSV file.
    pub fn header(&self) -> Option<&[String]> {
        match self {
            Rows::Csv { header, .. } => Some(header),
            Rows::JsonLines { .. } => None,
        }
    }

    /// The next row; an error ends the file.
    pub fn next_row(&mut self) -> Result<Option<Row>, String> {
        match self {
            Rows::Csv { reader, since, header, record, crlf } => {
                since.store(0, Relaxed);
                if !reader.read_byte_record(record).map_err(|error| error.to_string())? {
                    return Ok(None);
                }
                // The record's own position is before the empty lines that were passed over. The reader stands behind
                // the row: behind its line feed, unless a carriage return ended it already, or nothing did.
                let within = record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
                let is_open = is_open(reader);
                let line = reader.position().line() - within - u64::from(!*crlf && !is_open);
                let content = if is_open {
                    Content::Unreadable(UNCLOSED.to_owned())
                } else if record.len() == header.len() {
                    Content::Cells
                } else {
                    Content::Unreadable(format!("expected {} cells as in the header, found {}", header.len(), record.len()))
                };
                Ok(Some(Row { line, raw: Raw::Record(record.clone()), content }))
            }
            Rows::JsonLines { reader, line } => loop {
                let mut bytes = Vec::new();
                if reader.by_ref().take(ROW_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(|error| error.to_string())? == 0 {
                    return Ok(None);
                }
                *line += 1;
                if bytes.len() as u64 == ROW_BYTES_MAX && !bytes.ends_with(b"\n") {
                    return Err(format!("line {line} is longer than 1 MiB"));
                }
                let text = match String::from_utf8(bytes) {
                    Ok(text) => text,
                    Err(error) => {
                        let raw = Raw::Text(String::from_utf8_lossy(error.as_bytes()).trim_end().to_owned());
                        return Ok(Some(Row { line: *line, raw, content: Content::Unreadable("expected UTF-8".to_owned()) }));
                    }
                };
                let text = text.trim();
                if text.is_empty() {
                    continue;
                }
                let content = match serde_json::from_str(text) {
                    Ok(Value::Object(object)) => Content::Object(object),
                    Ok(_) => Content::Unreadable("expected a JSON object".to_owned()),
                    Err(error) => Content::Unreadable(format!("expected a JSON object: {error}")),
                };
                return Ok(Some(Row { line: *line, raw: Raw::Text(text.to_owned()), content }));
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, text: &str) -> Vec<(u64, Vec<String>, bool)> {
        let mut rows = Rows::open(format, text.as_bytes()).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next_row().unwrap() {
            all.push((row.line, row.raw.cells(), !matches!(row.content, Content::Unreadable(_))));
        }
        all
    }

    #[test]
    fn rows_know_the_line_they_begin_on() {
        let rows = read(Format::Csv, "\u{feff}email,name\na@example.com,\"A\nB\"\n\nb@example.com\nc@example.com,C\n");
        let expected: [(u64, &[&str], bool); 3] = [(2, &["a@example.com", "A\nB"], true), (5, &["b@example.com"], false), (6, &["c@example.com", "C"], true)];
        assert_eq!(rows.len(), 3);
        for (row, (line, cells, good)) in rows.iter().zip(expected) {
            assert_eq!((row.0, row.1.as_slice(), row.2), (line, cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>().as_slice(), good));
        }
        let windows = read(Format::Csv, "email,name\r\na@example.com,\"A\r\nB\"\r\n\r\nb@example.com,B\r\nc@example.com,C");
        assert_eq!(windows.iter().map(|row| row.0).collect::<Vec<_>>(), [2, 5, 6]);
        let open = read(Format::Csv, "email,name\na@example.com,A\nb@example.com,B");
        assert_eq!(open.iter().map(|row| row.0).collect::<Vec<_>>(), [2, 3]);
        let rows = read(Format::JsonLines, "{\"a\":1}\n\n[1]\n{\n");
        assert_eq!(rows.iter().map(|row| (row.0, row.2)).collect::<Vec<_>>(), [(1, true), (3, false), (4, false)]);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told_where_it_begins() {
        let cells =
            [("B", false), ("B\"", false), ("\"B\"", false), ("\"\"", false), ("\"B\n\n\"", false), ("\"B", true), ("\"B\n\nmore,cells", true), ("\"", true)];
        for ((cell, is_open), end) in cells.into_iter().flat_map(|cell| [(cell, "\n"), (cell, "\r\n")]) {
            for last in ["", end] {
                let file = format!("email,name{end}a@example.com,A{end}{end}b@example.com,{cell}{last}");
                let mut rows = Rows::open(Format::Csv, file.as_bytes()).unwrap();
                assert_eq!(rows.next_row().unwrap().unwrap().line, 2);
                let row = rows.next_row().unwrap().unwrap();
                assert_eq!(row.line, 4, "{file:?}");
                let told = matches!(&row.content, Content::Unreadable(why) if why.contains("an unclosed quote"));
                assert_eq!(told, is_open, "{file:?}");
                assert!(rows.next_row().unwrap().is_none(), "{file:?}");
            }
        }
        assert!(Rows::open(Format::Csv, &b"email,\"name\na@example.com,A\n"[..]).is_err_and(|error| error.contains("an unclosed quote")));
    }

    #[test]
    fn the_header_says_what_separates() {
        for text in ["a;b\n1;2\n", "a\tb\n1\t2\n", "a,b\n1,2\n"] {
            assert_eq!(read(Format::Csv, text), [(2, vec!["1".to_owned(), "2".to_owned()], true)]);
        }
        assert!(Rows::open(Format::Csv, &b""[..]).is_err_and(|error| error.contains("empty")));
        assert!(Rows::open(Format::Csv, &b"\xff\xfea\0"[..]).is_err_and(|error| error.contains("UTF-16")));
    }

    #[test]
    fn a_row_that_never_ends_is_stopped() {
        let endless = format!("a,b\n\"{}", "x\n".repeat(2_000_000));
        let mut rows = Rows::open(Format::Csv, endless.as_bytes()).unwrap();
        assert!(rows.next_row().is_err_and(|error| error.contains("quotation mark")));
        let endless = "x".repeat(2_000_000);
        let mut rows = Rows::open(Format::JsonLines, endless.as_bytes()).unwrap();
        assert!(rows.next_row().is_err_and(|error| error.contains("1 MiB")));
    }
}
