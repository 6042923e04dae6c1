//! Temporary files, to which tasks in other processes add lines.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A temporary file of a test, removed on drop.
pub struct Scratch(PathBuf);

impl Scratch {
    /// The path of a file that does not exist yet. `name` distinguishes the files of one process.
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("atasker-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path as text.
    ///
    /// # Panics
    /// If the path is not UTF-8.
    pub fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// The lines of the file; none if it does not exist.
    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Adds a line to a file.
///
/// # Panics
/// If that fails.
pub fn append_line(path: impl AsRef<Path>, line: &str) {
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    // In one write, so that lines of several processes do not mix.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
