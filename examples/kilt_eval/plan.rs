//! Which readers run, over how many passages: those named on the command line, or the curves of the paper.

use glimmer::eval::Panel;

use crate::args::{Args, ReaderName, word};

/// A reader to run.
#[derive(Clone, PartialEq)]
pub struct Planned {
    /// What it is called in the results.
    pub label: String,
    pub reader: ReaderName,
    /// `k`.
    pub k: usize,
    /// `m`, where it is not the command line's or the checkpoint's.
    pub m: Option<usize>,
    /// β, likewise.
    pub beta: Option<f64>,
}

/// Figure 3 of the paper: passages retrieved where five are read, and passages read of 25.
const RETRIEVED: [usize; 4] = [5, 10, 25, 40];
const READ: [usize; 4] = [1, 5, 10, 25];
/// Figure 4: the share of the live layers that rerank.
const BETA: [f64; 5] = [0.0, 0.125, 0.25, 0.5, 1.0];
/// Where the other two are held while one varies.
const USUAL: (usize, usize) = (25, 5);

/// What is to be run.
pub fn planned(args: &Args) -> Vec<Planned> {
    if !args.curves {
        let plain = |&reader: &ReaderName| {
            let k = args.k_or(reader.default_k());
            Planned { label: word(reader), reader, k, m: None, beta: None }
        };
        return args.readers.iter().map(plain).collect();
    }
    let mut all: Vec<Planned> = Vec::new();
    for curve in curves() {
        for (_, planned) in curve.points {
            if !all.contains(&planned) {
                all.push(planned);
            }
        }
    }
    all
}

struct Curve {
    title: &'static str,
    axis: &'static str,
    points: Vec<(f64, Planned)>,
}

fn curves() -> [Curve; 3] {
    let (k, m) = USUAL;
    let glimmer = |k: usize, m: usize, beta: Option<f64>| {
        let share = beta.map_or_else(String::new, |beta| format!("-beta-{beta}"));
        let label = format!("glimmer-{k}-{m}{share}");
        Planned { label, reader: ReaderName::Glimmer, k, m: Some(m), beta }
    };
    let points = |all: &[usize], of: &dyn Fn(usize) -> Planned| all.iter().map(|&x| (x as f64, of(x))).collect();
    [
        Curve {
            title: "5 read of k",
            axis: "k, passages retrieved",
            points: points(&RETRIEVED, &|k| glimmer(k, m, None)),
        },
        Curve { title: "m read of 25", axis: "m, passages read", points: points(&READ, &|m| glimmer(k, m, None)) },
        Curve {
            title: "5 read of 25",
            axis: "β, share of the live layers that rerank",
            points: BETA.iter().map(|&beta| (beta, glimmer(k, m, Some(beta)))).collect(),
        },
    ]
}

/// The curves of what was run, each point a score that `score` finds by the reader's label.
pub fn panels(score: impl Fn(&str) -> Option<f64>) -> Vec<Panel> {
    let panel = |curve: Curve| {
        let points = curve.points.iter().filter_map(|(x, planned)| Some((*x, score(&planned.label)?))).collect();
        Panel { title: curve.title.into(), axis: curve.axis.into(), points }
    };
    curves().into_iter().map(panel).collect()
}
