//! The forward pass against numbers made by Hugging Face's T5 and a plain PyTorch GLIMMER, in `reference/`.

mod common;

use std::path::{Path, PathBuf};

use common::assert_close;
use glimmer::backend::Backend;
use glimmer::cpu::{Cpu, Real};
use glimmer::io::Checkpoint;
use glimmer::model::Reader;
use glimmer::trace::{Inputs, Values, trace};

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
