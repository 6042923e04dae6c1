//! The report over all files. Results are merged as they arrive; per file, only 48 bytes are kept,
//! for the list of duplicates.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use atasker::progress::indicatif::{DecimalBytes, HumanCount};

use crate::count::{Lines, Words};
use crate::language::Language;
use crate::scan::FileReport;

#[derive(Default)]
pub struct Report {
    languages: HashMap<Language, Sum>,
    total: Sum,
    contents: Vec<Content>,
    /// The slowest first.
    slowest: Vec<(Duration, u64, usize)>,
    failed: Vec<(usize, String)>,
}

/// The hash of a file, its size, and its index in the list.
type Content = ([u8; 32], u64, u32);

/// Files of the same content, and the bytes that all but one of them occupy.
struct Duplicates<'a> {
    waste: u64,
    same: &'a [Content],
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

/// The number of slowest files and of sets of duplicates to show.
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

    /// Files that were read completely.
    pub fn files(&self) -> u64 {
        self.total.files
    }

    /// Prints the report; `files` contains the paths for the indexes.
    pub fn print(
        &mut self,
        root: &Path,
        files: &[PathBuf],
        took: Duration,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let path = |place: usize| match files[place].strip_prefix(root) {
            Ok(below) if below != Path::new("") => below.display(),
            _ => files[place].display(),
        };
        self.print_languages(out)?;

        self.contents.sort_unstable();
        let mut sets: Vec<Duplicates> = self
            .contents
            .chunk_by(|a, b| a.0 == b.0)
            .filter(|same| same.len() > 1)
            .map(|same| Duplicates { waste: same[0].1 * (same.len() as u64 - 1), same })
            .collect();
        sets.sort_by_key(|set| (Reverse(set.waste), set.same[0].2));
        if !sets.is_empty() {
            let copies = sets.iter().map(|set| set.same.len() as u64 - 1).sum();
            let waste = DecimalBytes(sets.iter().map(|set| set.waste).sum());
            let copies = HumanCount(copies);
            writeln!(out, "\nDuplicates: {copies} files are copies of others ({waste})")?;
        }
        for set in sets.iter().take(SHOWN) {
            let mut names: Vec<String> =
                set.same.iter().take(3).map(|file| path(file.2 as usize).to_string()).collect();
            if set.same.len() > names.len() {
                names.push(format!("{} more", set.same.len() - names.len()));
            }
            let size = DecimalBytes(set.same[0].1).to_string();
            writeln!(out, "  {size:>10}  {}", names.join(" = "))?;
        }
        if sets.len() > SHOWN {
            writeln!(out, "  ... and {} more sets", HumanCount((sets.len() - SHOWN) as u64))?;
        }

        if !self.slowest.is_empty() {
            writeln!(out, "\nSlowest files")?;
        }
        for (took, bytes, place) in &self.slowest {
            let size = DecimalBytes(*bytes).to_string();
            writeln!(out, "  {size:>10}  {took:>9.1?}  {}", path(*place))?;
        }

        if !self.failed.is_empty() {
            writeln!(out, "\nFailed files")?;
        }
        self.failed.sort_unstable();
        for (place, cause) in &self.failed {
            writeln!(out, "  {}: {cause}", path(*place))?;
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
        row("Language", ["files", "size", "code", "comments", "blank"], "frequent identifiers")?;
        let mut rows: Vec<(&str, &Sum)> =
            self.languages.iter().map(|(language, sum)| (language.syntax().name, sum)).collect();
        rows.sort_by_key(|(name, sum)| (Reverse(sum.lines.code), *name));
        rows.push(("Total", &self.total));
        for (name, sum) in rows {
            let Lines { code, comment, blank } = sum.lines;
            let [files, code, comment, blank] =
                [sum.files, code, comment, blank].map(|number| HumanCount(number).to_string());
            let bytes = DecimalBytes(sum.bytes).to_string();
            let words: Vec<String> =
                sum.identifiers.top(4).into_iter().map(|(word, _)| word).collect();
            row(name, [&files, &bytes, &code, &comment, &blank], &words.join(" "))?;
        }
        Ok(())
    }
}
