//! What the benchmarks share: criterion's groups, whose times are kept for tables of our own.
#![allow(dead_code, reason = "every benchmark compiles all of this and uses its part")]

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};

/// Benchmarks `run`, and gives the median of its times in seconds; None where the command line leaves it out.
pub fn median_seconds(group: &mut BenchmarkGroup<'_, WallTime>, id: BenchmarkId, mut run: impl FnMut()) -> Option<f64> {
    let mut times = Vec::new();
    group.bench_function(id, |b| {
        b.iter_custom(|runs| {
            let of_one = || {
                let start = Instant::now();
                run();
                start.elapsed()
            };
            let now: Vec<Duration> = std::iter::repeat_with(of_one).take(runs as usize).collect();
            times.extend(now.iter().map(Duration::as_secs_f64));
            now.iter().sum()
        });
    });
    median(times)
}

/// As [`median_seconds`], of `run` again and again without a pause, and `wait` behind the last: what a machine that
/// works while its host goes on takes when it has enough to do.
pub fn median_seconds_together(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    mut run: impl FnMut(),
    mut wait: impl FnMut(),
) -> Option<f64> {
    let mut times = Vec::new();
    group.bench_function(id, |b| {
        b.iter_custom(|runs| {
            let start = Instant::now();
            (0..runs).for_each(|_| run());
            wait();
            let passed = start.elapsed();
            times.push(passed.as_secs_f64() / runs as f64);
            passed
        });
    });
    median(times)
}

/// The one in the middle; None of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The time in the unit that suits it.
pub fn in_words(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} µs", s * 1e6),
    }
}
