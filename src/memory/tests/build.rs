//! Building, reading, and what both refuse.

use proptest::prelude::*;

use super::*;

#[test]
fn what_was_added_is_read_back() {
    for format in [Format::Bf16, Format::Int8] {
        let folder = new_folder();
        build(folder.path(), format, 0..40);
        let store = Store::open(folder.path(), ENCODER).unwrap();
        assert_eq!((store.len(), store.format(), store.width()), (40, format, WIDTH));
        assert!(store.ids().eq((0..40).map(id)));
        let mut tokens = 0;
        for n in 0..40 {
            let found = store.get(&id(n)).unwrap();
            assert_eq!(found.tokens * found.width, rows(n).len());
            let mut values = vec![f32::NAN; rows(n).len()];
            found.write_f32(&mut values).unwrap();
            for (x, y) in rows(n).iter().zip(&values) {
                assert!((x - y).abs() <= 0.5 + 1e-4, "{x} came back as {y}");
            }
            tokens += found.tokens as u64;
        }
        assert_eq!(store.tokens(), tokens);
        assert_eq!(store.get("absent"), None);
        assert!(!store.contains("absent"));
        assert!(store.bytes_per_passage() > 64.0);
    }
}

#[test]
fn a_store_can_be_read_from_many_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Store>();
}

#[test]
fn shards_are_closed_at_their_size() {
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..40);
    let shards: Vec<_> = snapshot(folder.path()).into_iter().filter(|(name, _)| name.starts_with("rows")).collect();
    assert!(shards.len() > 5);
    assert!(shards.iter().all(|(_, bytes)| bytes.len() <= 256));

    let large = vec![1.0; 100 * WIDTH];
    let mut builder = Builder::open_or_resume(folder.path(), spec(Format::Bf16)).unwrap();
    builder.add("large", &large).unwrap();
    builder.add("small", &large[..WIDTH]).unwrap();
    builder.finish().unwrap();
    let found = contents(folder.path());
    assert_eq!(found["large"].len(), 832);
    assert_eq!(found["small"].len(), 64);
}

#[test]
fn an_interrupted_build_goes_on_and_says_what_it_found() {
    let folder = new_folder();
    let mut builder = Builder::create(folder.path(), spec(Format::Int8)).unwrap();
    add_missing(&mut builder, 0..5).unwrap();
    builder.commit().unwrap();
    add_missing(&mut builder, 5..9).unwrap();
    assert_eq!(builder.len(), 9);
    drop(builder);
    assert!(message(Store::open(folder.path(), ENCODER)).contains("is not finished: resume the build with"));

    let mut builder = Builder::resume(folder.path()).unwrap();
    assert_eq!(builder.recovery().passages, 5);
    assert!(builder.recovery().cut_bytes >= 64 * 4);
    assert!(builder.contains(&id(4)) && !builder.contains(&id(5)));
    add_missing(&mut builder, 0..9).unwrap();
    builder.finish().unwrap();
    assert_eq!(contents(folder.path()), expected(Format::Int8, 0..9));
}

#[test]
fn the_size_is_known_before() {
    let folder = new_folder();
    let mut builder = Builder::create(folder.path(), Spec::new(32, Format::Bf16, ENCODER)).unwrap();
    for n in 1..20 {
        builder.add(&id(n), &vec![n as f32; n * 32]).unwrap();
    }
    builder.finish().unwrap();
    let totals =
        Totals { passages: 19, tokens: (1..20).sum(), id_bytes: (1..20).map(|n| id(n as usize).len() as u64).sum() };
    let store = Store::open(folder.path(), ENCODER).unwrap();
    assert_eq!(estimate(&totals, 32, Format::Bf16), store.bytes());
    let files = snapshot(folder.path());
    let on_disk: usize = files.iter().filter(|(name, _)| name.ends_with(".bin")).map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(on_disk as u64, store.bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_size_known_before_is_never_too_small(
        tokens in proptest::collection::vec(1usize..9, 1..9),
        width in 1usize..40,
        format in prop_oneof![Just(Format::Bf16), Just(Format::Int8)],
    ) {
        let folder = new_folder();
        let mut builder = Builder::create(folder.path(), Spec::new(width, format, ENCODER)).unwrap();
        for (n, tokens) in tokens.iter().enumerate() {
            builder.add(&format!("{n}"), &vec![1.0; tokens * width]).unwrap();
        }
        builder.finish().unwrap();
        let passages = tokens.len() as u64;
        let totals = Totals { passages, tokens: tokens.iter().sum::<usize>() as u64, id_bytes: passages };
        let (said, is) = (estimate(&totals, width, format), Store::open(folder.path(), ENCODER).unwrap().bytes());
        prop_assert!(is <= said && said <= is + 66 * passages, "said {said}, is {is}");
    }
}

#[test]
fn bad_passages_are_refused_and_the_store_stays_as_it_was() {
    let folder = new_folder();
    let mut builder = Builder::create(folder.path(), spec(Format::Bf16)).unwrap();
    builder.add("a", &[1.0; WIDTH]).unwrap();
    assert!(message(builder.add("a", &[1.0; WIDTH])).contains("passage \"a\" is in the store already"));
    assert!(message(builder.add("", &[1.0; WIDTH])).contains("empty id"));
    assert!(message(builder.add(&"x".repeat(65_536), &[1.0; WIDTH])).contains("65536 bytes"));
    assert!(message(builder.add("b", &[])).contains("passage \"b\": no rows"));
    assert!(message(builder.add("b", &[1.0; 6])).contains("passage \"b\": 6 values are not a whole number"));
    let error = message(builder.add("b", &[1.0, 1.0, 1.0, 1.0, f32::NAN, 1.0, 1.0, 1.0]));
    assert!(error.contains("passage \"b\": token 1 has the value NaN"), "{error}");
    builder.add(&"x".repeat(65_535), &[1.0; WIDTH]).unwrap();
    builder.finish().unwrap();
    assert_eq!(contents(folder.path()).len(), 2);
}

#[test]
fn an_empty_store_opens() {
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..0);
    let store = Store::open(folder.path(), ENCODER).unwrap();
    assert!(store.is_empty() && store.ids().next().is_none());
    assert_eq!(store.bytes_per_passage(), store.bytes() as f64);
}

#[test]
fn another_encoder_or_shape_is_refused() {
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..3);
    let error = message(Store::open(folder.path(), "another"));
    assert!(
        error.contains("\"encoder\"") && error.contains("\"another\"") && error.contains("build a store"),
        "{error}"
    );
    assert_eq!(Store::written_by(folder.path()).unwrap(), ENCODER);
    for other in [
        Spec::new(WIDTH, Format::Bf16, "another"),
        Spec::new(WIDTH, Format::Int8, ENCODER),
        Spec::new(WIDTH + 1, Format::Bf16, ENCODER),
    ] {
        let error = message(Builder::open_or_resume(folder.path(), other));
        assert!(error.contains("use another folder"), "{error}");
    }
    assert!(message(Builder::create(folder.path(), spec(Format::Bf16))).contains("holds a memory store already"));
    let other_shards = Spec { shard_bytes: 1 << 20, ..spec(Format::Bf16) };
    Builder::open_or_resume(folder.path(), other_shards).unwrap();
}

#[test]
fn folders_that_hold_no_store_are_told_apart() {
    let folder = new_folder();
    let missing = folder.path().join("missing");
    assert!(message(Store::open(&missing, ENCODER)).contains("no memory store in"));
    assert!(message(Builder::resume(&missing)).contains("no memory store in"));
    assert!(message(Store::written_by(folder.path())).contains("no memory store in"));
    assert_eq!(snapshot(folder.path()).len(), 0, "asking leaves nothing behind");
    std::fs::write(folder.path().join("thesis.txt"), "precious").unwrap();
    let error = message(Builder::create(folder.path(), spec(Format::Bf16)));
    assert!(error.contains("thesis.txt is in the way"), "{error}");
    build(&missing.join("deeper"), Format::Bf16, 0..2);
    assert_eq!(contents(&missing.join("deeper")), expected(Format::Bf16, 0..2));
}

#[test]
fn a_second_writer_waits_outside() {
    let folder = new_folder();
    let first = Builder::create(folder.path(), spec(Format::Bf16)).unwrap();
    let error = message(Builder::open_or_resume(folder.path(), spec(Format::Bf16)));
    assert!(error.contains("another writer is at work"), "{error}");
    assert!(message(Builder::resume(folder.path())).contains("another writer"));
    first.finish().unwrap();
    let second = Builder::resume(folder.path()).unwrap();
    assert!(message(remove(folder.path(), &["a"])).contains("another writer"));
    assert!(message(compact(folder.path(), &Progress::hidden())).contains("another writer"));
    Store::open(folder.path(), ENCODER).unwrap();
    drop(second);
    Builder::resume(folder.path()).unwrap();
}

#[test]
fn rows_are_on_the_disk_before_the_records_that_name_them() {
    let folder = new_folder();
    let done = disk::fault::traced(|| build(folder.path(), Format::Bf16, 0..9));
    let mut unflushed = std::collections::BTreeSet::new();
    let (mut frames, mut names) = (0, 0);
    for (what, name) in done {
        let is_index = name.starts_with("index");
        match what {
            "create" => names += 1,
            "write" if is_index && names > 1 => {
                assert!(unflushed.is_empty(), "{unflushed:?} are named too early");
                frames += 1;
            }
            "write" if !is_index => drop(unflushed.insert(name)),
            "sync" => drop(unflushed.remove(&name)),
            _ => {}
        }
    }
    assert_eq!(frames, 1);
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..3);
    let before = snapshot(folder.path());
    let files = before.keys().map(|name| folder.path().join(name));
    let permit =
        |mode| move |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    files.clone().for_each(|file| permit(0o444)(&file));
    permit(0o555)(folder.path());
    assert_eq!(contents(folder.path()), expected(Format::Bf16, 0..3));
    // Permissions bind everyone but root.
    if std::fs::write(folder.path().join("probe"), "").is_err() {
        let error = message(Builder::resume(folder.path()));
        assert!(error.contains("needs a folder that can be written"), "{error}");
        let error = message(Builder::create(&folder.path().join("new"), spec(Format::Bf16)));
        assert!(error.contains("cannot make the folder"), "{error}");
        assert_eq!(snapshot(folder.path()), before);
    }
    permit(0o755)(folder.path());
}
