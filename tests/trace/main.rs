//! The forward and the backward pass against numbers made by Hugging Face's T5 and a plain PyTorch GLIMMER, in `reference/`.

#[path = "../common/mod.rs"]
mod common;
mod gradients;
mod rounded;

use std::path::{Path, PathBuf};

use common::{assert_close, emulated};
use glimmer::backend::Backend;
use glimmer::cpu::{Cpu, Real};
use glimmer::io::Checkpoint;
use glimmer::model::Reader;
use glimmer::trace::{Inputs, Tensor, Values, trace};

/// Tokens of the references' greedy answers.
const MAX_TOKENS: usize = 8;
const FOLDERS: [&str; 5] = ["tiny", "tiny_mean", "fid", "lumen", "wide"];

fn reference(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(folder)
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
        Self::of(be, folder, Inputs::read(&reference(folder).join("inputs.safetensors")).unwrap())
    }

    fn of<B: Backend>(be: impl Fn() -> B, folder: &'static str, inputs: Inputs) -> Self {
        let path = reference(folder);
        let reader = Reader::load(be(), &path, |config| Ok(config.glimmer.clone().unwrap())).unwrap();
        let expected = Checkpoint::open_file(&path.join("expected.safetensors")).unwrap();
        Self { folder, found: trace(&reader, &inputs, MAX_TOKENS).unwrap(), inputs, expected }
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
fn f64_matches_the_reference() {
    cpu_matches_reference::<f64>(1e-6);
}

#[test]
fn emulated_f32_matches_the_reference() {
    matches_reference(emulated::machine::<f32>, 2e-5);
}
