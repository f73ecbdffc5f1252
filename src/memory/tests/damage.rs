//! Bytes that change on disk: never a panic, never wrong rows from a store that opens and verifies.

use super::*;

fn finished() -> tempfile::TempDir {
    let folder = new_folder();
    build(folder.path(), Format::Int8, 0..7);
    remove(folder.path(), &[id(2)]).unwrap();
    folder
}

/// Runs `look` on a copy of the store with one of its files changed.
fn with_file(before: &Path, name: &str, bytes: &[u8], look: impl FnOnce(&Path)) {
    let folder = new_folder();
    copy_folder(before, folder.path());
    std::fs::write(folder.path().join(name), bytes).unwrap();
    look(folder.path());
}

#[test]
fn a_flipped_bit_in_a_shard_is_found_and_its_passage_named() {
    let before = finished();
    let store = Store::open(before.path(), ENCODER).unwrap();
    let owners: Vec<_> = store.catalog.entries(&store.index).map(|(_, entry)| entry).collect();
    for (name, bytes) in snapshot(before.path()).iter().filter(|(name, _)| name.starts_with("rows")) {
        let number: u32 = name[5..10].parse().unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            with_file(before.path(), name, &damaged, |folder| {
                let store = Store::open(folder, ENCODER).unwrap();
                let found = store.verify(&Progress::hidden()).unwrap();
                let owner = owners.iter().find(|entry| {
                    let end = entry.offset + store.catalog.passage_bytes(entry);
                    entry.shard == number && (entry.offset..end).contains(&(at as u64))
                });
                let bad: Vec<_> = found.bad.iter().map(|bad| (bad.id.as_str(), bad.shard)).collect();
                // A removed passage's bytes are nobody's.
                assert_eq!(bad, owner.map(|entry| (entry.id, number)).into_iter().collect::<Vec<_>>(), "byte {at}");
                assert_eq!(found.is_sound(), bad.is_empty());
                let ids: Vec<&str> = store.ids().collect();
                let all = store.read_all(&ids);
                assert_eq!(all.map_or(0, |all| all.len()), if bad.is_empty() { ids.len() } else { 0 });
                for id in ids {
                    let read = store.read(id);
                    assert_eq!(read.is_err(), bad.iter().any(|(bad, _)| *bad == id), "byte {at}, {id}");
                    assert!(read.is_ok() || message(read).contains(id));
                }
            });
        }
    }
}

#[test]
fn a_flipped_bit_in_the_index_is_an_error() {
    let before = finished();
    let index = std::fs::read(before.path().join("index-00000.bin")).unwrap();
    for at in 0..index.len() {
        let mut damaged = index.clone();
        damaged[at] ^= 1 << (at % 8);
        with_file(before.path(), "index-00000.bin", &damaged, |folder| {
            let error = message(Store::open(folder, ENCODER));
            assert!(error.contains("index-00000.bin") && error.contains("build again"), "byte {at}: {error}");
            let untouched = snapshot(folder);
            assert!(message(Builder::resume(folder)).contains("build again"), "byte {at}");
            assert_eq!(snapshot(folder), untouched, "nothing is cut off a damaged store");
        });
    }
}

#[test]
fn a_flipped_bit_in_the_header_is_an_error_or_changes_nothing() {
    let before = finished();
    let whole = contents(before.path());
    let header = std::fs::read(before.path().join("store.json")).unwrap();
    for at in 0..header.len() {
        let mut damaged = header.clone();
        damaged[at] ^= 1 << (at % 8);
        with_file(before.path(), "store.json", &damaged, |folder| match Store::open(folder, ENCODER) {
            Ok(_) => assert_eq!(contents(folder), whole, "byte {at}"),
            Err(error) => assert!(format!("{error:#}").contains("store.json"), "byte {at}: {error:#}"),
        });
    }
}

#[test]
fn files_cut_short_are_an_error_to_readers_and_writers() {
    let before = finished();
    for (name, bytes) in snapshot(before.path()).iter().filter(|(name, _)| *name != "store.lock") {
        for end in 0..bytes.len() - usize::from(name == "store.json") {
            with_file(before.path(), name, &bytes[..end], |folder| {
                let error = message(Store::open(folder, ENCODER));
                assert!(error.contains(name.as_str()), "{name} cut at {end}: {error}");
                assert!(message(Builder::resume(folder)).contains(name.as_str()));
                assert_eq!(std::fs::read(folder.join(name)).unwrap().len(), end, "nothing more was lost");
            });
        }
    }
}

#[test]
fn missing_files_are_named() {
    let before = finished();
    for name in ["index-00000.bin", "rows-00000.bin", "rows-00001.bin"] {
        let folder = new_folder();
        copy_folder(before.path(), folder.path());
        std::fs::remove_file(folder.path().join(name)).unwrap();
        assert!(message(Store::open(folder.path(), ENCODER)).contains(name));
        assert!(message(Builder::resume(folder.path())).contains(&format!("{name} is missing")));
    }
    let folder = new_folder();
    copy_folder(before.path(), folder.path());
    std::fs::remove_file(folder.path().join("store.json")).unwrap();
    assert!(message(Store::open(folder.path(), ENCODER)).contains("has no store.json"));
    let error = message(Builder::open_or_resume(folder.path(), spec(Format::Int8)));
    assert!(error.contains("is in the way") && error.contains("its store.json is gone"), "{error}");
}

#[test]
fn damage_between_commits_of_an_unfinished_build_is_not_taken_for_a_kill() {
    let before = new_folder();
    let mut builder = Builder::create(before.path(), spec(Format::Bf16)).unwrap();
    for n in 0..3 {
        add_missing(&mut builder, [n]).unwrap();
        builder.commit().unwrap();
    }
    drop(builder);
    let index = std::fs::read(before.path().join("index-00000.bin")).unwrap();
    let mut damaged = index.clone();
    damaged[90] ^= 1; // in the first of three frames
    with_file(before.path(), "index-00000.bin", &damaged, |folder| {
        let error = message(Builder::resume(folder));
        assert!(error.contains("sound again later"), "{error}");
        assert_eq!(std::fs::read(folder.join("index-00000.bin")).unwrap(), damaged);
    });
}

#[test]
fn files_of_two_stores_do_not_mix() {
    let (one, other) = (finished(), new_folder());
    let mut builder = Builder::create(other.path(), Spec::new(WIDTH, Format::Int8, "another")).unwrap();
    add_missing(&mut builder, 0..6).unwrap();
    builder.finish().unwrap();
    for name in ["index-00000.bin", "store.json"] {
        let bytes = std::fs::read(other.path().join(name)).unwrap();
        with_file(one.path(), name, &bytes, |folder| {
            for fingerprint in [ENCODER, "another"] {
                message(Store::open(folder, fingerprint));
            }
        });
    }
}

#[test]
fn an_index_of_the_same_shape_and_other_contents_is_refused() {
    let (one, other) = (new_folder(), new_folder());
    for (folder, value) in [(&one, 1.0), (&other, 2.0)] {
        let mut builder = Builder::create(folder.path(), spec(Format::Bf16)).unwrap();
        builder.add("a", &[value; WIDTH]).unwrap();
        builder.finish().unwrap();
    }
    let index = std::fs::read(other.path().join("index-00000.bin")).unwrap();
    with_file(one.path(), "index-00000.bin", &index, |folder| {
        assert!(message(Store::open(folder, ENCODER)).contains("index-00000.bin"));
        assert!(message(Builder::resume(folder)).contains("index-00000.bin"));
    });
}

#[test]
fn a_stopped_verification_says_how_far_it_came() {
    let before = finished();
    let store = Store::open(before.path(), ENCODER).unwrap();
    let found = store.verify_until(&Progress::hidden(), || true).unwrap();
    assert_eq!((found.checked, found.passages), (0, 6));
    assert!(!found.is_sound());
}
