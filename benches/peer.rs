//! glimmer's side of `scripts/peers/compare.py`, which runs it beside other programs on the same weights; see
//! `scripts/peers/workers.py` for what it is asked and answers. By itself it does nothing.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use glimmer::backend::{Backend, Backward, Element, Grad, Mat, Segments};
use glimmer::cpu::{Cpu, Packing};
use glimmer::model::{Config, Cut, Evidence, Glimmer, Passages, Question, Reader, Weights};
use glimmer::nn::Recompute;
use glimmer::train::{Example, MemoryEncoder, Pass, Teacher, gradients, zero_gradients};

/// Those of `scripts/peers/checkpoint.py`.
const SEGMENTS: usize = 8;
const TOKENS: usize = 352;
const ANSWER: usize = 16;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [folder, precision] = &arguments[..] else {
        eprintln!("peer: run scripts/peers/compare.py");
        return Ok(());
    };
    let folder = Path::new(folder);
    let packing = match precision.as_str() {
        "f32" => Packing::F32,
        "bf16" => Packing::Bf16,
        "int8" => Packing::Int8,
        other => bail!("no precision is called {other}"),
    };
    answer(Cpu::packing(packing), folder)
}

/// Does what each line of the input asks; gradients are of weights as they are, in f32.
fn answer(machine: Cpu<f32>, folder: &Path) -> Result<()> {
    let uncut = |_: &Config| Ok(Glimmer::new(Cut { live_layers: 0, rerank_layers: 0 }, SEGMENTS));
    let reader = Reader::load(machine, folder, uncut)?;
    let id = |i: usize| (2 + i * 7919 % (reader.config.vocab_size - 2)) as u32;
    let texts: Vec<Vec<u32>> = (0..SEGMENTS).map(|s| (0..TOKENS).map(|t| id(s * TOKENS + t)).collect()).collect();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let encode = || -> Result<Mat<Cpu<f32>>> {
        let stream = reader.encode_memory(&texts)?.rows;
        Ok(reader.be.rms_norm(&stream, &reader.weights.encoder.norm, reader.config.layer_norm_epsilon))
    };
    let one = Segments::packed(&reader.be, [SEGMENTS * TOKENS]);
    let (mut encoded, mut trainer) = (None, None);
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let start = Instant::now();
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["encode"] => encoded = Some(encode()?),
            ["decode"] => {
                let rows = encoded.as_ref().context("encode first")?;
                let evidence = Evidence { rows, segments: &one };
                let (decoder, embedding) = (&reader.weights.decoder, &reader.weights.encoder.embedding);
                let answers = decoder.greedy(&reader.be, &reader.config, embedding, &evidence, ANSWER)?;
                ensure!(answers[0].tokens.len() == ANSWER, "the answer ended early");
            }
            ["train", rate] => {
                let trainer = match &mut trainer {
                    Some(trainer) => trainer,
                    None => trainer.insert(Trainer::new(Cpu::<f32>::default(), folder)?),
                };
                trainer.step(&texts, rate.parse()?)?;
            }
            ["save", file] => {
                let values = encoded.as_ref().context("encode first")?.download(&reader.be)?;
                let bytes: Vec<u8> = values.iter().flat_map(|x| (x.to_f64() as f32).to_le_bytes()).collect();
                std::fs::File::create(file)?.write_all(&bytes)?;
            }
            _ => bail!("what is `{line}`?"),
        }
        println!("{}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// A FiD of the same weights, and its gradients.
struct Trainer<B: Backward> {
    reader: Reader<B>,
    grads: Weights<Grad<B>>,
}

impl<B: Backward> Trainer<B> {
    fn new(machine: B, folder: &Path) -> Result<Self> {
        let fid = |config: &Config| Ok(Glimmer::new(Cut::fid(config.num_layers), SEGMENTS));
        let reader = Reader::load(machine, folder, fid)?;
        Ok(Self { grads: zero_gradients(&reader)?, reader })
    }

    /// Forward and backward; each text is a passage behind the question's 48 tokens.
    fn step(&mut self, texts: &[&[u32]], dropout: f64) -> Result<()> {
        const QUESTION: usize = 48;
        let (question, target) = (&texts[0][..QUESTION], &texts[0][..ANSWER]);
        let passages: Vec<&[u32]> = texts.iter().map(|text| &text[QUESTION..]).collect();
        let batch = [Example {
            question: Question { ids: question, passages: Passages::Tokens(&passages) },
            target,
            evidence: &[],
        }];
        let (memory, lm_scale) = (MemoryEncoder::Trained, 1.0 / ANSWER as f64);
        let pass = Pass {
            memory,
            recompute: Recompute::Nothing,
            dropout,
            seed: 1,
            lm_scale,
            distill_scale: 0.0,
            teacher: Teacher::Perplexity,
        };
        gradients(&self.reader, &batch, &pass, &mut self.grads)?;
        Ok(())
    }
}
