//! Operations on rows: embedding, norm, and everything that moves segments about.

use glimmer::backend::{Backend, Element, Join, Segments, Selection, Stored};
use half::bf16;

use crate::common::naive::{self, Matrix};
use crate::common::{assert_rows_close, tolerance};
use crate::harness::{ids, normal, operand, steady, values};

pub fn embed<B: Backend>(be: &B) {
    let table = normal(be, 0, (53, 20), 1.0);
    for count in [0, 1, 7, 64, 65, 700] {
        let ids = ids(1, count, 53);
        let uploaded = be.upload(ids.clone());
        let found = steady("embed", || values(be, &be.embed(&table.mat, &uploaded)));
        assert_eq!(found, naive::embed(&table.plain, &ids).data, "embed of {count}");
    }
}

pub fn rms_norm<B: Backend>(be: &B) {
    for (rows, d) in [(0, 20), (1, 1), (1, 512), (7, 20), (15, 31), (16, 32), (17, 33), (700, 65)] {
        let x = normal(be, 0, (rows, d), 3.0);
        let g = normal(be, 1, (1, d), 1.0);
        let what = format!("rms_norm of [{rows}, {d}]");
        let found = steady(&what, || values(be, &be.rms_norm(&x.mat, &g.mat, 1e-6)));
        assert_rows_close(&what, &found, &naive::rms_norm(&x.plain, &g.plain.data, 1e-6), tolerance::<B::Elem>(d));
    }
}

pub fn rms_norm_of_huge_and_tiny_rows<B: Backend>(be: &B) {
    let sizes = [1e15, 1e-3, 1e-20, 0.0];
    let shape = normal(be, 0, (4, 33), 1.0).plain;
    let x = operand(be, 33, shape.data.iter().enumerate().map(|(i, x)| x * sizes[i / 33]).collect());
    let g = normal(be, 1, (1, 33), 1.0);
    let found = values(be, &be.rms_norm(&x.mat, &g.mat, 1e-6));
    let wanted = naive::rms_norm(&x.plain, &g.plain.data, 1e-6);
    assert_rows_close("rms_norm of huge and tiny rows", &found, &wanted, tolerance::<B::Elem>(33));
}

/// Segments with none, one and many rows, in groups with none, one and several segments.
const LENGTHS: [usize; 9] = [3, 0, 1, 40, 0, 7, 1, 130, 2];
const GROUPS: [usize; 5] = [2, 0, 4, 1, 2];

pub fn gather<B: Backend>(be: &B) {
    let x = normal(be, 0, (LENGTHS.iter().sum(), 20), 1.0);
    let rows = Segments::packed(be, LENGTHS);
    let choices: [(&[u32], &[usize]); 4] =
        [(&[], &[0, 0]), (&[7], &[1]), (&[1, 0, 2, 5, 4], &[2, 0, 3]), (&[0, 1, 2, 3, 4, 5, 6, 7, 8], &[9])];
    for (index, groups) in choices {
        let chosen = Selection { index: be.upload(index.to_vec()), groups: Segments::packed(be, groups.to_vec()) };
        let (found, offsets) = steady("gather", || {
            let (rows, segments) = be.gather(&x.mat, &rows, &chosen);
            (values(be, &rows), be.download(&segments.offsets).unwrap())
        });
        let lengths: Vec<usize> = index.iter().map(|&i| LENGTHS[i as usize]).collect();
        let wanted = x.plain.gather(index.iter().flat_map(|&i| naive::ranges(&LENGTHS)[i as usize].clone()));
        assert_eq!(found[..wanted.data.len()], wanted.data, "gather {index:?}");
        assert_eq!(offsets, offsets_of(&lengths), "gather {index:?}");
    }
}

fn offsets_of(lengths: &[usize]) -> Vec<u32> {
    let ends = naive::ranges(lengths).into_iter().map(|range| range.end as u32);
    std::iter::once(0).chain(ends).collect()
}

pub fn merge<B: Backend>(be: &B) {
    let (rows, groups) = (Segments::packed(be, LENGTHS), Segments::packed(be, GROUPS));
    let (found, count) = steady("merge", || {
        let merged = be.merge(&rows, &groups);
        (be.download(&merged.offsets).unwrap(), merged.count)
    });
    let wanted: Vec<usize> = naive::ranges(&GROUPS).into_iter().map(|group| LENGTHS[group].iter().sum()).collect();
    assert_eq!((found, count), (offsets_of(&wanted), GROUPS.len()));
}

pub fn join<B: Backend>(be: &B) {
    let asked = [2, 5, 1, 0, 9];
    let question = normal(be, 0, (asked.iter().sum(), 20), 1.0);
    let passage = normal(be, 1, (LENGTHS.iter().sum(), 20), 1.0);
    let (question_rows, passage_rows) = (Segments::packed(be, asked), Segments::packed(be, LENGTHS));
    let groups = Segments::packed(be, GROUPS);
    let (found, offsets) = steady("join", || {
        let (rows, segments) = be.join(Join {
            question: &question.mat,
            question_rows: &question_rows,
            passage: &passage.mat,
            passage_rows: &passage_rows,
            groups: &groups,
        });
        (values(be, &rows), be.download(&segments.offsets).unwrap())
    });
    let (wanted, lengths) = naive::join((&question.plain, &asked), (&passage.plain, &LENGTHS), &GROUPS);
    assert_eq!(found, wanted.data);
    assert_eq!(offsets, offsets_of(&lengths));
}

pub fn dequantise<B: Backend>(be: &B) {
    let width = 20;
    let long: Vec<bf16> =
        normal(be, 0, (300, width), 3.0).plain.data.iter().map(|&x| <bf16 as Element>::from_f64(x)).collect();
    let small: Vec<i8> = (0..3 * width).map(|i| (i as i64 * 37 % 255 - 127) as i8).collect();
    let scales = [0.017f32, 3.3e-20, 1.1e15];
    let runs = [
        Stored::Bf16(&long[..width]),
        Stored::Int8 { values: &small, scales: &scales },
        Stored::Bf16(&[]),
        Stored::Bf16(&long),
        Stored::Int8 { values: &small[width..], scales: &scales[1..] },
    ];
    let wide = |x: &[bf16]| x.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let scaled = |first: usize| small[first * width..].iter().enumerate().map(move |(i, x)| (i / width + first, x));
    let scaled =
        |first: usize| scaled(first).map(|(row, &x)| f64::from(x) * f64::from(scales[row])).collect::<Vec<_>>();
    let wanted = [wide(&long[..width]), scaled(0), wide(&long), scaled(1)].concat();
    let found = steady("dequantise", || values(be, &be.dequantise(width, &runs)));
    let wanted = Matrix { cols: width, data: wanted };
    assert_rows_close("dequantise", &found, &wanted, tolerance::<B::Elem>(0));
    assert_eq!(found[..width], wanted.data[..width], "bf16 loses nothing");
    assert!(values(be, &be.dequantise(width, &[])).is_empty(), "dequantise of nothing");
}
