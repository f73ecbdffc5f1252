//! What the launches of a context did: counters, reports, and bundles of those that were asked for.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::handle::lock;
use super::module::Module;
use super::status::{Outcome, Status};
use crate::bundle::{Recording, Source};
use crate::check::{Fault, Report};
use crate::options::{Options, Record, Reports};
use crate::{Counters, Launch};

/// The size of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Dynamic shared bytes of a block.
    pub dynamic_shared: u32,
}

impl Shape {
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }
}

/// A launch that came to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launched {
    /// The kernel.
    pub kernel: String,
    /// Which of the kernel's launches in the context, from 0.
    pub ordinal: u64,
    /// Which launch of a graph in its thread it was part of, from 1; none if the host launched the kernel itself.
    #[serde(default)]
    pub graph: Option<u64>,
    /// Its size.
    #[serde(flatten)]
    pub shape: Shape,
    /// What it did.
    pub counters: Counters,
}

/// The launches of a context.
#[derive(Default)]
pub struct History {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    ordinals: HashMap<String, u64>,
    launches: VecDeque<Launched>,
    report: Option<Report>,
}

/// A launch under way.
pub struct Run<'a> {
    history: &'a History,
    kernel: String,
    ordinal: u64,
    shape: Shape,
}

impl History {
    /// Numbers a launch.
    pub fn begin(&self, kernel: &str, shape: Shape) -> Run<'_> {
        let mut inner = lock(&self.inner);
        let next = inner.ordinals.entry(kernel.into()).or_default();
        let ordinal = *next;
        *next += 1;
        Run { history: self, kernel: kernel.into(), ordinal, shape }
    }

    /// The launches that are kept, oldest first.
    pub fn launches(&self) -> Vec<Launched> {
        lock(&self.inner).launches.iter().cloned().collect()
    }

    /// Forgets launches and report; ordinals go on.
    pub fn forget(&self) {
        let mut inner = lock(&self.inner);
        inner.launches.clear();
        inner.report = None;
    }

    /// The newest report.
    pub fn report(&self) -> Option<Report> {
        lock(&self.inner).report.clone()
    }

    /// Keeps a fault of the program itself as a report that names the driver's function in a kernel's place.
    pub fn note_host_fault(&self, function: &str, fault: &Fault) {
        let report = Report {
            kernel: function.into(),
            fault: fault.clone(),
            place: None,
            block: None,
            thread: None,
            other: None,
        };
        lock(&self.inner).report = Some(report);
    }
}

impl Run<'_> {
    /// Begins a bundle, if this launch is one that was asked for.
    pub fn recording(
        &self,
        context: &Context,
        options: &Options,
        module: &Module,
        launch: &Launch,
    ) -> Outcome<Option<Recording>> {
        let wanted = |record: &&Record| record.kernel == self.kernel && record.ordinal == self.ordinal;
        let Some(record) = options.record.iter().find(wanted) else { return Ok(None) };
        let source = Source { ptx: &module.ptx, code: &module.code, launch, memory: &context.memory, options };
        Recording::begin(Path::new(&record.folder), &source)
            .map(Some)
            .map_err(|error| Status::OperatingSystem.because(format!("recording into {}: {error:#}", record.folder)))
    }

    /// Keeps the counters.
    pub fn succeed(self, counters: Counters, kept: usize) {
        let mut inner = lock(&self.history.inner);
        let Self { kernel, ordinal, shape, .. } = self;
        inner.launches.push_back(Launched { kernel, ordinal, graph: super::graph::under_way(), shape, counters });
        let excess = inner.launches.len().saturating_sub(kept);
        inner.launches.drain(..excess);
    }

    /// Keeps the report.
    pub fn fail(self, report: Report, reports: Reports) {
        if reports == Reports::Print {
            eprintln!("glimmer-emulator: {report}");
        }
        lock(&self.history.inner).report = Some(report);
    }
}
