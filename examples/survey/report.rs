//! What all files together hold. Results are folded in as they arrive; of a single file only what
//! the list of duplicates needs is kept: 48 bytes.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{DecimalBytes, HumanCount};

use crate::count::{Lines, Words};
use crate::language::Language;
use crate::scan::FileReport;

#[derive(Default)]
pub struct Report {
    languages: HashMap<Language, Sum>,
    total: Sum,
    /// Hash, size, and the file's place in the list.
    contents: Vec<([u8; 32], u64, u32)>,
    /// The slowest first.
    slowest: Vec<(Duration, u64, usize)>,
    failed: Vec<(usize, String)>,
}

#[derive(Default)]
struct Sum {
    files: u64,
    bytes: u64,
    lines: Lines,
    identifiers: Words,
}

impl Sum {
    fn add(&mut self, file: &FileReport) {
        self.files += 1;
        self.bytes += file.bytes;
        self.lines.code += file.lines.code;
        self.lines.comment += file.lines.comment;
        self.lines.blank += file.lines.blank;
        for (word, times) in &file.identifiers {
            self.identifiers.add(word, *times);
        }
    }
}

/// So many slowest files and sets of duplicates are shown.
const SHOWN: usize = 5;

impl Report {
    pub fn add(&mut self, place: usize, file: FileReport) {
        self.languages.entry(file.language).or_default().add(&file);
        self.total.add(&file);
        if file.bytes > 0 {
            self.contents.push((file.hash, file.bytes, place as u32));
        }
        let rank = self.slowest.partition_point(|(took, ..)| *took >= file.took);
        self.slowest.insert(rank, (file.took, file.bytes, place));
        self.slowest.truncate(SHOWN);
    }

    pub fn fail(&mut self, place: usize, cause: String) {
        self.failed.push((place, cause));
    }

    /// Files read to their end.
    pub fn files(&self) -> u64 {
        self.total.files
    }

    /// `files` are the paths that the places stand for.
    pub fn print(
        &mut self,
        files: &[PathBuf],
        took: Duration,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.print_languages(out)?;
        self.print_duplicates(files, out)?;
        if !self.slowest.is_empty() {
            writeln!(out, "\nSlowest files")?;
        }
        for (took, bytes, place) in &self.slowest {
            let size = DecimalBytes(*bytes).to_string();
            writeln!(out, "  {took:>9.1?}  {size:>10}  {}", files[*place].display())?;
        }
        if !self.failed.is_empty() {
            writeln!(out, "\nFailed files")?;
        }
        self.failed.sort_unstable();
        for (place, cause) in &self.failed {
            writeln!(out, "  {}: {cause}", files[*place].display())?;
        }
        let seconds = took.as_secs_f64();
        writeln!(
            out,
            "\n{} files ({}) in {seconds:.2} s: {} files/s, {:.1} MB/s; {} failed",
            HumanCount(self.total.files),
            DecimalBytes(self.total.bytes),
            HumanCount((self.total.files as f64 / seconds) as u64),
            self.total.bytes as f64 / 1e6 / seconds,
            HumanCount(self.failed.len() as u64),
        )
    }

    fn print_languages(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut row = |name: &str, columns: [&str; 5], words: &str| {
            let [files, bytes, code, comment, blank] = columns;
            writeln!(
                out,
                "{name:<12} {files:>8} {bytes:>10} {code:>12} {comment:>11} {blank:>11}  {words}"
            )
        };
        let columns = ["files", "size", "code", "comments", "blank"];
        row("language", columns, "frequent identifiers")?;
        let mut languages: Vec<_> = self.languages.iter().collect();
        languages.sort_by_key(|(language, sum)| {
            (std::cmp::Reverse(sum.lines.code), language.syntax().name)
        });
        let rows = languages.iter().map(|(language, sum)| (language.syntax().name, *sum));
        for (name, sum) in rows.chain([("total", &self.total)]) {
            let [files, code, comment, blank] =
                [sum.files, sum.lines.code, sum.lines.comment, sum.lines.blank]
                    .map(|number| HumanCount(number).to_string());
            let bytes = DecimalBytes(sum.bytes).to_string();
            let words: Vec<String> =
                sum.identifiers.top(4).into_iter().map(|(word, _)| word).collect();
            row(name, [&files, &bytes, &code, &comment, &blank], &words.join(" "))?;
        }
        Ok(())
    }

    fn print_duplicates(&mut self, files: &[PathBuf], out: &mut dyn Write) -> io::Result<()> {
        self.contents.sort_unstable();
        let same = self.contents.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1);
        let mut same: Vec<(u64, &[_])> =
            same.map(|same| (same[0].1 * (same.len() as u64 - 1), same)).collect();
        same.sort_by_key(|(waste, same)| (std::cmp::Reverse(*waste), same[0].2));
        if same.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\nDuplicates: {} files are copies of others, {} in all",
            HumanCount(same.iter().map(|(_, same)| same.len() as u64 - 1).sum()),
            DecimalBytes(same.iter().map(|(waste, _)| waste).sum()),
        )?;
        for (_, same) in same.iter().take(SHOWN) {
            let paths: Vec<String> = same
                .iter()
                .take(3)
                .map(|(.., place)| files[*place as usize].display().to_string())
                .collect();
            let more = match same.len() - paths.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let size = DecimalBytes(same[0].1).to_string();
            writeln!(out, "  {size:>10}  {}{more}", paths.join(" = "))?;
        }
        match same.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(out, "  ... and {} more sets", HumanCount(more as u64)),
        }
    }
}
