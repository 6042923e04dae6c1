//! Counts, and the file that stores them.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cases;

/// The versions that the counts depend on, in addition to the program.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Under {
    rustc: String,
    glibc: String,
}

impl Under {
    /// The versions of this program.
    pub fn here() -> Under {
        // SAFETY: returns a static string.
        let glibc = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
        let glibc = glibc.to_string_lossy().into_owned();
        Under { rustc: env!("GUARD_RUSTC").to_owned(), glibc }
    }
}

impl fmt::Display for Under {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and glibc {}", self.rustc, self.glibc)
    }
}

/// Instructions per task.
#[derive(Serialize, Deserialize)]
pub struct Counts {
    /// The versions with which the counts were taken.
    pub under: Under,
    /// By `case: part`.
    pub parts: BTreeMap<String, f64>,
}

impl Counts {
    /// Adds a count if it is the least of its part so far.
    pub fn add(&mut self, part: String, count: f64) {
        let least = self.parts.entry(part).or_insert(count);
        *least = least.min(count);
    }

    /// Reads the recorded counts.
    pub fn read(path: &Path) -> Result<Counts, Box<dyn std::error::Error>> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}; --update creates it", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Records these counts.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let rounded = self.parts.iter().map(|(part, count)| (part.clone(), count.round()));
        let rounded = Counts { under: Under::here(), parts: rounded.collect() };
        std::fs::write(path, serde_json::to_string_pretty(&rounded)? + "\n")
    }

    /// Prints one count per line.
    pub fn print(&self) {
        for (part, count) in &self.parts {
            println!("{part:<28} {count:>10.0}");
        }
    }
}

/// Parses a dump of callgrind that the program requested by name: the name, and the instructions of
/// all threads since the previous dump.
pub fn dumped(text: &str) -> Option<(String, f64)> {
    let after = |head: &str| text.lines().find_map(|line| line.strip_prefix(head));
    let part = after("desc: Trigger: Client Request: ")?.trim().to_owned();
    let total = after("totals: ")?.trim().parse().ok()?;
    (part.as_bytes() != cases::BEGIN.to_bytes()).then_some((part, total))
}
