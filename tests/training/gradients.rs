//! The gradient of a whole reader against central differences of its own losses, in f64.

use anyhow::bail;
use glimmer::backend::{AnswerLogProb, Backend, DistillDirection, Grad, Mat, Pool};
use glimmer::cpu::Cpu;
use glimmer::model::{Glimmer, Question, Reader, Weights};
use glimmer::nn::{Recompute, Tree};
use glimmer::random;
use glimmer::train::{
    Example, Losses, MemoryEncoder, Pass, Teacher, Trained, gradients, gradients_done, side_by_side, zero_gradients,
};

use crate::tiny::{LAYERS, cut, question, reader, slices, texts, values};

type Machine = Cpu<f64>;

/// Three questions with as many passages as their number, and answers.
struct Batch {
    asked: Vec<Vec<u32>>,
    told: Vec<Vec<u32>>,
    answers: Vec<Vec<u32>>,
}

impl Batch {
    fn new() -> Self {
        Self { asked: texts(21, 3, 6), told: texts(22, 12, 12), answers: texts(23, 3, 5) }
    }

    /// Runs `body` on the examples.
    fn with<R>(&self, body: impl FnOnce(&[Example<'_>]) -> R) -> R {
        let told = slices(&self.told);
        // 3, 4 and 5 passages.
        let passages = [&told[..3], &told[3..7], &told[7..]];
        let questions: Vec<Question<'_>> =
            self.asked.iter().zip(passages).map(|(ids, passages)| question(ids, passages)).collect();
        let all = questions.into_iter().zip(&self.answers).zip(EVIDENCE);
        body(&all.map(|((question, target), evidence)| Example { question, target, evidence }).collect::<Vec<_>>())
    }
}

/// Of the second question, none is among its passages.
const EVIDENCE: [&[bool]; 3] = [&[true, false, false], &[false; 4], &[false, true, false, true, false]];

const LM: Pass = Pass {
    memory: MemoryEncoder::Trained,
    recompute: Recompute::Nothing,
    dropout: 0.0,
    seed: 5,
    lm_scale: 0.3,
    distill_scale: 0.0,
    teacher: Teacher::Perplexity,
};

fn run(reader: &Reader<Machine>, batch: &Batch, pass: &Pass) -> (Losses, Weights<Grad<Machine>>) {
    let mut grads = zero_gradients(reader).unwrap();
    let losses = batch.with(|examples| gradients(reader, examples, pass, &mut grads)).unwrap();
    (losses, grads)
}

fn loss(reader: &Reader<Machine>, batch: &Batch, pass: &Pass) -> f64 {
    let losses = run(reader, batch, pass).0;
    pass.lm_scale * losses.lm + pass.distill_scale * losses.distill
}

/// Holds `⟨gradient, direction⟩` of each parameter that `which` names against the central difference along a random
/// direction; returns how many of those gradients were not 0.
fn check(reader: &mut Reader<Machine>, pass: &Pass, which: impl Fn(&str) -> bool + Send) -> usize {
    // These operations are so small that threads would do nothing but wait for each other.
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    alone.install(|| check_here(reader, pass, which))
}

fn check_here(reader: &mut Reader<Machine>, pass: &Pass, which: impl Fn(&str) -> bool) -> usize {
    let (step, batch) = (1e-5, Batch::new());
    let names: Vec<String> =
        Weights::spec(&reader.config, &reader.glimmer).leaves().iter().map(|s| s.name.clone()).collect();
    let (_, grads) = run(reader, &batch, pass);
    let mut moving = 0;
    for (place, name) in names.iter().enumerate().filter(|(_, name)| which(name)) {
        let grad = grads.leaves()[place].buf.to_vec();
        let direction: Vec<f64> = (0..grad.len() as u64).map(|i| random::normal(31, place as u64, i)).collect();
        let before = values(&reader.be, reader.weights.leaves()[place]);
        let go = |reader: &mut Reader<Machine>, offset: f64| {
            let leaf: &mut Mat<Machine> = reader.weights.leaves_mut().swap_remove(place);
            for ((w, x), d) in leaf.buf.iter_mut().zip(&before).zip(&direction) {
                *w = x + offset * d;
            }
        };
        let [above, below] = [step, -step].map(|offset| {
            go(reader, offset);
            loss(reader, &batch, pass)
        });
        go(reader, 0.0);
        let difference = (above - below) / (2.0 * step);
        let found: f64 = grad.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let size = grad.iter().map(|g| g * g).sum::<f64>().sqrt();
        let error = (found - difference).abs();
        assert!(error <= 1e-6 * size + 1e-9, "{name}: {found:e} along the gradient, {difference:e} by differences");
        moving += usize::from(size > 1e-9);
    }
    moving
}

/// Everything that a reader may have, apart.
fn cuts() -> Vec<(&'static str, Glimmer)> {
    let with = |change: fn(&mut Glimmer)| {
        let mut glimmer = cut(4, 2, 2);
        change(&mut glimmer);
        glimmer
    };
    vec![
        ("glimmer", with(|_| {})),
        ("fid", cut(LAYERS, 0, 5)),
        ("lumen", cut(2, 0, 5)),
        ("mean, norm", with(|g| (g.score_pool, g.score_norm) = (Pool::Mean, true))),
        ("question encoder", with(|g| g.question_encoder = true)),
        ("reranker", with(|g| g.reranker = true)),
    ]
}

/// Of every parameter.
fn check_all(what: &str, glimmer: Glimmer, pass: &Pass) {
    let mut reader = reader::<f64>(glimmer, 3);
    let moving = check(&mut reader, pass, |_| true);
    let all = reader.weights.leaves().len();
    // The scorer learns from the distillation alone, and so does a reranker of its own; FiD has no memory.
    assert!(moving * 10 >= all * 6, "{what}: only {moving} of {all} parameters have a gradient");
}

#[test]
fn the_language_models_gradient_is_that_of_its_loss() {
    for dropout in [0.0, 0.2] {
        check_all("glimmer", cut(4, 2, 2), &Pass { dropout, ..LM });
    }
}

#[test]
fn the_language_models_gradient_is_that_of_its_loss_whatever_the_reader() {
    for (what, glimmer) in cuts() {
        check_all(what, glimmer, &Pass { dropout: 0.2, recompute: Recompute::Layers, ..LM });
    }
}

/// The language model's distribution is a constant to the distillation: differences see what it teaches only where the
/// parameter has no part in that distribution.
#[test]
fn the_distillations_gradient_is_that_of_its_loss() {
    let apart = |name: &str| name.starts_with("scorer.") || name.starts_with("reranker.");
    for direction in [DistillDirection::LmRank, DistillDirection::RankLm] {
        for answer in [AnswerLogProb::Sum, AnswerLogProb::Mean] {
            let mut glimmer = cut(4, 2, 2);
            (glimmer.score_norm, glimmer.reranker, glimmer.temperature) = (true, true, 0.7);
            (glimmer.distill_direction, glimmer.answer_log_prob) = (direction, answer);
            let pass = Pass { distill_scale: 0.4, ..LM };
            let moving = check(&mut reader::<f64>(glimmer, 3), &pass, apart);
            assert_eq!(moving, 2 + 1 + 2 * 9, "scorer and its norm; bias and two layers of the reranker");
        }
    }
}

/// Every parameter before the scores, the reader's as well: evidence depends on none.
#[test]
fn evidence_teaches_the_scores_and_all_before_them() {
    for (reranker, direction) in [(false, DistillDirection::LmRank), (true, DistillDirection::RankLm)] {
        let mut glimmer = cut(4, 2, 2);
        (glimmer.score_norm, glimmer.reranker, glimmer.temperature) = (true, reranker, 0.7);
        (glimmer.distill_direction, glimmer.retrieval_weight) = (direction, 1.5);
        let pass = Pass { distill_scale: 0.4, teacher: Teacher::Evidence, ..LM };
        let mut reader = reader::<f64>(glimmer, 3);
        let moving = check(&mut reader, &pass, |_| true);
        assert_eq!(moving, reader.weights.leaves().len());
    }
}

#[test]
fn evidence_is_compared_with_the_scores() {
    let (batch, mut glimmer) = (Batch::new(), cut(4, 2, 2));
    (glimmer.temperature, glimmer.retrieval_weight) = (0.7, 1.5);
    let reader = reader::<f64>(glimmer, 3);
    let pass = Pass { distill_scale: 0.4, teacher: Teacher::Evidence, ..LM };
    let found = run(&reader, &batch, &pass).0.distill;
    let scores = batch.with(|examples| {
        let questions: Vec<Question<'_>> = examples.iter().map(|example| example.question).collect();
        reader.be.download(&reader.score(&questions).unwrap().scores).unwrap()
    });
    let wanted = |scores: &[f64], places: &[usize]| {
        let mass: f64 = scores.iter().map(|score| (score / 0.7).exp()).sum();
        let share = 1.0 / places.len() as f64;
        places.iter().map(|&place| share * (share.ln() - (scores[place] / 0.7 - mass.ln()))).sum::<f64>()
    };
    let wanted = wanted(&scores[..3], &[0]) + wanted(&scores[7..], &[1, 3]);
    assert!((found - wanted).abs() <= 1e-12 * wanted, "{found} against {wanted}");
}

#[test]
fn a_frozen_memory_encoder_has_no_gradient_and_the_rest_has_the_same() {
    let batch = Batch::new();
    let reader = reader::<f64>(cut(4, 2, 2), 3);
    let (_, trained) = run(&reader, &batch, &LM);
    let (_, frozen) = run(&reader, &batch, &Pass { memory: MemoryEncoder::Frozen, ..LM });
    let specs = Weights::spec(&reader.config, &reader.glimmer);
    for ((spec, trained), frozen) in specs.leaves().into_iter().zip(trained.leaves()).zip(frozen.leaves()) {
        let memory = spec.name.starts_with("encoder.block.0.") || spec.name.starts_with("encoder.block.1.");
        if memory {
            assert!(frozen.buf.iter().all(|&g| g == 0.0), "{}", spec.name);
            assert!(trained.buf.iter().any(|&g| g != 0.0), "{}", spec.name);
        } else if spec.name != "shared.weight" {
            assert!(frozen.buf[..] == trained.buf[..], "{}", spec.name);
        }
    }
}

/// Whoever adds up the gradients of several processes is told of each once, when it is what it stays.
#[test]
fn gradients_are_told_of_when_they_are_done() {
    let batch = Batch::new();
    for (what, glimmer) in cuts() {
        for memory in [MemoryEncoder::Trained, MemoryEncoder::Frozen] {
            let reader = reader::<f64>(glimmer.clone(), 3);
            let pass = Pass { memory, distill_scale: 0.4, ..LM };
            let (mut grads, mut told) = (zero_gradients(&reader).unwrap(), Vec::new());
            let mut done = |bucket: Vec<&mut Grad<Machine>>| {
                told.extend(bucket.into_iter().map(|grad| (grad.buf.as_ptr(), grad.buf.to_vec())));
            };
            batch.with(|examples| gradients_done(&reader, examples, &pass, (&mut grads, &mut done))).unwrap();
            assert_eq!(told[0].0, grads.decoder.head.buf.as_ptr(), "the last of the forward pass is the first");
            let trained = Trained::of(&reader.config, &reader.glimmer, memory);
            let specs = Weights::spec(&reader.config, &reader.glimmer);
            for ((spec, grad), trained) in specs.leaves().into_iter().zip(grads.leaves()).zip(trained.leaves()) {
                let name = format!("{what}, {memory:?}: {}", spec.name);
                let of: Vec<_> = told.iter().filter(|(place, _)| *place == grad.buf.as_ptr()).collect();
                match &of[..] {
                    [] => assert!(!trained || grad.buf.iter().all(|&g| g == 0.0), "{name} is not told of"),
                    [(_, values)] => assert!(values[..] == grad.buf[..], "{name} is told of too early"),
                    _ => panic!("{name} is told of {} times", of.len()),
                }
            }
        }
    }
}

#[test]
fn gradients_add_up() {
    let batch = Batch::new();
    let reader = reader::<f64>(cut(4, 2, 2), 3);
    let (_, once) = run(&reader, &batch, &LM);
    let mut twice = zero_gradients(&reader).unwrap();
    for _ in 0..2 {
        batch.with(|examples| gradients(&reader, examples, &LM, &mut twice)).unwrap();
    }
    for (once, twice) in once.leaves().into_iter().zip(twice.leaves()) {
        let doubled: Vec<f64> = once.buf.iter().map(|g| 2.0 * g).collect();
        crate::common::assert_close("twice", &twice.buf, &doubled, 1e-12);
    }
}

/// However many of them are at once, and on however many threads.
#[test]
fn passes_side_by_side_find_what_they_find_one_after_another() {
    let batch = Batch::new();
    let reader = reader::<f64>(cut(4, 2, 2), 3);
    let pass = Pass { dropout: 0.2, ..LM };
    let mut in_turn = zero_gradients(&reader).unwrap();
    let mut wanted = Losses::default();
    batch.with(|examples| {
        for part in examples.chunks(1) {
            wanted += gradients(&reader, part, &pass, &mut in_turn).unwrap();
        }
    });
    let run = |threads: usize, at_once: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (mut own, mut grads, mut losses) = (Vec::new(), zero_gradients(&reader).unwrap(), Losses::default());
        batch.with(|examples| {
            let parts: Vec<_> = examples.chunks(1).collect();
            for some in parts.chunks(at_once) {
                let pass = |part: &&[Example<'_>], grads: &mut _| gradients(&reader, part, &pass, grads);
                losses += pool.install(|| side_by_side(&reader, some, (&mut own, &mut grads), pass)).unwrap();
            }
        });
        assert_eq!(own.len(), at_once);
        assert_eq!(losses, wanted);
        grads.leaves().iter().flat_map(|grad| grad.buf.to_vec()).collect::<Vec<f64>>()
    };
    let found = run(1, 1);
    let wanted: Vec<f64> = in_turn.leaves().iter().flat_map(|grad| grad.buf.to_vec()).collect();
    crate::common::assert_close("side by side", &found, &wanted, 1e-12);
    for (threads, at_once) in [(1, 3), (2, 2), (3, 3)] {
        assert_eq!(run(threads, at_once), found, "{at_once} at once on {threads} threads");
    }
}

#[test]
fn a_pass_that_fails_fails_all_of_them_and_the_first_is_told() {
    let reader = reader::<f64>(cut(4, 2, 2), 3);
    let (mut own, mut grads) = (Vec::new(), zero_gradients(&reader).unwrap());
    let pass = |part: &usize, _: &mut _| if *part == 0 { Ok(Losses::default()) } else { bail!("part {part}") };
    let error = side_by_side(&reader, &[0, 1, 2], (&mut own, &mut grads), pass).unwrap_err();
    assert_eq!(error.to_string(), "part 1");
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let reader = reader::<f64>(cut(4, 2, 2), 3);
    let passages: [&[u32]; 1] = [&[5, 1]];
    let refuse = |ids: &[u32], target: &[u32]| {
        let examples = [Example { question: question(ids, &passages), target, evidence: &[] }];
        let mut grads = zero_gradients(&reader).unwrap();
        format!("{:#}", gradients(&reader, &examples, &LM, &mut grads).unwrap_err())
    };
    assert!(refuse(&[4, 1], &[]).contains("question 0 of the batch: its answer has no tokens"));
    assert!(refuse(&[4, 1], &[9999]).contains("its answer: token 0 has id 9999"));
    assert!(refuse(&[], &[1]).contains("has no tokens"));
    let examples = [Example { question: question(&[4, 1], &passages), target: &[1], evidence: &[true, false] }];
    let error = gradients(&reader, &examples, &LM, &mut zero_gradients(&reader).unwrap()).unwrap_err();
    assert!(format!("{error:#}").contains("it has 1 passages, and 2 of them"), "{error:#}");
}
