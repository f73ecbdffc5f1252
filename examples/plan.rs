//! What the memory of a corpus takes before anything is built: bytes in the store, and hours of encoding.
//!
//!     cargo run --release --example plan -- --passages 22220793 --tokens 304
//!
//! Computed, not measured: bytes are those of the rows, hours those of the multiply-adds at the rates given.

use anyhow::{Result, ensure};
use clap::Parser;
use glimmer::cost::{memory_bytes, memory_multiply_adds};
use glimmer::eval::table;
use glimmer::model::{Config, Cut, Glimmer};

/// Plan the memory of a corpus: bytes and hours for each size of T5.1.1
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Passages of the corpus; KILT's Wikipedia cut by a hundred words has 22,220,793
    #[arg(long, value_name = "N", default_value_t = 22_220_793)]
    passages: u64,
    /// Tokens of a passage, on average; 304 is the paper's limit
    #[arg(long, value_name = "N", default_value_t = 304)]
    tokens: usize,
    /// Share of the encoder that is live, and so not run ahead of time
    #[arg(long, value_name = "SHARE", default_value_t = 1.0 / 3.0)]
    alpha: f64,
    /// What the machines sustain, in TFLOP/s (two a multiply-add), one column each
    #[arg(long, value_name = "TFLOP/s", value_delimiter = ',', default_values_t = [0.25, 100.0, 300.0])]
    rates: Vec<f64>,
}

/// Bytes of a value in the store: bf16, and int8 with one f32 scale a row of `d`.
fn formats(d: usize) -> [f64; 2] {
    [2.0, 1.0 + 4.0 / d as f64]
}

/// A number of bytes in the unit that suits it.
fn bytes_in_words(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let unit = ((bytes.max(1.0).log10() / 3.0) as usize).min(units.len() - 1);
    format!("{:.1} {}", bytes / 1e3f64.powi(unit as i32), units[unit])
}

/// A time in the unit that suits it.
fn time_in_words(seconds: f64) -> String {
    match seconds / 3600.0 {
        hours if hours >= 48.0 => format!("{:.0} days", hours / 24.0),
        hours if hours >= 1.0 => format!("{hours:.1} hours"),
        hours => format!("{:.1} minutes", 60.0 * hours),
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.passages > 0 && args.tokens > 0, "--passages and --tokens: a corpus has some of both");
    ensure!(args.rates.iter().all(|rate| *rate > 0.0), "--rates: a machine does more than 0 TFLOP/s");
    let mut rows = Vec::new();
    for size in ["small", "base", "large", "xl", "xxl"] {
        let config = Config::t5_v1_1(size)?;
        let cut = Cut::nearest(config.num_layers, args.alpha, 0.25)?;
        let glimmer = Glimmer::new(cut, 5);
        let tokens = args.passages * args.tokens as u64;
        let flop = 2.0 * args.passages as f64 * memory_multiply_adds(&config, &glimmer, args.tokens);
        let mut row =
            vec![size.to_string(), format!("{} of {}", config.num_layers - cut.live_layers, config.num_layers)];
        row.extend(formats(config.d_model).map(|value| bytes_in_words(memory_bytes(&config, &glimmer, tokens, value))));
        row.push(format!("{:.1e}", flop));
        row.extend(args.rates.iter().map(|rate| time_in_words(flop / (1e12 * rate))));
        rows.push(row);
    }
    let rates = args.rates.iter().map(|rate| format!("at {rate} TFLOP/s"));
    let head: Vec<String> =
        ["size", "layers ahead", "bf16", "int8", "FLOP"].map(String::from).into_iter().chain(rates).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    println!("{} passages of {} tokens\n\n{}", args.passages, args.tokens, table(&head, &rows));
    Ok(())
}
