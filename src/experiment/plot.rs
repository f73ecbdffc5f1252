//! A run as a picture: the losses, and the scores of its evaluations.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::log::{Line, read_log};
use crate::io::write_atomic;

const SIZE: (u32, u32) = (960, 420);
/// Points of a curve, at most: what lies between them is averaged.
const POINTS: usize = 400;

/// A named curve.
type Curve = (String, Vec<(f64, f64)>);

/// Draws the log of a run as SVG; nothing where it has no line yet.
///
/// # Errors
/// A log that cannot be read, and those of the file system.
pub fn plot_run(log: &Path, picture: &Path) -> Result<()> {
    let (losses, scores) = curves(&read_log(log)?);
    if losses.is_empty() {
        return Ok(());
    }
    let mut svg = String::new();
    draw(&losses, &scores, &mut svg).map_err(|e| anyhow!("cannot draw: {e}"))?;
    write_atomic(picture, |file| Ok(file.write_all(svg.as_bytes())?))
}

/// The losses, and the scores in per cent.
fn curves(lines: &[Line]) -> (Vec<Curve>, Vec<Curve>) {
    let (mut losses, mut scores): (BTreeMap<String, _>, BTreeMap<String, _>) = Default::default();
    let add = |curves: &mut BTreeMap<String, Vec<(f64, f64)>>, name: &str, step: u64, y: f64| {
        curves.entry(name.to_string()).or_default().push((step as f64, y));
    };
    for line in lines {
        match line {
            Line::Trained { step, lm_loss, distill_loss, .. } => {
                add(&mut losses, "language model", *step, *lm_loss);
                distill_loss.iter().for_each(|&loss| add(&mut losses, "distillation", *step, loss));
            }
            Line::Evaluated { step, evaluation, .. } => match evaluation.loss {
                Some(loss) => add(&mut losses, "dev", *step, loss),
                None => {
                    let mean = ("mean".to_string(), evaluation.score);
                    let all = evaluation.tasks.clone().into_iter().chain([mean]);
                    all.for_each(|(name, score)| add(&mut scores, &name, *step, 100.0 * score));
                }
            },
        }
    }
    let thinned = |(name, points): (String, Vec<_>)| (name, thin(&points));
    (losses.into_iter().map(thinned).collect(), scores.into_iter().map(thinned).collect())
}

/// Means of neighbours, at most [`POINTS`] of them.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |part: &[(f64, f64)]| {
        let (x, y) = part.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        (x / part.len() as f64, y / part.len() as f64)
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

fn draw(losses: &[Curve], scores: &[Curve], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    if scores.is_empty() {
        panel(&area, "loss", losses)?;
    } else {
        let (left, right) = area.split_horizontally(SIZE.0 / 2);
        panel(&left, "loss", losses)?;
        panel(&right, "dev score, %", scores)?;
    }
    area.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    curves: &[Curve],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let end = points().map(|point| point.0).fold(1.0, f64::max);
    let top = points().map(|point| point.1).filter(|y| y.is_finite()).fold(1e-9, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(title, ("sans-serif", 18))
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..end, 0.0..1.05 * top)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).x_labels(6).y_labels(8).x_desc("step").draw()?;
    for (i, (name, points)) in curves.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let line = chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().border_style(BLACK.mix(0.3)).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_thinned_to_means() {
        let points: Vec<(f64, f64)> = (0..1200).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let thin = thin(&points);
        assert!(thin.len() <= POINTS && thin.iter().all(|point| (point.1 - 0.5).abs() < 0.2));
        assert_eq!(super::thin(&points[..3]), points[..3]);
    }
}
