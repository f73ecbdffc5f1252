//! candle's T5 encoder as a program of the comparison: see `../../workers.py` for what it is asked and answers.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::t5::{Config, T5EncoderModel};

/// Those of `checkpoint.py`.
const SEGMENTS: usize = 8;
const TOKENS: usize = 352;

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("the first argument is the checkpoint's folder")?;
    let folder = Path::new(&folder);
    let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    // SAFETY: nobody changes the file meanwhile.
    let weights =
        unsafe { VarBuilder::from_mmaped_safetensors(&[folder.join("model.safetensors")], DType::F32, &Device::Cpu)? };
    let mut model = T5EncoderModel::load(weights, &config)?;
    let id = |i: usize| (2 + i * 7919 % (config.vocab_size - 2)) as u32;
    let ids: Vec<u32> = (0..SEGMENTS * TOKENS).map(id).collect();
    let ids = Tensor::from_vec(ids, (SEGMENTS, TOKENS), &Device::Cpu)?;
    let mut encoded = ids.clone();
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let start = Instant::now();
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["encode"] => encoded = model.forward(&ids)?,
            ["save", file] => {
                let values: Vec<f32> = encoded.flatten_all()?.to_vec1()?;
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                std::fs::File::create(file)?.write_all(&bytes)?;
            }
            _ => bail!("what is `{line}`?"),
        }
        println!("{}", start.elapsed().as_secs_f64());
    }
    Ok(())
}
