//! Steps that are done again and again: the second is recorded as a CUDA graph, and from then on a step is one launch.

use std::sync::Arc;

use anyhow::Result;
use cudarc::driver::{DriverError, result, sys};

use super::probe::Failed;
use super::queue::{Queue, Repeating};

/// A recorded step.
struct Graph<'a> {
    executable: sys::CUgraphExec,
    queue: &'a Queue,
}

impl Graph<'_> {
    fn launch(&self) -> Result<(), DriverError> {
        let stream = self.queue.stream()?;
        // SAFETY: both are there as long as `self`; the memory that the graph names is kept while the steps go on.
        unsafe { result::graph::launch(self.executable, stream) }
    }
}

impl Drop for Graph<'_> {
    fn drop(&mut self) {
        let destroy = |_| {
            // SAFETY: made once. The driver lets a launch that is under way come to its end.
            unsafe { result::graph::exec_destroy(self.executable) }
        };
        if let Err(error) = self.queue.stream().and_then(destroy) {
            self.queue.fail(|| format!("cannot give up a graph: {}", Failed(error)));
        }
    }
}

/// The graph of what `step` would launch.
fn record<'a>(repeating: &Repeating<'a>, step: impl FnOnce()) -> Result<Graph<'a>, DriverError> {
    let recording = repeating.record()?;
    step();
    let graph = recording.end()?;
    let no_flags = sys::CUgraphInstantiate_flags(0);
    // SAFETY: the graph has just been made, and is given up once; the executable one does not need it.
    let executable = unsafe {
        let executable = result::graph::instantiate(graph, no_flags);
        result::graph::destroy(graph)?;
        executable?
    };
    Ok(Graph { executable, queue: repeating.queue() })
}

/// See [`Backend::repeat`](crate::backend::Backend::repeat).
pub(super) fn repeat<S>(
    queue: &Arc<Queue>,
    times: usize,
    state: &mut S,
    step: impl Fn(&mut S),
    mut goes_on: impl FnMut(&S) -> Result<bool>,
) -> Result<()> {
    let repeating = queue.begin_repeating();
    let mut graph = None;
    for done in 0..times {
        match &repeating {
            Some(repeating) if done > 0 && !queue.has_failed() => {
                let recorded = match graph.take() {
                    None => record(repeating, || step(state)),
                    Some(graph) => Ok(graph),
                };
                match recorded.and_then(|graph| graph.launch().map(|()| graph)) {
                    Ok(launched) => graph = Some(launched),
                    Err(error) => queue.fail(|| format!("cannot repeat a step as a graph: {}", Failed(error))),
                }
            }
            _ => step(state),
        }
        if !goes_on(state)? {
            break;
        }
    }
    Ok(())
}
