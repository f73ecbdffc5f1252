//! Writers that end at any byte of what they do.

use super::disk::fault::with_budget;
use super::*;

/// Runs `job` once for every point at which it can be ended, each time in a copy of `before`, and looks at what it left.
fn ended_everywhere(before: &Path, job: impl Fn(&Path) -> anyhow::Result<()>, look: impl Fn(&Path)) {
    let run = |budget| {
        let folder = new_folder();
        copy_folder(before, folder.path());
        let (ended, used) = with_budget(budget, || job(folder.path()));
        look(folder.path());
        (ended, used)
    };
    let (whole, used) = run(usize::MAX);
    whole.unwrap();
    assert!(used > 20, "the job does something");
    for budget in 0..used {
        assert!(run(budget).0.is_err(), "a life of {budget} of {used} is too short");
    }
}

fn build_in_parts(folder: &Path, passages: std::ops::Range<usize>) -> anyhow::Result<()> {
    let mut builder = Builder::open_or_resume(folder, spec(Format::Int8))?;
    for n in passages {
        add_missing(&mut builder, [n])?;
        if n % 3 == 2 {
            builder.commit()?;
        }
    }
    builder.finish()
}

#[test]
fn a_build_ended_anywhere_resumes_to_the_same_store() {
    let empty = new_folder();
    let whole = expected(Format::Int8, 0..8);
    ended_everywhere(
        empty.path(),
        |folder| build_in_parts(folder, 0..8),
        |folder| {
            if crate::memory::header::Header::exists(folder).unwrap() {
                let committed = Builder::resume(folder).unwrap().recovery().passages;
                assert!([0, 3, 6, 8].contains(&committed), "{committed} passages");
            }
            build_in_parts(folder, 0..8).unwrap();
            assert_eq!(contents(folder), whole);
        },
    );
}

#[test]
fn a_resumed_build_can_be_ended_again() {
    let folder = new_folder();
    let mut lives = 0;
    // Each life is a little longer than what opening takes, so that the build advances by inches.
    for budget in (0..).map(|life| 3 + life % 400) {
        lives += 1;
        if with_budget(budget, || build_in_parts(folder.path(), 0..8)).0.is_ok() {
            break;
        }
    }
    assert!(lives > 3);
    assert_eq!(contents(folder.path()), expected(Format::Int8, 0..8));
}

#[test]
fn adding_ended_anywhere_leaves_the_finished_store_in_sight() {
    let before = new_folder();
    build_in_parts(before.path(), 0..4).unwrap();
    let (old, new) = (expected(Format::Int8, 0..4), expected(Format::Int8, 0..8));
    ended_everywhere(
        before.path(),
        |folder| build_in_parts(folder, 0..8),
        |folder| {
            let seen = contents(folder);
            assert!(seen == old || seen == new, "{:?}", seen.keys());
            build_in_parts(folder, 0..8).unwrap();
            assert_eq!(contents(folder), new);
        },
    );
}

#[test]
fn removing_ended_anywhere_removed_all_or_nothing() {
    let before = new_folder();
    build_in_parts(before.path(), 0..8).unwrap();
    let gone = [id(1), id(4), id(5)];
    let (old, new) = (expected(Format::Int8, 0..8), expected(Format::Int8, [0, 2, 3, 6, 7]));
    ended_everywhere(
        before.path(),
        |folder| remove(folder, &gone),
        |folder| {
            let seen = contents(folder);
            assert!(seen == old || seen == new, "{:?}", seen.keys());
            // The second attempt finds them there, or removed and in the open.
            if let Err(error) = remove(folder, &gone) {
                assert!(format!("{error:#}").contains("not in the store"), "{error:#}");
            }
            assert_eq!(contents(folder), new);
        },
    );
}

#[test]
fn compacting_ended_anywhere_loses_nothing() {
    let before = new_folder();
    build_in_parts(before.path(), 0..12).unwrap();
    remove(before.path(), &[id(0), id(4), id(5), id(11)]).unwrap();
    let left = expected(Format::Int8, [1, 2, 3, 6, 7, 8, 9, 10]);
    let bytes = || {
        let folder = new_folder();
        copy_folder(before.path(), folder.path());
        compact(folder.path(), &Progress::hidden()).unwrap();
        Store::open(folder.path(), ENCODER).unwrap().bytes()
    };
    let compacted = bytes();
    ended_everywhere(
        before.path(),
        |folder| compact(folder, &Progress::hidden()).map(drop),
        |folder| {
            assert_eq!(contents(folder), left);
            assert!(compact(folder, &Progress::hidden()).unwrap().complete);
            assert_eq!(contents(folder), left);
            assert_eq!(Store::open(folder, ENCODER).unwrap().bytes(), compacted);
            let files = snapshot(folder);
            let on_disk: usize = files.iter().filter(|(name, _)| name.ends_with(".bin")).map(|(_, b)| b.len()).sum();
            assert_eq!(on_disk as u64, compacted, "nothing is left lying about: {:?}", files.keys());
        },
    );
}

#[test]
fn a_torn_index_is_cut_back_to_its_last_frame() {
    let before = new_folder();
    let mut builder = Builder::create(before.path(), spec(Format::Bf16)).unwrap();
    let mut frames = vec![];
    for n in 0..6 {
        add_missing(&mut builder, [n]).unwrap();
        if n % 2 == 1 {
            builder.commit().unwrap();
            frames.push((std::fs::read(before.path().join("index-00000.bin")).unwrap().len(), n + 1));
        }
    }
    drop(builder);
    let index = std::fs::read(before.path().join("index-00000.bin")).unwrap();
    let header = crate::memory::format::INDEX_HEADER;
    for end in header..=index.len() {
        // Behind a cut a disk that lost power may show anything: nothing, zeros, or noise.
        for tail in [vec![], vec![0; 100], (0..100u32).map(|n| (n * 91) as u8 ^ 0x5a).collect()] {
            let folder = new_folder();
            copy_folder(before.path(), folder.path());
            std::fs::write(folder.path().join("index-00000.bin"), [&index[..end], &tail].concat()).unwrap();
            let kept = frames.iter().filter(|(bytes, _)| *bytes <= end).map(|(_, passages)| *passages).max();
            let mut builder = Builder::resume(folder.path()).unwrap();
            assert_eq!(builder.len(), kept.unwrap_or(0), "cut at {end}");
            let bytes = std::fs::metadata(folder.path().join("index-00000.bin")).unwrap().len();
            let last = frames.iter().find(|(_, passages)| Some(*passages) == kept);
            assert_eq!(bytes as usize, last.map_or(header, |(bytes, _)| *bytes), "cut at {end}");
            add_missing(&mut builder, 0..6).unwrap();
            builder.finish().unwrap();
            assert_eq!(contents(folder.path()), expected(Format::Bf16, 0..6));
        }
    }
}

#[test]
fn a_torn_header_of_an_index_without_rows_is_begun_again() {
    let before = new_folder();
    drop(Builder::create(before.path(), spec(Format::Bf16)).unwrap());
    let index = before.path().join("index-00000.bin");
    let header = std::fs::read(&index).unwrap();
    for end in 0..header.len() {
        std::fs::write(&index, &header[..end]).unwrap();
        drop(Builder::resume(before.path()).unwrap());
        assert_eq!(std::fs::read(&index).unwrap(), header);
    }
    build(before.path(), Format::Bf16, 0..3);
    assert_eq!(contents(before.path()), expected(Format::Bf16, 0..3));
}

#[test]
fn what_a_killed_writer_left_lying_about_is_cleared_and_the_users_files_are_not() {
    let folder = new_folder();
    build(folder.path(), Format::Bf16, 0..3);
    let clean = snapshot(folder.path());
    for name in [".partial-abc", "rows-00007.bin", "index-00003.bin"] {
        std::fs::write(folder.path().join(name), "left").unwrap();
    }
    std::fs::write(folder.path().join("README"), "ours").unwrap();
    let builder = Builder::resume(folder.path()).unwrap();
    assert_eq!(builder.recovery().cut_bytes, 4);
    drop(builder);
    let mut now = snapshot(folder.path());
    assert_eq!(now.remove("README").unwrap(), b"ours");
    assert_eq!(now, clean);
}

#[test]
fn a_full_disk_is_an_error_and_the_build_goes_on_when_there_is_room() {
    let folder = new_folder();
    let mut builder = Builder::create(folder.path(), spec(Format::Bf16)).unwrap();
    add_missing(&mut builder, 0..2).unwrap();
    let full = with_budget(10, || builder.add(&id(2), &rows(2))).0;
    let error = message(full);
    assert!(error.contains("cannot write") && error.contains("once there is room, resume"), "{error}");
    add_missing(&mut builder, 2..5).unwrap(); // there is room again

    let full = with_budget(10, || builder.commit()).0;
    assert!(message(full).contains("index-00000.bin"));
    assert!(message(builder.add(&id(5), &rows(5))).contains("an earlier commit"));
    assert!(message(builder.commit()).contains("go on with Builder::open_or_resume"));
    drop(builder);
    build(folder.path(), Format::Bf16, 0..6);
    assert_eq!(contents(folder.path()), expected(Format::Bf16, 0..6));
}

#[test]
fn a_passage_larger_than_a_shard_can_be_tried_again() {
    let folder = new_folder();
    let large = vec![1.0; 100 * WIDTH];
    let mut builder = Builder::create(folder.path(), spec(Format::Bf16)).unwrap();
    let full = with_budget(10, || builder.add("large", &large)).0;
    assert!(message(full).contains("rows-00000.bin"));
    builder.add("large", &large).unwrap();
    builder.finish().unwrap();
    assert_eq!(contents(folder.path())["large"].len(), 832);
}
