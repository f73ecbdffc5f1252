//! Adding to a finished store, removing from it, compacting it.

use super::*;

#[test]
fn passages_are_added_to_a_finished_store() {
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..10);
    let before = Store::open(folder.path(), ENCODER).unwrap();

    let mut builder = Builder::open_or_resume(folder.path(), spec(Format::Bf16)).unwrap();
    assert_eq!(builder.len(), 10);
    add_missing(&mut builder, 0..25).unwrap();
    builder.commit().unwrap();
    assert_eq!(contents(folder.path()), expected(Format::Bf16, 0..10), "an edit under way is not seen");
    builder.finish().unwrap();
    assert_eq!(contents(folder.path()), expected(Format::Bf16, 0..25));
    assert_eq!(before.len(), 10, "what is open stays as it was");
    assert!(before.verify(&Progress::hidden()).unwrap().is_sound());
}

#[test]
fn removing_is_all_or_nothing() {
    let folder = new_folder();
    build(folder.path(), Format::Int8, 0..10);
    let error = message(remove(folder.path(), &[id(1), "nobody".into(), id(2), "no one".into()]));
    assert!(error.contains("2 of 4") && error.contains("\"nobody\"") && error.contains("\"no one\""), "{error}");
    assert_eq!(contents(folder.path()), expected(Format::Int8, 0..10));

    remove(folder.path(), &[id(1), id(2), id(1)]).unwrap();
    let left = [0].into_iter().chain(3..10);
    assert_eq!(contents(folder.path()), expected(Format::Int8, left));
    let store = Store::open(folder.path(), ENCODER).unwrap();
    assert_eq!(store.get(&id(1)), None);
    assert_eq!(store.removed_bytes(), expected(Format::Int8, 1..3).values().map(|b| b.len() as u64).sum::<u64>());
    assert!(message(remove(folder.path(), &[id(1)])).contains("not in the store"));
    let many: Vec<_> = (100..150).map(id).collect();
    let error = message(remove(folder.path(), &many));
    assert!(error.contains("50 of 50") && error.contains("and more"), "{error}");
}

#[test]
fn a_removed_passage_can_be_added_anew() {
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..4);
    let mut builder = Builder::resume(folder.path()).unwrap();
    builder.remove(&[id(2)]).unwrap();
    builder.add(&id(2), &rows(3)).unwrap();
    builder.finish().unwrap();
    let found = contents(folder.path());
    assert_eq!(found.len(), 4);
    assert_eq!(found[&id(2)], found[&id(3)]);
}

#[test]
fn an_unfinished_store_is_not_edited() {
    let folder = new_folder();
    drop(Builder::create(folder.path(), spec(Format::Bf16)).unwrap());
    assert!(message(remove(folder.path(), &["a"])).contains("adding was not finished"));
    assert!(message(compact(folder.path(), &Progress::hidden())).contains("adding was not finished"));

    build(folder.path(), Format::Bf16, 0..3);
    let mut builder = Builder::resume(folder.path()).unwrap();
    add_missing(&mut builder, 3..4).unwrap();
    builder.commit().unwrap();
    drop(builder);
    assert!(message(remove(folder.path(), &[id(0)])).contains("adding was not finished"));
    Builder::resume(folder.path()).unwrap().finish().unwrap();
    remove(folder.path(), &[id(0)]).unwrap();
    assert_eq!(contents(folder.path()), expected(Format::Bf16, 1..4));
}

#[test]
fn compacting_gives_the_room_back() {
    for format in [Format::Bf16, Format::Int8] {
        let folder = new_folder();
        build(folder.path(), format, 0..30);
        let whole = snapshot(folder.path());
        let gone: Vec<_> = (0..30).filter(|n| n % 3 == 0 && *n < 18).collect();
        remove(folder.path(), &gone.iter().copied().map(id).collect::<Vec<_>>()).unwrap();
        let before = Store::open(folder.path(), ENCODER).unwrap();
        let removed = before.removed_bytes();
        assert!(removed > 0);

        let done = compact(folder.path(), &Progress::hidden()).unwrap();
        assert!(done.complete && done.shards > 0 && done.freed_bytes > removed, "{done:?}");
        let left = || (0..30).filter(|n| !gone.contains(n));
        assert_eq!(contents(folder.path()), expected(format, left()));
        let after = Store::open(folder.path(), ENCODER).unwrap();
        assert_eq!(after.removed_bytes(), 0);
        let files = snapshot(folder.path());
        let on_disk: usize = files.iter().filter(|(name, _)| name.ends_with(".bin")).map(|(_, b)| b.len()).sum();
        assert_eq!(on_disk as u64, after.bytes());
        let untouched = |name: &&String| files.get(*name) == whole.get(*name) && name.starts_with("rows");
        assert!(whole.keys().filter(untouched).count() > 0, "shards without removed passages are left alone");
        assert!(before.verify(&Progress::hidden()).unwrap().is_sound(), "what is open stays as it was");

        let again = compact(folder.path(), &Progress::hidden()).unwrap();
        assert_eq!(again, Compaction { freed_bytes: 0, shards: 0, complete: true });
        assert_eq!(snapshot(folder.path()), files);
        build(folder.path(), format, 0..30);
        assert_eq!(contents(folder.path()), expected(format, 0..30));
    }
}

#[test]
fn a_last_shard_with_room_left_is_compacted_too() {
    let folder = new_folder();
    let mut builder = Builder::create(folder.path(), Spec::new(WIDTH, Format::Bf16, ENCODER)).unwrap();
    add_missing(&mut builder, 0..5).unwrap();
    builder.remove(&[id(2)]).unwrap();
    builder.finish().unwrap();
    let done = compact(folder.path(), &Progress::hidden()).unwrap();
    assert!(done.complete && done.shards == 1, "{done:?}");
    assert_eq!(contents(folder.path()), expected(Format::Bf16, [0, 1, 3, 4]));
}

#[test]
fn a_store_can_be_emptied_and_filled_again() {
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..9);
    remove(folder.path(), &(0..9).map(id).collect::<Vec<_>>()).unwrap();
    assert!(Store::open(folder.path(), ENCODER).unwrap().is_empty());
    assert!(compact(folder.path(), &Progress::hidden()).unwrap().complete);
    assert!(contents(folder.path()).is_empty());
    assert!(!snapshot(folder.path()).keys().any(|name| name.starts_with("rows")));
    build(folder.path(), Format::Bf16, 3..5);
    assert_eq!(contents(folder.path()), expected(Format::Bf16, 3..5));
}

#[test]
fn a_stopped_compaction_loses_nothing_and_goes_on() {
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..30);
    let gone: Vec<_> = (0..30).step_by(4).map(id).collect();
    remove(folder.path(), &gone).unwrap();
    let left = || expected(Format::Bf16, (0..30).filter(|n| n % 4 != 0));
    for allowed in 0.. {
        let looks = std::cell::Cell::new(0);
        let stop = || looks.replace(looks.get() + 1) >= allowed;
        let done = crate::memory::edit::compact_until(folder.path(), &Progress::hidden(), &stop).unwrap();
        assert_eq!(contents(folder.path()), left());
        if done.complete {
            assert!(allowed > 2);
            break;
        }
    }
    assert_eq!(Store::open(folder.path(), ENCODER).unwrap().removed_bytes(), 0);
}

#[test]
fn compacting_does_not_copy_damage() {
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..4);
    remove(folder.path(), &[id(0)]).unwrap();
    let shard = folder.path().join("rows-00000.bin");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[70] ^= 1; // the second passage
    std::fs::write(&shard, bytes).unwrap();
    let error = message(compact(folder.path(), &Progress::hidden()));
    assert!(error.contains(&format!("passage {:?} is damaged", id(1))), "{error}");
    remove(folder.path(), &[id(1)]).unwrap();
    assert!(compact(folder.path(), &Progress::hidden()).unwrap().complete);
    build(folder.path(), Format::Bf16, 1..4);
    assert_eq!(contents(folder.path()), expected(Format::Bf16, 1..4));
}
