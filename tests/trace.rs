//! The forward and the backward pass against numbers made by Hugging Face's T5 and a plain PyTorch GLIMMER, in `reference/`.

mod common;

use std::path::{Path, PathBuf};

use common::assert_close;
use glimmer::backend::{Backend, Backward};
use glimmer::cpu::{Cpu, Real};
use glimmer::io::Checkpoint;
use glimmer::model::Reader;
use glimmer::nn::Recompute;
use glimmer::trace::{Inputs, Values, trace, trace_gradients};

const FOLDERS: [&str; 5] = ["tiny", "tiny_mean", "fid", "lumen", "wide"];

fn reference(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(folder)
}

fn matches_reference<B: Backend>(be: impl Fn() -> B, bound: f64) {
    for folder in FOLDERS {
        let path = reference(folder);
        let inputs = Inputs::read(&path.join("inputs.safetensors")).unwrap();
        let reader = Reader::load(be(), &path, |config| Ok(config.glimmer.clone().unwrap())).unwrap();
        let expected = Checkpoint::open_file(&path.join("expected.safetensors")).unwrap();
        let found = trace(&reader, &inputs, 8).unwrap();
        for name in expected.names().filter(|name| !name.starts_with("grad.")) {
            let tensor = found.iter().find(|tensor| tensor.name == name);
            let tensor = tensor.unwrap_or_else(|| panic!("{folder}: no {name}"));
            assert_eq!(tensor.shape, expected.shape(name).unwrap(), "{folder}: {name}");
            match &tensor.values {
                Values::Integer(values) => {
                    assert_eq!(*values, expected.read_i32(name).unwrap().1, "{folder}: {name}");
                }
                Values::Real(values) => {
                    let wanted = expected.read_any(name).unwrap().1;
                    assert_close(&format!("{folder}: {name}"), values, &wanted, bound);
                }
            }
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

/// Every gradient against the reference. One that is nothing but rounding there, such as the scorer's where all scores
/// are equal, has to be next to nothing beside the largest here.
fn gradients_match_reference<B: Backward>(be: impl Fn() -> B, recompute: Recompute, bound: f64) {
    for folder in FOLDERS {
        let path = reference(folder);
        let inputs = Inputs::read(&path.join("inputs.safetensors")).unwrap();
        let reader = Reader::load(be(), &path, |config| Ok(config.glimmer.clone().unwrap())).unwrap();
        let expected = Checkpoint::open_file(&path.join("expected.safetensors")).unwrap();
        let found = trace_gradients(&reader, &inputs, recompute).unwrap();
        let wanted = |name: &str| expected.read_any(name).unwrap().1;
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let largest = found.iter().map(|tensor| norm(&wanted(&tensor.name))).fold(0.0, f64::max);
        let names = expected.names().filter(|name| name.starts_with("grad."));
        assert_eq!(names.count(), found.len(), "{folder}: a gradient for each parameter");
        for tensor in &found {
            let name = &tensor.name;
            assert_eq!(tensor.shape, expected.shape(name).unwrap(), "{folder}: {name}");
            let Values::Real(values) = &tensor.values else { panic!("gradients are real") };
            let wanted = wanted(name);
            if norm(&wanted) > 1e-12 * largest {
                assert_close(&format!("{folder}: {name}"), values, &wanted, bound);
            } else {
                let size = norm(values);
                assert!(size <= bound * largest, "{folder}: {name} is {size:e}, not nothing beside {largest:e}");
            }
        }
    }
}

#[test]
fn f32_gradients_match_the_reference() {
    gradients_match_reference(Cpu::<f32>::default, Recompute::Nothing, 1e-4);
}

#[test]
fn f64_gradients_match_the_reference() {
    gradients_match_reference(Cpu::<f64>::default, Recompute::Nothing, 1e-6);
}

#[test]
fn layers_that_run_again_have_the_same_gradients() {
    gradients_match_reference(Cpu::<f64>::default, Recompute::Layers, 1e-6);
}
