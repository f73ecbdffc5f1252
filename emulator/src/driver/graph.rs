//! Graphs: captured work that can be done again.

use std::cell::Cell;
use std::ffi::c_ulonglong;
use std::sync::{Arc, Weak};

use super::context::{self, Context};
use super::guard::{exports, put, put_if_wanted};
use super::handle::{Handle, Table, fresh};
use super::operation::Operation;
use super::status::{Outcome, Status};
use super::stream;

const AUTO_FREE_ON_LAUNCH: c_ulonglong = 1;
const DEVICE_LAUNCH: c_ulonglong = 4;
const FLAGS: c_ulonglong = 15;

static GRAPHS: Table<Graph> = Table::new("graph");
static EXECUTABLES: Table<Executable> = Table::new("executable graph");

thread_local! {
    /// Launches of graphs that this thread has begun, and whether the last is under way.
    static LAUNCHES: Cell<(u64, bool)> = const { Cell::new((0, false)) };
}

/// Which of its launches of graphs this thread is doing, from 1; none between them.
pub fn under_way() -> Option<u64> {
    let (number, is_under_way) = LAUNCHES.get();
    is_under_way.then_some(number)
}

/// Does `work` as a launch of a graph.
fn as_launch<R>(work: impl FnOnce() -> R) -> R {
    LAUNCHES.set((LAUNCHES.get().0 + 1, true));
    let done = work();
    LAUNCHES.set((LAUNCHES.get().0, false));
    done
}

/// A piece of work and the pieces that come before it.
pub struct Node {
    /// The work.
    pub operation: Operation,
    /// Indices of the nodes that it follows.
    pub after: Vec<usize>,
}

/// A captured graph. Nodes are in the order of their capture, which is an order that their dependencies allow.
pub struct Graph {
    context: Handle,
    nodes: Arc<Nodes>,
}

struct Nodes {
    list: Vec<Node>,
    memory: Vec<u64>,
    owner: Weak<Context>,
}

// Memory that a graph allocates is there as long as the graph or an executable made of it.
impl Drop for Nodes {
    fn drop(&mut self) {
        if let Some(context) = self.owner.upgrade() {
            for &address in &self.memory {
                let _ = context.memory.free(address);
            }
        }
    }
}

struct Executable {
    context: Handle,
    nodes: Arc<Nodes>,
}

impl Graph {
    /// The graph of nodes, and of the memory that they allocate.
    pub fn new(context: &Context, list: Vec<Node>, memory: Vec<u64>) -> Self {
        let owner = context::find(context.handle).map_or(Weak::new(), |context| Arc::downgrade(&context));
        Self { context: context.handle, nodes: Arc::new(Nodes { list, memory, owner }) }
    }
}

/// Gives a graph a handle.
pub fn publish(graph: Graph) -> Handle {
    GRAPHS.insert(fresh(), Arc::new(graph))
}

/// Ends the graphs of a context.
pub fn end_all_of(context: Handle) {
    GRAPHS.remove_where(|graph| graph.context == context);
    EXECUTABLES.remove_where(|executable| executable.context == context);
}

fn instantiate(graph: Handle, flags: c_ulonglong) -> Outcome<Handle> {
    context::current()?;
    if flags & !FLAGS != 0 || (flags & AUTO_FREE_ON_LAUNCH != 0 && flags & DEVICE_LAUNCH != 0) {
        return Err(Status::InvalidValue.because(format!("graph flags {flags:#x}")));
    }
    if flags & DEVICE_LAUNCH != 0 {
        return Err(Status::NotSupported.because("graphs are launched from the host alone"));
    }
    let graph = GRAPHS.get(graph)?;
    let executable = Executable { context: graph.context, nodes: graph.nodes.clone() };
    Ok(EXECUTABLES.insert(fresh(), Arc::new(executable)))
}

exports! {
    fn cuGraphInstantiateWithFlags(place: *mut Handle, graph: Handle, flags: c_ulonglong) {
        // SAFETY: the C caller's promise.
        unsafe { put(place, instantiate(graph, flags)?) }
    }

    fn cuGraphLaunch(executable: Handle, stream: Handle) {
        let (context, stream) = context::stream(stream)?;
        let executable = EXECUTABLES.get(executable)?;
        as_launch(|| {
            for node in &executable.nodes.list {
                // Nothing runs after a fault, whichever call it is to fail.
                if context.check().is_err() {
                    break;
                }
                stream::submit(&context, &stream, node.operation.clone())?;
            }
            Ok(())
        })
    }

    fn cuGraphUpload(executable: Handle, stream: Handle) {
        context::stream(stream)?;
        EXECUTABLES.get(executable)?;
        Ok(())
    }

    fn cuGraphExecDestroy(executable: Handle) {
        EXECUTABLES.remove(executable)?;
        Ok(())
    }

    fn cuGraphDestroy(graph: Handle) {
        GRAPHS.remove(graph)?;
        Ok(())
    }

    fn cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: *mut usize) {
        let graph = GRAPHS.get(graph)?;
        if !nodes.is_null() {
            return Err(Status::NotSupported.because("a graph's nodes can be counted, not visited"));
        }
        // SAFETY: the C caller's promise.
        unsafe { put_if_wanted(count, graph.nodes.list.len()) };
        Ok(())
    }
}
