//! Figures as SVG.

use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::report::RowReport;
use crate::rows::latency::SHARES;
use crate::rows::plotted::{Across, Plot};

/// A line: its contender and its points.
struct Series {
    name: &'static str,
    ours: bool,
    points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (870, 430);
const CHART: u32 = 620;
const OURS: RGBColor = RGBColor(0xc8, 0x1e, 0x1e);
const PEERS: [RGBColor; 8] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0xe0, 0x8a, 0x00),
    RGBColor(0x17, 0xa2, 0xb8),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0xd1, 0x5c, 0xa6),
    RGBColor(0x70, 0x70, 0x70),
];

/// Draws a plot from its rows (and the position of each) into a directory.
pub fn draw(
    folder: &Path,
    plot: &Plot,
    rows: &[(f64, RowReport)],
) -> Result<(), Box<dyn std::error::Error>> {
    let series = series(plot.across, rows);
    let points = || series.iter().flat_map(|one| &one.points);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN, f64::max);
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MAX, f64::min);
    let across = least(&mut points().map(|p| p.0))..most(&mut points().map(|p| p.0));
    // A margin above and below.
    let up = least(&mut points().map(|p| p.1)) * 0.8..most(&mut points().map(|p| p.1)) * 1.25;

    std::fs::create_dir_all(folder)?;
    let path = folder.join(plot.file);
    let area = SVGBackend::new(&path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(plot.title, ("sans-serif", 17))?;
    let (chart, legend) = area.split_horizontally(CHART);
    match plot.across {
        Across::Share => lines(&chart, plot, across, up.log_scale(), &series)?,
        Across::Tasks => lines(&chart, plot, across.log_scale(), up.log_scale(), &series)?,
        Across::Bytes => {
            lines(&chart, plot, across.log_scale().base(4.0), up.log_scale(), &series)?
        }
    }
    for (at, (one, color)) in colored(&series).enumerate() {
        let y = 40 + 24 * at as i32;
        let style = color.stroke_width(width(one));
        legend.draw(&PathElement::new([(4, y), (28, y)], style))?;
        let text = if one.ours {
            ("sans-serif", 14, FontStyle::Bold)
        } else {
            ("sans-serif", 14, FontStyle::Normal)
        };
        legend.draw(&Text::new(one.name, (36, y - 7), text.into_font()))?;
    }
    area.present()?;
    Ok(())
}

fn series(across: Across, rows: &[(f64, RowReport)]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for (place, row) in rows {
        let mut shares = std::collections::HashMap::new();
        for cell in &row.cells {
            let place = match across {
                Across::Share => {
                    let next: &mut usize = shares.entry(cell.contender).or_default();
                    *next += 1;
                    nines(SHARES[*next - 1])
                }
                _ => *place,
            };
            let at = all.iter().position(|one| one.name == cell.contender).unwrap_or_else(|| {
                all.push(Series { name: cell.contender, ours: cell.ours, points: Vec::new() });
                all.len() - 1
            });
            all[at].points.push((place, cell.median));
        }
    }
    all
}

/// 0 for none, 1 for 90 %, 2 for 99 %, and so on, to magnify the slow calls.
fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

fn lines<X, Y>(
    area: &DrawingArea<SVGBackend, plotters::coord::Shift>,
    plot: &Plot,
    across: X,
    up: Y,
    series: &[Series],
) -> Result<(), Box<dyn std::error::Error>>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    let name = match plot.across {
        Across::Tasks => "tasks at once",
        Across::Bytes => "payload",
        Across::Share => "share of the calls that took no longer",
    };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(across, up)?;
    chart
        .configure_mesh()
        .x_desc(name)
        .y_desc(plot.up)
        .x_labels(if plot.across == Across::Share { 5 } else { 8 })
        .x_label_formatter(&|x| place(plot.across, *x))
        .y_label_formatter(&|y| plain(*y))
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(BLACK.mix(0.04))
        .draw()?;
    // This project last, above the others.
    let mut all: Vec<_> = colored(series).collect();
    all.sort_by_key(|(one, _)| one.ours);
    for (one, color) in all {
        let style = color.stroke_width(width(one));
        chart.draw_series(LineSeries::new(one.points.iter().copied(), style))?;
        let dot = |at: &(f64, f64)| Circle::new(*at, if one.ours { 4 } else { 3 }, color.filled());
        chart.draw_series(one.points.iter().map(dot))?;
    }
    Ok(())
}

fn colored(series: &[Series]) -> impl Iterator<Item = (&Series, RGBColor)> {
    let mut peers = PEERS.iter().copied().cycle();
    let color = move |one: &Series| match one.ours {
        true => OURS,
        false => peers.next().expect("the colors repeat"),
    };
    series.iter().map({
        let mut color = color;
        move |one| (one, color(one))
    })
}

fn width(one: &Series) -> u32 {
    if one.ours { 4 } else { 2 }
}

fn place(across: Across, at: f64) -> String {
    match across {
        Across::Tasks => short(at, 1000.0, ["", "k", "M", "G"]),
        Across::Bytes => short(at, 1024.0, [" B", " KiB", " MiB", " GiB"]),
        Across::Share => {
            let share = 100.0 * (1.0 - 10_f64.powf(-at));
            let digits = (at.ceil() as usize).saturating_sub(2);
            format!("{share:.digits$} %")
        }
    }
}

fn short(value: f64, step: f64, units: [&str; 4]) -> String {
    let (mut value, mut unit) = (value, 0);
    while value >= 0.999 * step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    format!("{}{}", plain(value), units[unit])
}

fn plain(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", plain(v / 1e6)),
        v if v >= 10.0 => format!("{v:.0}"),
        v if (v - v.round()).abs() < 1e-9 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
