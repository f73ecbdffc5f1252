use std::collections::HashSet;
use std::fs;

use anyhow::anyhow;
use proptest::prelude::*;

use super::*;

fn spec() -> Bm25Spec {
    Bm25Spec { fingerprint: "corpus-1".into(), settings: Bm25Settings::default() }
}

fn build(folder: &Path, spec: &Bm25Spec, passages: &[(&str, &str)]) -> Result<()> {
    let passages = passages.iter().map(|&(title, text)| Ok(Bm25Passage { title, text }));
    Bm25::build(folder, spec, passages, &Progress::hidden())
}

/// An index that outlives its folder's name: the files stay mapped.
fn index_of(passages: &[(&str, &str)]) -> Bm25 {
    index_with(Bm25Settings::default(), passages)
}

fn index_with(settings: Bm25Settings, passages: &[(&str, &str)]) -> Bm25 {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("index");
    let spec = Bm25Spec { settings, ..spec() };
    build(&folder, &spec, passages).unwrap();
    Bm25::open(&folder, &spec.fingerprint).unwrap()
}

fn found(index: &Bm25, query: &str) -> Vec<u32> {
    let hits = index.search(query, 10).unwrap();
    hits.iter().map(|hit| hit.passage).collect()
}

const TOWNS: [(&str, &str); 4] = [
    ("Paris", "Paris is the capital of France."),
    ("Lyon", "A city in France, on the Rhône."),
    ("Köln", "Köln lies on the Rhine; its cathedral's towers are tall."),
    ("", "sep marks the month of September"),
];

#[test]
fn finds_words_whatever_the_punctuation() {
    let index = index_of(&TOWNS);
    assert_eq!(found(&index, "capital"), [0]);
    assert_eq!(found(&index, "What's \"RHONE\"? (a:b) AND -x* ~[~"), [1, 2]);
    assert_eq!(found(&index, "koln"), [2]);
    assert_eq!(found(&index, "title:paris^3 OR NOT (("), [0]);
    assert_eq!(found(&index, "____ cathedral"), [2]);
    assert_eq!(found(&index, "Lyon [SEP] cathedral"), [1, 2]);
    assert_eq!(found(&index, "sep"), [3]);
}

#[test]
fn nothing_to_find_is_no_error() {
    let index = index_of(&TOWNS);
    for query in ["", "   ", "?!", "[SEP]", "____", "zebra", "\0"] {
        assert_eq!(index.search(query, 5).unwrap(), [], "{query:?}");
    }
    assert_eq!(index.search("paris", 0).unwrap(), []);
    assert_eq!(index.search("france", usize::MAX).unwrap().len(), 2);
    assert!(found(&index, &"long".repeat(100_000)).is_empty());
}

#[test]
fn an_empty_corpus_and_empty_passages_are_fine() {
    let empty = index_of(&[]);
    assert!(empty.is_empty());
    assert_eq!(empty.search("paris", 5).unwrap(), []);
    let blank = index_of(&[("", ""), ("", "?"), ("", "paris")]);
    assert_eq!(blank.len(), 3);
    assert_eq!(found(&blank, "paris"), [2]);
    assert!(found(&index_of(&[("", "")]), "paris").is_empty());
}

#[test]
fn the_title_counts_as_often_as_told() {
    let corpus = [("Oak", "a tree"), ("Elm", "oak oak is not elm at all")];
    let with = |title_count| {
        let settings = Bm25Settings { title_count, ..Bm25Settings::default() };
        found(&index_with(settings, &corpus), "oak")
    };
    assert_eq!(with(0), [1]);
    assert_eq!(with(4), [0, 1]);
}

#[test]
fn stems_match_only_if_asked_for() {
    let corpus = [("", "The painters painted"), ("", "unrelated")];
    assert!(found(&index_of(&corpus), "painting").is_empty());
    let settings = Bm25Settings { words: Words::Stemmed, ..Bm25Settings::default() };
    assert_eq!(found(&index_with(settings, &corpus), "painting"), [0]);
}

#[test]
fn repeats_in_the_query_count_once() {
    let index = index_of(&TOWNS);
    assert_eq!(index.search("France paris Paris FRANCE", 5).unwrap(), index.search("paris france", 5).unwrap());
}

#[test]
fn many_queries_are_answered_in_their_order() {
    let index = index_of(&TOWNS);
    let queries = ["france", "", "rhine", "the"];
    let all = index.search_all(&queries, 3).unwrap();
    for (query, hits) in queries.iter().zip(all) {
        assert_eq!(hits, index.search(query, 3).unwrap());
    }
}

#[test]
fn bad_settings_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let bad = [
        (Bm25Settings { k1: -0.1, ..Bm25Settings::default() }, "k1"),
        (Bm25Settings { k1: f32::NAN, ..Bm25Settings::default() }, "k1"),
        (Bm25Settings { b: 1.5, ..Bm25Settings::default() }, "b is"),
        (Bm25Settings { title_count: 17, ..Bm25Settings::default() }, "title"),
    ];
    for (settings, names) in bad {
        let spec = Bm25Spec { settings, ..spec() };
        let error = build(&place.path().join("index"), &spec, &TOWNS).unwrap_err();
        assert!(error.to_string().contains(names), "{error}");
    }
}

#[test]
fn a_failing_corpus_leaves_no_index() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("index");
    let passages = vec![Ok(Bm25Passage { title: "a", text: "b" }), Err(anyhow!("corpus.jsonl:2: not JSON"))];
    let error = Bm25::build(&folder, &spec(), passages, &Progress::hidden()).unwrap_err();
    assert!(format!("{error:#}").contains("corpus.jsonl:2"), "{error:#}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn another_corpus_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("index");
    build(&folder, &spec(), &TOWNS).unwrap();
    let error = Bm25::open(&folder, "corpus-2").err().unwrap().to_string();
    assert!(error.contains("corpus-1") && error.contains("corpus-2"), "{error}");
    assert!(error.contains("delete it and build"), "{error}");
    let error = build(&folder, &spec(), &TOWNS).unwrap_err().to_string();
    assert!(error.contains("exists already"), "{error}");
    let none = Bm25::open(&place.path().join("none"), "corpus-1").err().unwrap();
    assert!(none.to_string().contains("build the index first"), "{none}");
}

/// Each file is in turn cut, emptied, removed and (those with a checksum) changed in the middle.
#[test]
fn damage_is_reported_and_opening_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("index");
    let text = "a few words that are indexed ".repeat(40);
    let corpus: Vec<(&str, &str)> = (0..50).map(|_| ("Title", text.as_str())).collect();
    build(&folder, &spec(), &corpus).unwrap();
    let files = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&folder).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    let before = files();
    Bm25::open(&folder, "corpus-1").unwrap();
    assert_eq!(files(), before);

    let mut damages = 0;
    for file in before {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        // Tantivy's own notes, which nothing is read from: its lock and its list of files to collect.
        if name.starts_with('.') {
            continue;
        }
        let whole = fs::read(&file).unwrap();
        let mut versions = vec![whole[..whole.len() / 2].to_vec(), Vec::new()];
        // JSON ends with a line end that nobody misses, and has no checksum.
        if !name.ends_with(".json") {
            versions.push(whole[..whole.len() - 1].to_vec());
            let mut flipped = whole.clone();
            flipped[whole.len() / 3] ^= 0x40;
            versions.push(flipped);
        }
        for damaged in versions {
            fs::write(&file, damaged).unwrap();
            let error = Bm25::open(&folder, "corpus-1").err();
            let error = error.unwrap_or_else(|| panic!("{name} was damaged and nobody noticed"));
            assert!(error.to_string().contains("build the index again"), "{name}: {error:#}");
            damages += 1;
        }
        fs::remove_file(&file).unwrap();
        let error = Bm25::open(&folder, "corpus-1").err().unwrap();
        assert!(error.to_string().contains("build the index"), "{name}: {error:#}");
        fs::write(&file, whole).unwrap();
        Bm25::open(&folder, "corpus-1").unwrap();
    }
    assert!(damages > 20, "{damages} damages tried");
}

#[test]
fn several_segments_become_one_in_order() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(place.path(), Bm25Settings::default()).unwrap();
    let passages = 800;
    for i in 0..passages {
        let text = format!("word{i}");
        let title = "";
        writer.add(&Bm25Passage { title, text: &text }).unwrap();
        if i % 100 == 50 {
            writer.writer.commit().unwrap();
        }
    }
    let segments = writer.writer.index().searchable_segments().unwrap();
    assert_eq!(segments.len(), 8);
    writer.finish().unwrap();
    let header =
        Header { version: VERSION, fingerprint: "corpus-1".into(), passages, settings: Bm25Settings::default() };
    folder::write_header(&place.path().join(HEADER), &header).unwrap();
    let index = Bm25::open(place.path(), "corpus-1").unwrap();
    for i in 0..passages {
        assert_eq!(found(&index, &format!("word{i}")), [i]);
    }
}

/// The formula in plain f64 over the split words; exact, as passages of at most 40 words keep their length.
fn reference(settings: &Bm25Settings, corpus: &[String], query: &str) -> Vec<f64> {
    let passages: Vec<Vec<&str>> = corpus.iter().map(|p| p.split(' ').collect()).collect();
    let total = passages.len() as f64;
    let mean = passages.iter().map(Vec::len).sum::<usize>() as f64 / total;
    let (k1, b) = (f64::from(settings.k1), f64::from(settings.b));
    let words: HashSet<&str> = query.split(' ').collect();
    let count = |passage: &[&str], word: &str| passage.iter().filter(|w| **w == word).count() as f64;
    let share = |passage: &[&str], word: &str| {
        let n = passages.iter().filter(|p| p.contains(&word)).count() as f64;
        let idf = (1.0 + (total - n + 0.5) / (n + 0.5)).ln();
        let tf = count(passage, word);
        idf * (k1 + 1.0) * tf / (tf + k1 * (1.0 - b + b * passage.len() as f64 / mean))
    };
    let score = |passage: &Vec<&str>| {
        let present = words.iter().filter(|word| passage.contains(word));
        present.map(|word| share(passage, word)).sum()
    };
    passages.iter().map(score).collect()
}

fn text(words: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    // Few words of falling frequency, so that some are everywhere, ties are common and skipping is exercised.
    let word = prop::sample::select(vec!["a", "a", "a", "a", "b", "b", "c", "c", "d", "e", "f"]);
    prop::collection::vec(word, words).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn equals_the_formula(
        corpus in prop::collection::vec(text(1..20), 1..60),
        queries in prop::collection::vec(text(1..8), 8),
        k in 1usize..12,
        (k1, b) in prop::sample::select(vec![(0.8, 0.4), (1.2, 0.75), (0.0, 0.5), (2.0, 0.0), (0.9, 1.0)]),
    ) {
        let settings = Bm25Settings { k1, b, ..Bm25Settings::default() };
        let passages: Vec<(&str, &str)> = corpus.iter().map(|text| ("", text.as_str())).collect();
        let index = index_with(settings, &passages);
        for query in &queries {
            let expected = reference(&settings, &corpus, query);
            let all = index.search(query, usize::MAX).unwrap();
            prop_assert_eq!(all.len(), expected.iter().filter(|score| **score > 0.0).count());
            for hit in &all {
                let want = expected[hit.passage as usize];
                let error = (f64::from(hit.score) - want).abs() / want;
                prop_assert!(error <= 1e-6, "passage {}: {} against {want}", hit.passage, hit.score);
            }
            for pair in all.windows(2) {
                let [a, b] = [pair[0], pair[1]];
                prop_assert!(a.score > b.score || (a.score == b.score && a.passage < b.passage));
                if corpus[a.passage as usize] == corpus[b.passage as usize] {
                    prop_assert_eq!(a.score, b.score);
                }
            }
            // Skipping changes nothing: the best k are the beginning of the whole list.
            prop_assert_eq!(&index.search(query, k).unwrap()[..], &all[..k.min(all.len())]);
        }
    }
}
