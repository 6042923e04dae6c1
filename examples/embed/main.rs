//! A program that shows thumbnails of gray pictures (PGM, format `P5`) as text.
//!
//! ```text
//! cargo run --release --example embed -- photo.pgm
//! ```
//!
//! `magick photo.jpg photo.pgm` makes such a file. Without arguments, the program shows two pictures
//! of its own: a ball, and a `bomb` whose header demands 10 GB.
//!
//! The program calls a plain function of the library `thumbs` in `embed/thumbs`, which decodes each
//! picture in a worker process. It needs no dependency, no attribute and no call for that.

use std::io;
use std::process::ExitCode;

use thumbs::{Picture, thumbnails};

/// The width of a thumbnail, in characters.
const WIDTH: usize = 48;

fn main() -> io::Result<ExitCode> {
    let mut files = Vec::new();
    for path in std::env::args().skip(1) {
        let file = std::fs::read(&path)?;
        files.push((path, file));
    }
    if files.is_empty() {
        files = vec![("ball".into(), ball()), ("bomb".into(), b"P5 100000 100000 255\n".to_vec())];
    }

    let mut failed = false;
    let thumbnails = thumbnails(files.iter().map(|(_, file)| file), WIDTH);
    for ((name, _), thumbnail) in files.iter().zip(thumbnails) {
        match thumbnail {
            Ok(thumbnail) => println!("{name}:\n{}", draw(&thumbnail)),
            Err(error) => {
                eprintln!("embed: {name}: {error}");
                failed = true;
            }
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// Draws a picture as text.
fn draw(picture: &Picture) -> String {
    const SHADES: &[u8; 10] = b" .:-=+*#%@";
    let mut text = String::new();
    // A character is about twice as high as it is wide.
    for row in picture.pixels.chunks(picture.width.max(1)).step_by(2) {
        text.extend(row.iter().map(|&pixel| char::from(SHADES[usize::from(pixel) * 10 / 256])));
        text.push('\n');
    }
    text
}

/// The picture of a ball, lit from the upper left.
fn ball() -> Vec<u8> {
    const SIZE: u32 = 480;
    let mut file = format!("P5\n# A ball.\n{SIZE} {SIZE}\n255\n").into_bytes();
    let position = |pixel: u32| f64::from(pixel) / f64::from(SIZE) * 2.2 - 1.1;
    for y in (0..SIZE).map(position) {
        for x in (0..SIZE).map(position) {
            let depth = 1.0 - x * x - y * y;
            let light = if depth > 0.0 { 0.7 * depth.sqrt() - 0.4 * x - 0.5 * y } else { 0.0 };
            file.push((light.clamp(0.0, 1.0) * 255.0) as u8);
        }
    }
    file
}
