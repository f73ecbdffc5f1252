//! Rows whose number the device alone knows: the host allocates for the most, and gets what is there.

use glimmer::backend::{Backend, Mat, Segments};
use glimmer::cuda::Float;
use half::bf16;

use crate::machine;

/// The five best of four groups, of which two have fewer: seven of nine segments.
fn follows_the_choice<E: Float>() {
    let be = machine::<E>();
    let lengths = [2, 1, 3, 4, 1, 2, 5, 1, 2];
    let (total, d) = (lengths.iter().sum::<usize>(), 6);
    let plain: Vec<f64> = (0..total * d).map(|i| (i / d + 1) as f64).collect();
    let x = Mat::upload(&be, total, d, plain.iter().map(|&x| E::from_f64(x)).collect());
    let rows = Segments::packed(&be, lengths);
    let groups = Segments::packed(&be, [1, 0, 7, 1]);
    let scores = be.upload((0..9u8).map(|i| f32::from(i * 5 % 9)).collect());
    let chosen = be.top_m(&scores, &groups, 5);
    let wanted = [0, 7, 5, 3, 1, 6, 8];
    assert_eq!(be.download(&chosen.index).unwrap(), wanted);
    assert_eq!(be.download(&chosen.groups.offsets).unwrap(), [0, 1, 1, 6, 7]);

    let (kept, segments) = be.gather(&x, &rows, &chosen);
    let mut first = vec![0];
    lengths.iter().for_each(|length| first.push(first[first.len() - 1] + length));
    let places: Vec<usize> = wanted.iter().flat_map(|&i| first[i as usize]..first[i as usize + 1]).collect();
    let found: Vec<f64> = kept.download(&be).unwrap().iter().map(|x| x.to_f64()).collect();
    let gathered: Vec<f64> = places.iter().flat_map(|&row| plain[row * d..][..d].to_vec()).collect();
    assert_eq!(found, gathered);
    let offsets = be.download(&segments.offsets).unwrap();
    assert!(offsets.len() == segments.count + 1 && segments.count >= wanted.len() && kept.rows > places.len());
    assert!(offsets[wanted.len()..].iter().all(|&end| end as usize == places.len()), "the rest is empty: {offsets:?}");

    let scale = Mat::upload(&be, 1, d, vec![E::from_f64(1.0); d]);
    let normed = be.rms_norm(&kept, &scale, 0.0).download(&be).unwrap();
    assert_eq!(normed.len(), gathered.len());
    assert!(normed.iter().all(|x| (x.to_f64() - 1.0).abs() < 1e-6), "rows of equal numbers: {normed:?}");
    let read = be.merge(&segments, &chosen.groups);
    assert_eq!(be.download(&read.offsets).unwrap(), [0, 1, 1, 6, 7].map(|segment: usize| offsets[segment]));
    assert_eq!(be.mean_pool(&kept, &segments).download(&be).unwrap().len(), segments.count * d);
}

#[test]
fn f32_follows_the_choice() {
    follows_the_choice::<f32>();
}

#[test]
fn bf16_follows_the_choice() {
    follows_the_choice::<bf16>();
}
