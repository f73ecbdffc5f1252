use super::*;
use proptest::prelude::*;
use safetensors::tensor::{TensorView, serialize};

/// A file of given header text, claimed header length and data.
fn raw(header: &[u8], claimed: u64, data: &[u8]) -> Vec<u8> {
    [&claimed.to_le_bytes(), header, data].concat()
}

fn header_of(json: &str, data: usize) -> Vec<u8> {
    raw(json.as_bytes(), json.len() as u64, &vec![0; data])
}

fn complaint(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let said = format!("{:#}", Checkpoint::open(folder.path()).unwrap_err());
    assert!(said.contains("model.safetensors"), "{said}");
    said
}

/// A checkpoint of one tensor `w`, as another writer of the format has it.
fn one(dtype: Dtype, shape: &[usize], data: &[u8]) -> (tempfile::TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let view = TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let bytes = serialize([("w", view)], None).unwrap();
    std::fs::write(folder.path().join("weights.safetensors"), bytes).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    (folder, checkpoint)
}

fn le<T: bytemuck::NoUninit>(values: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

#[test]
fn every_float_type_reads_as_both_precisions() {
    let values = [1.5, -0.25, 1024.0, 0.0, -3.0, 0.0078125];
    let stored = [
        (Dtype::F32, le(&values.map(|v| v as f32))),
        (Dtype::F64, le(&values)),
        (Dtype::F16, le(&values.map(f16::from_f64))),
        (Dtype::BF16, le(&values.map(bf16::from_f64))),
    ];
    for (dtype, bytes) in stored {
        let (_folder, checkpoint) = one(dtype, &[2, 3], &bytes);
        assert_eq!(checkpoint.read::<f64>("w", &[2, 3]).unwrap(), values);
        assert_eq!(checkpoint.read::<f32>("w", &[2, 3]).unwrap(), values.map(|v| v as f32));
        assert_eq!(checkpoint.read_any("w").unwrap(), (vec![2, 3], values.to_vec()));
    }
}

#[test]
fn integers_read_in_range_only() {
    let (_folder, narrow) = one(Dtype::I32, &[2], &le(&[-7i32, i32::MAX]));
    assert_eq!(narrow.read_i32("w").unwrap(), (vec![2], vec![-7, i32::MAX]));
    assert_eq!(narrow.read_any("w").unwrap().1, [-7.0, f64::from(i32::MAX)]);
    let (_folder, wide) = one(Dtype::I64, &[2], &le(&[-7i64, 1 << 40]));
    assert!(format!("{:#}", wide.read_i32("w").unwrap_err()).contains("1099511627776"));
    assert!(wide.read_any("w").is_err());
    let (_folder, fits) = one(Dtype::I64, &[2], &le(&[-7i64, i64::from(i32::MIN)]));
    assert_eq!(fits.read_i32("w").unwrap().1, [-7, i32::MIN]);
    assert_eq!(fits.read_any("w").unwrap().1, [-7.0, f64::from(i32::MIN)]);
}

#[test]
fn a_tensor_larger_than_a_chunk_reads_whole() {
    let values: Vec<f32> = (0..CHUNK_BYTES / 4 + 3).map(|i| i as f32).collect();
    let (_folder, checkpoint) = one(Dtype::F32, &[values.len()], &le(&values));
    assert!(checkpoint.read::<f32>("w", &[values.len()]).unwrap() == values);
}

#[test]
fn a_wrong_request_names_the_tensor_and_both_sides() {
    let (_folder, checkpoint) = one(Dtype::I32, &[2, 3], &[0; 24]);
    let said = |error: anyhow::Error| format!("{error:#}");
    let absent = said(checkpoint.read::<f32>("v", &[2]).unwrap_err());
    assert!(absent.contains("no tensor v") && absent.contains("config.json"), "{absent}");
    let shape = said(checkpoint.read::<f32>("w", &[3, 2]).unwrap_err());
    assert!(shape.contains("[2, 3]") && shape.contains("[3, 2]"), "{shape}");
    let dtype = said(checkpoint.read::<f32>("w", &[2, 3]).unwrap_err());
    assert!(dtype.contains("I32") && dtype.contains("weights.safetensors"), "{dtype}");
    let (_folder, floats) = one(Dtype::F32, &[1], &[0; 4]);
    assert!(said(floats.read_i32("w").unwrap_err()).contains("F32"));
}

#[test]
fn a_file_cut_short_after_opening_is_an_error() {
    let (folder, checkpoint) = one(Dtype::F32, &[64], &[0; 256]);
    let path = folder.path().join("weights.safetensors");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(100).unwrap();
    let said = format!("{:#}", checkpoint.read::<f32>("w", &[64]).unwrap_err());
    assert!(said.contains("tensor w") && said.contains("cut short"), "{said}");
}

#[test]
fn hostile_headers_are_errors() {
    assert!(complaint(b"").contains("0 bytes"));
    assert!(complaint(b"1234567").contains("7 bytes"));
    assert!(complaint(&raw(b"{}", 1 << 60, b"")).contains("claims"));
    assert!(complaint(&raw(b"{}", u64::MAX, b"")).contains("claims"));
    assert!(complaint(&raw(b"{}", 50, b"")).contains("the file has 10"));
    assert!(complaint(&header_of("not json", 0)).contains("damaged"));
    assert!(complaint(&raw(b"{\"\xff\xfe\":1}", 8, b"")).contains("damaged"));
    assert!(complaint(&raw(&[b'['; 5000], 5000, b"")).contains("damaged"));
    assert!(complaint(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
}

#[test]
fn hostile_offsets_and_shapes_are_errors() {
    let tensor = |shape: &str, begin: u64, end: u64| {
        format!("{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}")
    };
    let cases = [
        (format!("{{\"a\":{},\"b\":{}}}", tensor("[2]", 0, 8), tensor("[2]", 4, 12)), 12),
        (format!("{{\"a\":{},\"b\":{}}}", tensor("[2]", 0, 8), tensor("[2]", 12, 20)), 20),
        (format!("{{\"a\":{}}}", tensor("[4294967296,4294967296]", 0, 8)), 8),
        (format!("{{\"a\":{}}}", tensor("[2]", 8, 0)), 8),
        (format!("{{\"a\":{}}}", tensor("[3]", 0, 8)), 8),
        (format!("{{\"a\":{}}}", tensor("[-2]", 0, 8)), 8),
        (format!("{{\"a\":{}}}", tensor("[2]", 0, 8)), 4),
        (format!("{{\"a\":{}}}", tensor("[2]", 0, 8)), 9),
        (format!("{{\"a\":{}}}", tensor("[4611686018427387903]", 0, u64::MAX - 3)), 8),
        (format!("{{\"a\":{0},\"a\":{0}}}", tensor("[2]", 0, 8)), 16),
        (tensor("[2]", 0, 8), 8),
    ];
    for (json, data) in cases {
        complaint(&header_of(&json, data));
    }
}

#[test]
fn shards_are_found_through_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, tensor: &str, value: f32| {
        let tensors = [(tensor.to_string(), vec![1], Stored::F32(&[value]))];
        write_tensors(&folder.path().join(name), &BTreeMap::new(), &tensors).unwrap();
    };
    write("model-00001-of-00002.safetensors", "a", 1.0);
    write("model-00002-of-00002.safetensors", "b", 2.0);
    let index = |second: &str, shard: &str| {
        let text =
            format!("{{\"weight_map\":{{\"a\":\"model-00001-of-00002.safetensors\",\"{second}\":\"{shard}\"}}}}");
        std::fs::write(folder.path().join("model.safetensors.index.json"), text).unwrap();
        Checkpoint::open(folder.path())
    };
    let whole = index("b", "model-00002-of-00002.safetensors").unwrap();
    assert_eq!(whole.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(whole.read::<f32>("b", &[1]).unwrap(), [2.0]);
    assert_eq!(whole.read::<f32>("a", &[1]).unwrap(), [1.0]);
    let missing = format!("{:#}", index("b", "model-00003.safetensors").unwrap_err());
    assert!(missing.contains("model-00003.safetensors") && missing.contains("index"), "{missing}");
    let absent = format!("{:#}", index("c", "model-00002-of-00002.safetensors").unwrap_err());
    assert!(absent.contains("says that c is in model-00002"), "{absent}");
}

#[test]
fn what_is_written_reads_back_here_and_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let metadata = BTreeMap::from([("step".to_string(), "7".to_string()), ("a".into(), "b".into())]);
    let halves = [bf16::from_f32(0.5), bf16::NAN];
    let tensors = [
        ("half".to_string(), vec![2], Stored::Bf16(&halves)),
        ("double".to_string(), vec![1, 1], Stored::F64(&[0.1])),
        ("empty".to_string(), vec![0, 4], Stored::F32(&[])),
        ("count".to_string(), vec![3], Stored::I32(&[1, -2, 3])),
    ];
    write_tensors(&path, &metadata, &tensors).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut shuffled = tensors.clone();
    shuffled.reverse();
    write_tensors(&path, &metadata, &shuffled).unwrap();
    assert_eq!(bytes, std::fs::read(&path).unwrap());

    let elsewhere = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(elsewhere.tensor("double").unwrap().data(), le(&[0.1f64]));
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.metadata(), &metadata);
    assert_eq!(checkpoint.shape("empty").unwrap(), [0, 4]);
    assert!(checkpoint.contains("half") && !checkpoint.contains("__metadata__"));
    assert!(checkpoint.read::<f32>("empty", &[0, 4]).unwrap().is_empty());
    assert_eq!(checkpoint.read_i32("count").unwrap().1, [1, -2, 3]);
    let read = checkpoint.read::<f32>("half", &[2]).unwrap();
    assert!(read[0] == 0.5 && read[1].is_nan());
}

#[test]
fn tensors_that_contradict_themselves_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let one = |name: &str, shape: Vec<usize>| (name.to_string(), shape, Stored::F32(&[1.0]));
    for tensors in [
        vec![one("w", vec![2])],
        vec![one("w", vec![usize::MAX, 2])],
        vec![one("w", vec![1]), one("w", vec![1])],
        vec![one("__metadata__", vec![1])],
    ] {
        assert!(write_tensors(&path, &BTreeMap::new(), &tensors).is_err());
    }
    assert!(!path.exists());
}

proptest! {
    #[test]
    fn no_bytes_make_opening_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..200, flip: u8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, &bytes).unwrap();
        let _ = Checkpoint::open_file(&path);
        // A good file with one byte changed opens and reads, or says what is wrong.
        let tensors = [("w".to_string(), vec![2, 2], Stored::F32(&[1.0, 2.0, 3.0, 4.0]))];
        write_tensors(&path, &BTreeMap::new(), &tensors).unwrap();
        bytes = std::fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(checkpoint) = Checkpoint::open_file(&path) {
            for name in checkpoint.names() {
                let _ = checkpoint.read_any(name);
            }
        }
    }
}
