//! Quality against compute, as the paper's figure 2, and against one thing at a time, as its figures 3 and 4.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::Report;
use crate::io::write_atomic;

/// What stands beside an axis of scores.
pub const SCORE_AXIS: &str = "mean score over the tasks, %";
const SIZE: (u32, u32) = (720, 480);
/// Of one panel of several.
const PANEL: (u32, u32) = (420, 360);

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

/// A curve of its own, against one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Above it.
    pub title: String,
    /// Below it.
    pub axis: String,
    /// Left to right.
    pub points: Vec<(f64, f64)>,
}

/// Draws an SVG of panels side by side, all with one range of what they show, which `height` names.
///
/// # Errors
/// No point at all, and those of the file system.
pub fn plot_panels(panels: &[Panel], height: &str, path: &Path) -> Result<()> {
    anyhow::ensure!(panels.iter().any(|panel| !panel.points.is_empty()), "nothing to plot: no panel has a point");
    let mut svg = String::new();
    draw_panels(panels, height, &mut svg).map_err(|e| anyhow!("cannot draw: {e}"))?;
    write_atomic(path, |file| Ok(file.write_all(svg.as_bytes())?))
}

/// The least and the largest, and a margin of the share `of` their distance or of `least`, whichever is more.
fn range(values: impl Iterator<Item = f64>, (of, least): (f64, f64)) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let margin = (of * (high - low)).max(least);
    low - margin..high + margin
}

fn draw_panels(panels: &[Panel], height: &str, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let width = PANEL.0 * panels.len() as u32;
    let area = SVGBackend::with_string(svg, (width, PANEL.1)).into_drawing_area();
    area.fill(&WHITE)?;
    let shown = range(panels.iter().flat_map(|panel| panel.points.iter().map(|p| p.1)), (0.15, 1.0));
    for (i, (area, panel)) in area.split_evenly((1, panels.len())).iter().zip(panels).enumerate() {
        if panel.points.is_empty() {
            continue;
        }
        let widest = panel.points.iter().fold(0.0, |widest: f64, p| widest.max(p.0));
        let across = range(panel.points.iter().map(|p| p.0), (0.05, 0.02 * widest.max(1e-9)));
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .caption(&panel.title, ("sans-serif", 18))
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(across, shown.clone())?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT).x_labels(6).y_labels(8);
        mesh.x_desc(&panel.axis).y_desc(height).draw()?;
        let colour = Palette99::pick(i);
        chart.draw_series(LineSeries::new(panel.points.iter().copied(), colour.stroke_width(2)))?;
        chart.draw_series(panel.points.iter().map(|&point| Circle::new(point, 4, colour.filled())))?;
    }
    area.present()?;
    Ok(())
}

fn draw(points: &[(String, f64, f64)], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    // At least so much around the points: one reader, or all at one score, must not fill the axis with digits.
    let range = |least: f64, of: fn(&(String, f64, f64)) -> f64| range(points.iter().map(of), (0.3, least));
    let widest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .caption("Quality against compute", ("sans-serif", 20))
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(range(0.05 * widest.max(1e-9), |p| p.1), range(1.0, |p| p.2))?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).x_labels(8).y_labels(8);
    mesh.x_desc("samples per TFLOP").y_desc(SCORE_AXIS).draw()?;
    let centred = TextStyle::from(("sans-serif", 15)).pos(Pos::new(HPos::Center, VPos::Center));
    for (i, (label, x, y)) in points.iter().enumerate() {
        let colour = Palette99::pick(i);
        // Above and below in turn: neighbours' names are wider than the gap between them.
        let text = Text::new(label.clone(), (0, if i % 2 == 0 { -18 } else { 18 }), centred.clone());
        chart.draw_series([EmptyElement::at((*x, *y)) + Circle::new((0, 0), 6, colour.filled()) + text])?;
    }
    area.present()?;
    Ok(())
}
