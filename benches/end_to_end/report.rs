//! What was measured, as a table, as JSON and as a plot.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use glimmer::cost::{CostMode, Lengths, Workload, memory_multiply_adds, multiply_adds, samples_per_tera};
use glimmer::eval::{Panel, plot_panels, table};
use glimmer::io::write_atomic;
use glimmer::model::{Config, Glimmer, Stage};
use serde::Serialize;

use super::Setting;
use super::workload::{ANSWER, QUESTION};
use crate::common::in_words;

/// One setting's.
#[derive(Clone, Serialize)]
pub struct Measured {
    group: &'static str,
    name: String,
    varied: f64,
    retrieved: usize,
    read: usize,
    /// Median of a question.
    seconds: f64,
    /// Medians of its stages.
    stages: BTreeMap<Stage, f64>,
    /// Of the last stage: keys and values of what was read.
    prefill: f64,
    /// Multiply-adds by the exact count; where passages come as tokens, with their encoding.
    multiply_adds: f64,
    /// Questions for 10¹² multiply-adds, by each way to count.
    samples_per_tera: [f64; 3],
}

const MODES: [CostMode; 3] = [CostMode::PaperText, CostMode::PaperFigure, CostMode::Exact];

impl Measured {
    pub fn new(
        config: &Config,
        glimmer: &Glimmer,
        setting: &Setting,
        (seconds, stages, prefill): (f64, BTreeMap<Stage, f64>, f64),
    ) -> Self {
        let lengths = Lengths { question: QUESTION, passage: setting.tokens, answer: ANSWER };
        let workload = Workload::uniform(glimmer, setting.retrieved, lengths);
        let multiply_adds = |mode| multiply_adds(mode, config, glimmer, &workload);
        let encoding = setting.retrieved as f64 * memory_multiply_adds(config, glimmer, setting.tokens);
        let in_full = glimmer.live_layers == config.num_layers;
        Self {
            group: setting.group,
            name: setting.name.clone(),
            varied: setting.varied,
            retrieved: setting.retrieved,
            read: setting.read,
            seconds,
            stages,
            prefill,
            multiply_adds: multiply_adds(CostMode::Exact) + if in_full { encoding } else { 0.0 },
            samples_per_tera: MODES.map(|mode| samples_per_tera(multiply_adds(mode))),
        }
    }

    fn row(&self, fid: Option<&Self>) -> Vec<String> {
        let stage = |stage| self.stages.get(&stage).copied().unwrap_or_default();
        let [text, figure, exact] = self.samples_per_tera.map(|samples| format!("{samples:.2}"));
        let mut row = vec![self.name.replace(" to ", " → "), format!("{:.3}", 1.0 / self.seconds)];
        row.extend([text, figure, exact]);
        let first = [Stage::Question, Stage::Memory, Stage::LiveA, Stage::Select, Stage::LiveB];
        row.extend(first.map(|s| in_words(stage(s))));
        row.extend([in_words(self.prefill), in_words((stage(Stage::Answer) - self.prefill).max(0.0))]);
        row.push(format!("{:.0}", 2e-9 * self.multiply_adds / self.seconds));
        row.push(fid.map_or(String::new(), |fid| format!("{:.2}", fid.seconds / self.seconds)));
        row.push(fid.map_or(String::new(), |fid| format!("{:.2}", fid.multiply_adds / self.multiply_adds)));
        row
    }
}

const HEAD: [&str; 15] = [
    "reader, k → m",
    "samples/s",
    "per TFLOP: text",
    "figure",
    "exact",
    "question",
    "memory",
    "live A",
    "select",
    "live B",
    "prefill",
    "decode",
    "GFLOP/s",
    "× FiD 25",
    "by the cost model",
];

/// Everything of one run of the program.
pub struct Report {
    /// What the command line wants of the benchmarks' names.
    filter: Option<String>,
    /// By machine and size.
    measured: BTreeMap<(String, String), Vec<Measured>>,
}

impl Report {
    /// Of these arguments, as criterion understands them: the first that is no option is a part of names.
    pub fn new(arguments: impl Iterator<Item = String>) -> Self {
        Self { filter: arguments.into_iter().find(|a| !a.starts_with('-')), measured: BTreeMap::new() }
    }

    /// Whether a benchmark of this name runs, so that no model is made for one that does not.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| name.contains(part))
    }

    pub fn extend(&mut self, machine: &str, size: &str, measured: Option<Measured>) {
        let Some(measured) = measured else { return };
        self.measured.entry((machine.into(), size.into())).or_default().push(measured);
    }

    /// Prints the tables, and writes `end_to_end.json` and `end_to_end.svg` into `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut panels = Vec::new();
        for ((machine, size), measured) in &self.measured {
            let fid = measured.iter().find(|m| m.group == "readers" && m.name == "fid 25 to 25");
            let of = |group: &'static str| measured.iter().filter(move |m| m.group == group);
            for (group, title) in [
                ("readers", "readers"),
                ("retrieved", "passages retrieved, 5 read"),
                ("read", "passages read of 25"),
                ("rerank share", "share of rerank layers, 25 → 5"),
                ("length", "tokens of a passage, 25 → 5"),
                ("threads", "threads, 25 → 5"),
            ] {
                let rows: Vec<_> = of(group).map(|m| m.row(fid)).collect();
                if rows.is_empty() {
                    continue;
                }
                println!("\n{machine}, {size}: {title}\n{}", table(&HEAD, &rows));
                if group != "readers" {
                    let points = of(group).map(|m| (m.varied, 1.0 / m.seconds)).collect();
                    panels.push(Panel { title: size.clone(), axis: title.into(), points });
                }
            }
        }
        if self.measured.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(folder)?;
        let all: Vec<_> =
            self.measured.iter().map(|((machine, size), measured)| Machine { machine, size, measured }).collect();
        write_atomic(&folder.join("end_to_end.json"), |file| {
            Ok(file.write_all(serde_json::to_string_pretty(&all)?.as_bytes())?)
        })?;
        println!("{}", folder.join("end_to_end.json").display());
        if panels.iter().any(|panel| !panel.points.is_empty()) {
            plot_panels(&panels, "samples a second", &folder.join("end_to_end.svg"))?;
            println!("{}", folder.join("end_to_end.svg").display());
        }
        Ok(())
    }
}

/// A group of the JSON file.
#[derive(Serialize)]
struct Machine<'a> {
    machine: &'a str,
    size: &'a str,
    measured: &'a [Measured],
}
