//! Thumbnails of gray pictures in the format PGM (`P5`), also of untrusted pictures.
//!
//! Each picture is decoded in a worker process, with a time limit and a memory limit. A picture that
//! crashes the decoder costs its own thumbnail, and neither the program nor the other pictures.
//! Programs that use this library call plain functions. They need no setup, because worker processes
//! are recognized before `main` runs.

use std::error;
use std::fmt;
use std::io::Read;
use std::sync::LazyLock;

use atasker::{MpPoolConfig, Supervisor, TaskError, WorkerStdio, background_task, wait_settled};
use serde::{Deserialize, Serialize};

/// The memory that the decoder of a picture may use.
const MEMORY: u64 = 256 << 20;

/// The worker processes of this library. With a supervisor of its own, it depends on no
/// configuration of the program, and changes none.
static POOL: LazyLock<Supervisor> = LazyLock::new(|| {
    let config = MpPoolConfig::default().memory_limit(MEMORY).stdio(WorkerStdio::Null);
    Supervisor::builder().id("thumbs").mp_pool(config).build()
});

/// A gray picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// The number of pixels in a row.
    pub width: usize,
    /// The brightness of each pixel, row by row.
    pub pixels: Vec<u8>,
}

/// Why there is no thumbnail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file is not a picture.
    Malformed(String),
    /// The decoder has crashed, or took too much time or memory.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed(cause) => write!(f, "not a picture: {cause}"),
            Error::Failed(cause) => write!(f, "can't be decoded: {cause}"),
        }
    }
}

impl error::Error for Error {}

/// Returns a thumbnail for each file, `width` pixels wide at most.
pub fn thumbnails<F: AsRef<[u8]>>(
    files: impl IntoIterator<Item = F>,
    width: usize,
) -> Vec<Result<Picture, Error>> {
    let tasks: Vec<_> = files.into_iter().map(|file| shrink(file.as_ref(), width)).collect();
    let outcomes = wait_settled!(tasks).into_iter();
    // The errors of this library do not show how it works.
    let thumbnails = outcomes.map(|outcome| match outcome {
        Ok(thumbnail) => thumbnail.map_err(Error::Malformed),
        Err(TaskError::WorkerDied(death)) => Err(Error::Failed(death.cause().to_string())),
        Err(error) => Err(Error::Failed(error.to_string())),
    });
    thumbnails.collect()
}

/// The launcher encodes its arguments before it returns, so the file is borrowed.
#[background_task(tt = "mp", supervisor = &POOL, timeout = "10s")]
fn shrink(file: &[u8], width: usize) -> Result<Picture, String> {
    let picture = decode(file)?;
    let scale = picture.width.div_ceil(width.max(1)).max(1);
    let rows: Vec<&[u8]> = picture.pixels.chunks_exact(picture.width.max(1)).collect();
    let mut pixels = Vec::new();
    for rows in rows.chunks_exact(scale) {
        for x in (0..picture.width / scale).map(|x| x * scale) {
            let block = rows.iter().flat_map(|row| &row[x..x + scale]);
            let sum: usize = block.map(|&pixel| usize::from(pixel)).sum();
            pixels.push((sum / (scale * scale)) as u8);
        }
    }
    Ok(Picture { width: picture.width / scale, pixels })
}

fn decode(mut file: &[u8]) -> Result<Picture, String> {
    if word(&mut file) != b"P5" {
        return Err("it does not begin with `P5`".to_owned());
    }
    let [width, height, white] = [number(&mut file)?, number(&mut file)?, number(&mut file)?];
    if white != 255 {
        return Err(format!("pixels of 255 values are supported, and not of {white}"));
    }
    // Trusts the header, as many decoders do: a few bytes can demand more memory than there is,
    // and a failed allocation aborts the process.
    let mut pixels = vec![0; width.checked_mul(height).ok_or("the size is too large")?];
    file.read_exact(&mut pixels).map_err(|_| "pixels are missing".to_owned())?;
    Ok(Picture { width, pixels })
}

fn number(file: &mut &[u8]) -> Result<usize, String> {
    let word = String::from_utf8_lossy(word(file));
    word.parse().map_err(|error| format!("`{word}` in the header: {error}"))
}

/// Takes the next word of the header, and the one blank behind it.
fn word<'a>(file: &mut &'a [u8]) -> &'a [u8] {
    let mut words = file.trim_ascii_start();
    while words.starts_with(b"#") {
        let end = words.iter().position(|byte| *byte == b'\n').unwrap_or(words.len());
        words = words[end..].trim_ascii_start();
    }
    let end = words.iter().position(u8::is_ascii_whitespace).unwrap_or(words.len());
    let (word, rest) = words.split_at(end);
    *file = rest.get(1..).unwrap_or_default();
    word
}
