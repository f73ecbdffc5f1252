use std::fs;

use anyhow::anyhow;
use proptest::prelude::*;

use super::*;

fn spec(width: usize) -> DenseSpec {
    DenseSpec { width, fingerprint: "corpus-1".into() }
}

fn build(folder: &Path, width: usize, vectors: Vec<Result<Vec<f32>>>) -> Result<()> {
    DenseIndex::build(folder, &spec(width), vectors, &Progress::hidden())
}

fn index_of(width: usize, vectors: &[Vec<f32>]) -> DenseIndex {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("index");
    let vectors = vectors.iter().cloned().map(Ok).collect();
    build(&folder, width, vectors).unwrap();
    DenseIndex::open(&folder, "corpus-1").unwrap()
}

/// Small numbers of varied size that repeat often, so that ties occur; never a zero vector.
fn vectors(width: usize, count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut state = seed;
    let mut number = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) % 9) as f32 - 4.5
    };
    (0..count).map(|_| (0..width).map(|_| number()).collect()).collect()
}

#[test]
fn rows_are_scaled_and_ties_go_to_the_earlier_passage() {
    let index = index_of(2, &[vec![0.0, 1.0], vec![3.0, 0.0], vec![0.5, 0.0], vec![-7.0, 0.0]]);
    let hits = index.search(&[2.0, 0.0], 9).unwrap();
    let expected = [(1, 2.0), (2, 2.0), (0, 0.0), (3, -2.0)];
    assert_eq!(hits.len(), 4);
    for (hit, (passage, score)) in hits.iter().zip(expected) {
        assert_eq!((hit.passage, hit.score), (passage, score));
    }
    assert_eq!(index.search(&[2.0, 0.0], 1).unwrap()[0].passage, 1);
    assert_eq!(index.search(&[2.0, 0.0], 0).unwrap(), []);
}

#[test]
fn extreme_lengths_are_scaled_too() {
    let index = index_of(2, &[vec![3e38, 3e38], vec![1e-40, 0.0]]);
    let hits = index.search(&[1.0, 0.0], 2).unwrap();
    assert_eq!((hits[0].passage, hits[0].score), (1, 1.0));
    assert!((hits[1].score - 0.5f32.sqrt()).abs() < 4e-3, "{hits:?}");
}

#[test]
fn an_empty_corpus_has_no_hits() {
    let index = index_of(3, &[]);
    assert!(index.is_empty());
    index.verify().unwrap();
    assert_eq!(index.search(&[1.0, 2.0, 3.0], 5).unwrap(), []);
    assert_eq!(index.search_all(&[], 5).unwrap(), Vec::<Vec<Hit>>::new());
}

#[test]
fn bad_vectors_name_their_passage() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("index");
    let bad = [
        (vec![1.0], "passage 1 has 1 numbers instead of 2"),
        (vec![1.0, f32::NAN], "passage 1 is NaN at 1"),
        (vec![f32::NEG_INFINITY, 0.0], "passage 1 is -inf at 0"),
        (vec![0.0, -0.0], "passage 1 is zero"),
    ];
    for (vector, complaint) in bad {
        let error = build(&folder, 2, vec![Ok(vec![1.0, 0.0]), Ok(vector)]).unwrap_err();
        assert!(format!("{error:#}").contains(complaint), "{error:#}");
    }
    let error = build(&folder, 2, vec![Err(anyhow!("the encoder stopped"))]).unwrap_err();
    assert!(format!("{error:#}").contains("the encoder stopped"), "{error:#}");
    assert!(build(&folder, 0, vec![]).is_err());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn bad_queries_are_refused() {
    let index = index_of(2, &vectors(2, 5, 1));
    let complaint = |queries: &[f32]| format!("{:#}", index.search_all(queries, 1).unwrap_err());
    assert!(complaint(&[1.0, 2.0, 3.0]).contains("3 numbers"));
    assert!(complaint(&[1.0, 2.0, f32::NAN, 4.0]).contains("query 1 is NaN at 0"));
    assert!(complaint(&[f32::MAX, f32::MAX]).contains("largest number"));
    assert!(index.search(&[1.0, 2.0, 3.0, 4.0], 1).is_err());
}

#[test]
fn damage_and_strangers_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("index");
    build(&folder, 4, vectors(4, 10, 2).into_iter().map(Ok).collect()).unwrap();
    let refusal = || DenseIndex::open(&folder, "corpus-1").err().unwrap().to_string();
    let (rows, header) = (folder.join(VECTORS), folder.join(HEADER));
    let (whole, json) = (fs::read(&rows).unwrap(), fs::read_to_string(&header).unwrap());
    assert_eq!(whole.len() as u64, DenseIndex::estimate_bytes(10, 4));

    for bytes in [0, 1, 79] {
        fs::write(&rows, &whole[..bytes]).unwrap();
        assert!(refusal().contains("not 10 vectors of 4 numbers"), "{}", refusal());
    }
    fs::remove_file(&rows).unwrap();
    assert!(refusal().contains("build the index again"), "{}", refusal());

    let mut flipped = whole.clone();
    flipped[9] ^= 1;
    fs::write(&rows, &flipped).unwrap();
    let open = DenseIndex::open(&folder, "corpus-1").unwrap();
    assert!(open.verify().unwrap_err().to_string().contains("damaged"));
    // A row of NaN: found even by those who never verify.
    flipped[24..32].fill(0xff);
    fs::write(&rows, &flipped).unwrap();
    let open = DenseIndex::open(&folder, "corpus-1").unwrap();
    let error = open.search(&[1.0; 4], 1).unwrap_err();
    assert!(format!("{error:#}").contains("passage 3"), "{error:#}");
    fs::write(&rows, &whole).unwrap();
    DenseIndex::open(&folder, "corpus-1").unwrap().verify().unwrap();

    let stranger = DenseIndex::open(&folder, "corpus-2").err().unwrap().to_string();
    assert!(stranger.contains("corpus-1") && stranger.contains("delete it"), "{stranger}");
    for wrong in [
        json.replace("\"version\": 1", "\"version\": 2"),
        json.replace("\"width\": 4", "\"width\": 0"),
        json.replace("\"width\": 4", "\"width\": 18446744073709551615"),
        json.replace("width", "length"),
        json[..json.len() / 2].to_string(),
        String::new(),
    ] {
        fs::write(&header, &wrong).unwrap();
        assert!(refusal().contains("build the index again"), "{wrong}: {}", refusal());
    }
    fs::remove_file(&header).unwrap();
    assert!(refusal().contains("build the index first"), "{}", refusal());
}

/// Scores in f64 of the rows as they are stored.
fn reference(index: &DenseIndex, query: &[f32]) -> Vec<f64> {
    let numbers: Vec<f64> =
        index.rows.chunks_exact(2).map(|bytes| bf16::from_le_bytes([bytes[0], bytes[1]]).to_f64()).collect();
    let dot = |row: &[f64]| row.iter().zip(query).map(|(x, q)| x * f64::from(*q)).sum();
    numbers.chunks_exact(query.len()).map(dot).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equals_comparing_with_every_row(
        width in 1usize..70,
        passages in 0usize..300,
        queries in 0usize..11,
        k in 1usize..20,
        seed: u64,
    ) {
        let index = index_of(width, &vectors(width, passages, seed));
        let queries: Vec<f32> = vectors(width, queries, !seed).concat();
        let all = index.search_all(&queries, k).unwrap();
        prop_assert_eq!(all.len() * width, queries.len());
        for (query, hits) in queries.chunks_exact(width).zip(&all) {
            let expected = reference(&index, query);
            // Every sum has at most `width` additions, each off by at most half a unit in the last place.
            let size: f64 = query.iter().map(|q| f64::from(q.abs())).sum();
            let bound = size * width as f64 * f64::from(f32::EPSILON);
            let close = |score: f64, want: f64| (score - want).abs() <= bound;

            prop_assert_eq!(hits.len(), k.min(passages));
            let mut sorted = expected.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            for (rank, hit) in hits.iter().enumerate() {
                let score = f64::from(hit.score);
                prop_assert!(close(score, expected[hit.passage as usize]));
                prop_assert!(close(score, sorted[rank]));
            }
            for pair in hits.windows(2) {
                let ordered = pair[0].score > pair[1].score
                    || (pair[0].score == pair[1].score && pair[0].passage < pair[1].passage);
                prop_assert!(ordered, "{:?}", pair);
            }
            // Bit for bit what the query gets alone, and the beginning of the full list.
            prop_assert_eq!(hits, &index.search(query, k).unwrap());
            prop_assert_eq!(&hits[..], &index.search(query, usize::MAX).unwrap()[..hits.len()]);
        }
    }
}

#[test]
fn more_queries_than_one_pass_takes() {
    let index = index_of(3, &vectors(3, 40, 5));
    let queries = vectors(3, 1030, 6).concat();
    let all = index.search_all(&queries, 2).unwrap();
    assert_eq!(all.len(), 1030);
    for i in [0, 1023, 1024, 1029] {
        assert_eq!(all[i], index.search(&queries[i * 3..][..3], 2).unwrap());
    }
}
