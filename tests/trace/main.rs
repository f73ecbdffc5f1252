//! The forward and the backward pass against numbers made by Hugging Face's T5 and a plain PyTorch GLIMMER, in `reference/`.

#[path = "../common/mod.rs"]
mod common;
mod gradients;
mod rounded;

use std::path::{Path, PathBuf};

use common::{assert_close, emulated, round};
use glimmer::backend::{Backend, Mat};
use glimmer::cpu::{Cpu, Packing, Real};
use glimmer::io::Checkpoint;
use glimmer::model::Reader;
use glimmer::nn::Tree;
use glimmer::random;
use glimmer::trace::{Inputs, Tensor, Values, trace};
use half::bf16;

/// Tokens of the references' greedy answers.
const MAX_TOKENS: usize = 8;
const FOLDERS: [&str; 5] = ["tiny", "tiny_mean", "fid", "lumen", "wide"];

fn reference(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(folder)
}

fn read_inputs(folder: &str) -> Inputs {
    Inputs::read(&reference(folder).join("inputs.safetensors")).unwrap()
}

fn load<B: Backend>(be: B, folder: &str) -> Reader<B> {
    Reader::load(be, &reference(folder), |config| Ok(config.glimmer.clone().unwrap())).unwrap()
}

/// A reference's reader in exact arithmetic, with weights of bf16's precision: rounded to the nearest, or as far off as
/// that may be, at random. How far its numbers are from the reference is bf16's floor: no program that is given such weights
/// can know better.
fn load_rounded(folder: &str, rounding: Rounding) -> Reader<Cpu<f64>> {
    let mut reader = load(Cpu::<f64>::default(), folder);
    for (place, weight) in (0..).zip(reader.weights.leaves_mut()) {
        let drawn = |(i, x): (u64, f64)| match rounding {
            Rounding::Nearest => round::<bf16>(x),
            Rounding::Drawn(seed) => {
                x + (random::uniform(seed, place, i) - 0.5) * 2f64.powf(x.abs().log2().floor() - 7.0)
            }
        };
        let values = (0..).zip(weight.download(&reader.be).unwrap()).map(drawn).collect();
        *weight = Mat::upload(&reader.be, weight.rows, weight.cols, values);
    }
    reader
}

/// How weights come to have bf16's precision.
#[derive(Clone, Copy)]
enum Rounding {
    Nearest,
    Drawn(u64),
}

/// The floor is the worst of these: what one of them does to a single number may be nothing, by chance.
const ROUNDINGS: [Rounding; 4] = [Rounding::Nearest, Rounding::Drawn(1), Rounding::Drawn(2), Rounding::Drawn(3)];

/// How much farther than the floor bf16 may be from the reference, where that is farther than what is stated of it: between
/// two weights an activation is rounded more than once.
const TIMES_FLOOR: f64 = 2.5;

/// What bf16 found and what is wanted of it, beside the floor.
struct Beside {
    what: String,
    found: f64,
    floor: f64,
}

impl Beside {
    /// Asserts of all of them that they are within `bound`, or within [`TIMES_FLOOR`] times the floor. NaN is not.
    fn assert_all(all: &[Self], bound: f64) {
        let line = |Self { what, found, floor }: &Self| format!("{what}: {found:.1e} off, the floor is {floor:.1e}\n");
        println!("{}", all.iter().map(line).collect::<String>());
        let is_near = |beside: &Self| beside.found <= bound.max(TIMES_FLOOR * beside.floor);
        let far: String = all.iter().filter(|beside| !is_near(beside)).map(line).collect();
        assert!(far.is_empty(), "farther than {bound:.0e} and {TIMES_FLOOR} times the floor:\n{far}");
    }
}

/// `‖found − wanted‖ / ‖wanted‖`.
fn distance(found: &[f64], wanted: &[f64]) -> f64 {
    let error: Vec<f64> = found.iter().zip(wanted).map(|(a, b)| a - b).collect();
    norm(&error) / norm(wanted)
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn reals(tensor: &Tensor) -> &[f64] {
    let Values::Real(values) = &tensor.values else { panic!("{} is whole", tensor.name) };
    values
}

/// Every tensor against the reference, the reals within `bound`.
fn matches_reference<B: Backend>(be: impl Fn() -> B, bound: f64) {
    for folder in FOLDERS {
        let traced = Traced::new(&be, folder);
        for (tensor, wanted) in traced.pairs() {
            traced.assert_matches(tensor, wanted, bound);
        }
    }
}

/// A forward pass over a reference's inputs, and what is expected of it.
struct Traced {
    folder: &'static str,
    inputs: Inputs,
    found: Vec<Tensor>,
    expected: Checkpoint,
}

impl Traced {
    fn new<B: Backend>(be: impl Fn() -> B, folder: &'static str) -> Self {
        Self::of(&load(be(), folder), folder, read_inputs(folder))
    }

    fn of<B: Backend>(reader: &Reader<B>, folder: &'static str, inputs: Inputs) -> Self {
        let expected = Checkpoint::open_file(&reference(folder).join("expected.safetensors")).unwrap();
        Self { folder, found: trace(reader, &inputs, MAX_TOKENS).unwrap(), inputs, expected }
    }

    fn found(&self, name: &str) -> &Tensor {
        let tensor = self.found.iter().find(|tensor| tensor.name == name);
        tensor.unwrap_or_else(|| panic!("{}: no {name}", self.folder))
    }

    /// Each tensor found, and what is wanted of it.
    fn pairs(&self) -> impl Iterator<Item = (&Tensor, Values)> {
        self.expected.names().filter(|name| !name.starts_with("grad.")).map(|name| {
            let tensor = self.found(name);
            assert_eq!(tensor.shape, self.expected.shape(name).unwrap(), "{}: {name}", self.folder);
            let wanted = match tensor.values {
                Values::Integer(_) => Values::Integer(self.expected.read_i32(name).unwrap().1),
                Values::Real(_) => Values::Real(self.expected.read_any(name).unwrap().1),
            };
            (tensor, wanted)
        })
    }

    fn assert_matches(&self, tensor: &Tensor, wanted: Values, bound: f64) {
        let what = format!("{}: {}", self.folder, tensor.name);
        match (&tensor.values, wanted) {
            (Values::Integer(found), Values::Integer(wanted)) => assert_eq!(*found, wanted, "{what}"),
            (Values::Real(found), Values::Real(wanted)) => assert_close(&what, found, &wanted, bound),
            _ => unreachable!("they are of one kind"),
        }
    }
}

fn cpu_matches_reference<T: Real>(bound: f64) {
    matches_reference(Cpu::<T>::default, bound);
}

#[test]
fn f32_matches_the_reference() {
    cpu_matches_reference::<f32>(2e-5);
}

#[test]
fn f32_with_packed_weights_matches_the_reference() {
    matches_reference(|| Cpu::packing(Packing::F32), 2e-5);
}

#[test]
fn f64_matches_the_reference() {
    cpu_matches_reference::<f64>(1e-6);
}

#[test]
fn emulated_f32_matches_the_reference() {
    matches_reference(emulated::machine::<f32>, 2e-5);
}
