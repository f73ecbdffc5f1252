//! Decoding as a graph: the host launches a step once, and each that follows is one launch.

use std::cell::Cell;

use glimmer::backend::{Backend, Mat};
use glimmer::cpu::Cpu;
use glimmer::cuda::{Cuda, Float};
use glimmer::model::{Config, Cut, Glimmer, Passages, Question, Reader, Reading};
use half::bf16;

use crate::{assert_silent, emulated_machine, machine};

const MAX_TOKENS: usize = 7;

fn reader<B: Backend>(be: B) -> Reader<B> {
    let sizes = Config { vocab_size: 90, d_model: 24, d_kv: 8, d_ff: 32, num_heads: 3, ..Config::mini() };
    let config = Config { num_layers: 2, num_decoder_layers: Some(2), ..sizes };
    Reader::random(be, config, Glimmer::new(Cut { live_layers: 1, rerank_layers: 0 }, 2), 8).unwrap()
}

/// Answers to two questions, of which each has three passages.
fn read<B: Backend>(reader: &Reader<B>, max_tokens: usize) -> Vec<Reading> {
    let texts: Vec<Vec<u32>> = (0..5u32).map(|i| (0..4 + 3 * i).map(|t| 2 + (7 * i + 5 * t) % 80).collect()).collect();
    let passages: Vec<&[u32]> = texts[2..].iter().map(Vec::as_slice).collect();
    let question = |i: usize| Question { ids: &texts[i], passages: Passages::Tokens(&passages) };
    reader.read(&[question(0), question(1)], max_tokens).unwrap()
}

/// What `run` finds where nothing is recorded.
fn without_graphs<E: Float, R>(be: &Cuda<E>, run: impl Fn() -> R) -> R {
    let mut found = None;
    // Steps within a step are launched one by one.
    be.repeat(1, &mut found, |found| *found = Some(run()), |_| Ok(false)).unwrap();
    found.unwrap()
}

/// The kernels that the host launched, and those of each graph that it launched.
fn launches<E: Float>(reader: &Reader<Cuda<E>>, run: impl Fn(&Reader<Cuda<E>>)) -> (Vec<String>, Vec<Vec<String>>) {
    let emulator = glimmer_emulator::open().unwrap();
    emulator.forget().unwrap();
    run(reader);
    let (mut alone, mut graphs, mut newest) = (Vec::new(), Vec::<Vec<String>>::new(), None);
    for launch in emulator.launches().unwrap() {
        match launch.graph {
            None => alone.push(launch.kernel),
            Some(number) => {
                if newest.replace(number) != Some(number) {
                    graphs.push(Vec::new());
                }
                graphs.last_mut().unwrap().push(launch.kernel);
            }
        }
    }
    (alone, graphs)
}

fn a_graph_is_its_launches<E: Float>() {
    let reader = reader(machine::<E>());
    let found = read(&reader, MAX_TOKENS);
    assert!(found.iter().any(|reading| reading.answer.len() == MAX_TOKENS), "no answer goes on: {found:?}");
    assert_eq!(without_graphs(&reader.be, || read(&reader, MAX_TOKENS)), found);
    assert_silent();
}

#[test]
fn in_f32_graphs_change_nothing() {
    a_graph_is_its_launches::<f32>();
    let [found, wanted] =
        [read(&reader(machine::<f32>()), MAX_TOKENS), read(&reader(Cpu::<f32>::default()), MAX_TOKENS)];
    let answers = |readings: &[Reading]| readings.iter().map(|reading| reading.answer.clone()).collect::<Vec<_>>();
    assert_eq!(answers(&found), answers(&wanted), "the CPU's answers");
}

#[test]
fn in_bf16_graphs_change_nothing() {
    a_graph_is_its_launches::<bf16>();
}

fn a_step_is_a_launch<E: Float>() {
    let (_, be) = emulated_machine::<E>();
    let reader = reader(be);
    let (of_one_token, none) = launches(&reader, |reader| drop(read(reader, 1)));
    assert!(none.is_empty(), "a step that is not repeated is not recorded");
    let (alone, graphs) = launches(&reader, |reader| drop(read(reader, MAX_TOKENS)));
    assert_eq!(alone, of_one_token, "the host launches the first step");
    assert_eq!(graphs.len(), MAX_TOKENS - 1, "and a graph for each of the others");
    for graph in &graphs {
        assert_eq!(graph[..], alone[alone.len() - graph.len()..], "a step is a step");
    }

    let (alone, graphs) = launches(&reader, |reader| drop(without_graphs(&reader.be, || read(reader, MAX_TOKENS))));
    assert!(graphs.is_empty() && alone.len() > of_one_token.len());
    assert_silent();
}

#[test]
fn in_f32_an_emulated_step_is_a_launch() {
    a_step_is_a_launch::<f32>();
}

#[test]
fn in_bf16_an_emulated_step_is_a_launch() {
    a_step_is_a_launch::<bf16>();
}

/// Embedding, seven launches a layer and one more, norm, logits in two.
#[test]
fn an_emulated_layer_of_the_decoder_is_eight() {
    let (_, be) = emulated_machine::<bf16>();
    let reader = reader(be);
    let (_, graphs) = launches(&reader, |reader| drop(read(reader, 2)));
    assert_eq!(graphs[0].len(), 1 + 2 * 8 + 3, "{:?}", graphs[0]);
}

/// What steps leave behind is nothing.
#[test]
fn memory_comes_back() {
    let be = machine::<f32>();
    let reader = reader(be);
    let left = || {
        read(&reader, MAX_TOKENS);
        cudarc::driver::result::mem_get_info().unwrap().0
    };
    let first = left();
    assert_eq!(left(), first);
}

/// A step that takes more memory when it is recorded is refused, and the machine goes on.
#[test]
fn steps_are_alike() {
    let be = machine::<f32>();
    let matrix = |rows: usize| Mat::upload(&be, rows, 4, vec![1.0; rows * 4]);
    let (x, narrow, wide) = (matrix(1), matrix(3), matrix(5));
    let done = Cell::new(0);
    let step = |y: &mut Mat<Cuda<f32>>| {
        done.set(done.get() + 1);
        *y = be.linear(&x, if done.get() == 1 { &narrow } else { &wide });
    };
    let mut y = matrix(1);
    let error = be.repeat(3, &mut y, step, |y| y.download(&be).map(|_| true)).unwrap_err().to_string();
    assert!(error.contains("takes 20 bytes more than the one before it"), "{error}");
    assert_eq!(be.linear(&x, &wide).download(&be).unwrap(), [4.0; 5]);
}

/// A panic while a step is recorded leaves the machine as it was.
#[test]
fn a_panic_ends_the_recording() {
    let be = machine::<f32>();
    let x = Mat::upload(&be, 1, 4, vec![1.0; 4]);
    let done = Cell::new(0);
    let step = |_: &mut ()| {
        be.linear(&x, &x);
        done.set(done.get() + 1);
        assert!(done.get() < 2, "the second step");
    };
    let panics = || be.repeat(3, &mut (), step, |()| Ok(true));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert_eq!(be.linear(&x, &x).download(&be).unwrap(), [4.0]);
}
