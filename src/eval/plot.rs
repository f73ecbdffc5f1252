//! Quality against compute, as the paper's figure 2.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::report::Report;
use crate::io::write_atomic;

const SIZE: (u32, u32) = (720, 480);

/// Draws an SVG: one point a reader, samples for 10¹² multiply-adds on the one axis, mean score on the other.
///
/// # Errors
/// No reader with a score, and those of the file system.
pub fn plot(report: &Report, path: &Path) -> Result<()> {
    let points: Vec<(String, f64, f64)> = report
        .readers
        .iter()
        .filter_map(|reader| {
            let label = format!("{} {} → {}", reader.reader, reader.retrieved, reader.read);
            Some((label, reader.mean.samples_per_tera, 100.0 * reader.mean.score?))
        })
        .collect();
    anyhow::ensure!(!points.is_empty(), "nothing to plot: no reader has a score");
    let mut svg = String::new();
    draw(&points, &mut svg).map_err(|e| anyhow!("cannot draw: {e}"))?;
    write_atomic(path, |file| Ok(file.write_all(svg.as_bytes())?))
}

fn draw(points: &[(String, f64, f64)], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let range = |of: fn(&(String, f64, f64)) -> f64| {
        let (low, high) = points.iter().map(of).fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
        let margin = (0.25 * (high - low)).max(0.05 * high.abs()).max(0.5e-3);
        low - margin..high + margin
    };
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .caption("Quality against compute", ("sans-serif", 20))
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(range(|p| p.1), range(|p| p.2))?;
    chart.configure_mesh().x_desc("samples per TFLOP").y_desc("mean score over the tasks").draw()?;
    for (i, (label, x, y)) in points.iter().enumerate() {
        let colour = Palette99::pick(i);
        let text = Text::new(label.clone(), (10, -6), ("sans-serif", 15));
        chart.draw_series([EmptyElement::at((*x, *y)) + Circle::new((0, 0), 6, colour.filled()) + text])?;
    }
    area.present()?;
    Ok(())
}
