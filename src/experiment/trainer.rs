//! The loop: batches in, steps out, with evaluations and savings between them.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::batch::micro_batches;
use super::data::Data;
use super::evaluate::{Evaluation, evaluate};
use super::log::{Line, Log};
use super::plan::Plan;
use super::plot::plot_run;
use super::save::{Output, Saved};
use super::settings::{Beginning, Init, Objective, RerankerInit};
use super::state::{Best, State};
use crate::backend::{Backend, Backward, Grad};
use crate::io::{Progress, Tokenizer, interrupted};
use crate::model::{Reader, Spec, Weights};
use crate::nn::Tree;
use crate::random;
use crate::train::{Losses, Optimiser, Pass, Schedule, Trained, gradients, zero_gradients};

/// Stream of the experiment's seed that the passes' masks are drawn from.
const MASKS: u64 = 6;
const LOG: &str = "log.jsonl";
const PLOT: &str = "log.svg";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done.
    Finished,
    /// A Ctrl-C came first; the run can go on.
    Stopped,
}

/// A training run.
pub struct Trainer<B: Backward> {
    plan: Plan,
    data: Data,
    output: Output,
    log: Log,
    state: State,
    /// The step that the saved state is of.
    saved: Option<u64>,
    tokenizer: PathBuf,
    reader: Reader<B>,
    specs: Weights<Spec>,
    optimiser: Optimiser<B>,
    grads: Weights<Grad<B>>,
    schedule: Schedule,
    progress: Progress,
}

impl<B: Backward> Trainer<B> {
    /// Begins a run, or takes it up where it was saved.
    ///
    /// # Errors
    /// Settings, files or a checkpoint that cannot be used, with their place; an output folder of another run; a
    /// Ctrl-C while data is made ready.
    pub fn open(be: B, plan: Plan) -> Result<Self> {
        let settings = &plan.settings;
        settings.check()?;
        let output = Output::open(&plan.output, settings)?;
        let state = output.state()?;
        let tokenizer = match (&state, &settings.init) {
            (Some(_), _) => output.last(),
            (None, Init::Checkpoint(folder)) => plan.path(folder),
            (None, Init::Random(sizes)) => plan.path(&sizes.tokenizer),
        };
        let reader = match &state {
            Some(_) => Reader::load(be, &output.last(), |config| settings.glimmer(config))?,
            None => begin(be, &plan, &tokenizer)?,
        };
        let config = &reader.config;
        let (own, ids) = (Tokenizer::open(&tokenizer)?, config.vocab_size);
        ensure!(
            own.vocab_size() <= ids,
            "the tokenizer in {} has {} ids, and the model's vocabulary {ids}: they do not belong together",
            tokenizer.display(),
            own.vocab_size()
        );
        let specs = Weights::spec(config, &reader.glimmer);
        let trained = Trained::of(config, &reader.glimmer, settings.memory);
        let mut optimiser = Optimiser::new(&reader.be, &specs, &trained, settings.optimiser)
            .clipped(settings.clip_norm)
            .scoring_at(settings.scorer_rate);
        if state.is_some() {
            output.restore(&reader.be, &specs, &mut optimiser)?;
        }
        let mut data = Data::open(&plan, own, reader.glimmer.selected)?;
        data.remember(&plan, &reader)?;
        let saved = state.as_ref().map(|state| state.step);
        let state = state.unwrap_or_default();
        let log = Log::open(&output.path(LOG), &state)?;
        let (grads, schedule) = (zero_gradients(&reader)?, settings.schedule());
        let progress = Progress::hidden();
        Ok(Self {
            plan,
            data,
            output,
            log,
            state,
            saved,
            tokenizer,
            reader,
            specs,
            optimiser,
            grads,
            schedule,
            progress,
        })
    }

    /// The reader as it is now.
    pub fn reader(&self) -> &Reader<B> {
        &self.reader
    }

    /// Where the run is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What a user should know of the data.
    pub fn notes(&self) -> &[String] {
        &self.data.notes
    }

    /// Trains to the last step, or to a Ctrl-C.
    ///
    /// # Errors
    /// A loss that is no number, those of the machine and of the file system.
    pub fn run(&mut self) -> Result<Ended> {
        let steps = self.plan.settings.steps;
        self.progress = Progress::new("training", steps);
        self.progress.skip(self.state.step.min(steps));
        let save_every = self.plan.settings.save_every.get();
        loop {
            let step = self.state.step;
            if self.evaluation_is_due() && !self.evaluate()? {
                return self.stop();
            }
            if step >= steps || step > 0 && step.is_multiple_of(save_every) {
                self.save()?;
            }
            if step >= steps {
                return Ok(Ended::Finished);
            }
            if interrupted() || !self.step()? {
                return self.stop();
            }
            self.progress.add(1);
        }
    }

    fn stop(&mut self) -> Result<Ended> {
        self.save()?;
        Ok(Ended::Stopped)
    }

    fn evaluation_is_due(&self) -> bool {
        let settings = &self.plan.settings;
        let step = self.state.step;
        let due = step > 0 && (step.is_multiple_of(settings.evaluate_every.get()) || step >= settings.steps);
        due && self.state.evaluated < step
    }

    /// One step; false where a Ctrl-C came first, and nothing has changed.
    fn step(&mut self) -> Result<bool> {
        let started = Instant::now();
        let settings = &self.plan.settings;
        let (step, questions) = (self.state.step, settings.batch.get() as u64);
        let batch = self.data.draw(step * questions..(step + 1) * questions)?;
        let targets: usize = batch.iter().map(|drawn| drawn.target.len()).sum();
        self.grads.leaves_mut().into_iter().for_each(|grad| self.reader.be.clear(grad));
        let mut losses = Losses::default();
        for (number, part) in (0..).zip(micro_batches(&batch, settings.micro_batch_tokens.get())) {
            if interrupted() {
                return Ok(false);
            }
            let pass = Pass {
                memory: settings.memory,
                recompute: settings.recompute,
                dropout: settings.dropout.unwrap_or(self.reader.config.dropout_rate),
                seed: random::bits(random::bits(settings.seed, MASKS, step), 0, number),
                lm_scale: 1.0 / targets as f64,
                distill_scale: self.distill_weight() / questions as f64,
            };
            losses += gradients(&self.reader, &self.data.examples(part)?.examples(), &pass, &mut self.grads)?;
        }
        ensure!(
            losses.lm.is_finite() && losses.distill.is_finite(),
            "the loss of step {step} is no number (language model {}, distillation {}): the learning rate is too high; \
             {} has the state of step {}",
            losses.lm,
            losses.distill,
            self.output.last().display(),
            self.saved.unwrap_or(0)
        );
        let rate = self.schedule.rate(step);
        let norm = self.optimiser.step(&mut self.reader, &self.grads, step, rate)?;
        self.state.step += 1;
        let tokens = batch.iter().map(|drawn| drawn.tokens()).sum();
        let seconds = started.elapsed().as_secs_f64();
        self.state.window.add(&losses, tokens, seconds);
        self.state.seconds += seconds;
        self.note_steps(rate, norm)?;
        Ok(true)
    }

    /// A line of the log, where one is due.
    fn note_steps(&mut self, learning_rate: f64, gradient_norm: Option<f64>) -> Result<()> {
        let (step, window) = (self.state.step, &self.state.window);
        let examples_per_second = window.rate(window.questions);
        let loss = window.lm_loss();
        self.progress.note(&format!("loss {loss:.3} · {examples_per_second:.1} examples/s"));
        if !step.is_multiple_of(self.plan.settings.log_every.get()) && step < self.plan.settings.steps {
            return Ok(());
        }
        self.log.add(&Line::Trained {
            step,
            lm_loss: loss,
            distill_loss: (self.distill_weight() > 0.0).then(|| window.distill_loss()),
            learning_rate,
            gradient_norm,
            examples_per_second,
            tokens_per_second: window.rate(window.tokens),
            seconds: self.state.seconds,
        })?;
        self.state.window = Default::default();
        Ok(())
    }

    /// The weight of the distillation: none where every passage is read, whatever its score.
    fn distill_weight(&self) -> f64 {
        let (settings, glimmer) = (&self.plan.settings, &self.reader.glimmer);
        let chooses = settings.objective == Objective::Tasks && settings.passages.get() > glimmer.selected;
        if chooses { glimmer.distill_weight } else { 0.0 }
    }

    /// An evaluation, and the best checkpoint if it is the best one; false where a Ctrl-C came first.
    fn evaluate(&mut self) -> Result<bool> {
        let started = Instant::now();
        self.progress.note("evaluating");
        let evaluation = evaluate(&self.reader, &self.data, &self.plan.settings)?;
        if interrupted() {
            return Ok(false);
        }
        let step = self.state.step;
        self.state.seconds += started.elapsed().as_secs_f64();
        self.state.evaluated = step;
        let Some(evaluation) = evaluation else {
            // With nothing to evaluate on, the latest checkpoint is the best one.
            self.output.save_best(&self.saved_now())?;
            return Ok(true);
        };
        let best = self.state.best.as_ref().is_none_or(|best| evaluation.score > best.score);
        self.progress.say(&told(step, &evaluation, self.state.best.as_ref()));
        if best {
            self.state.best = Some(Best { step, score: evaluation.score });
            self.output.save_best(&self.saved_now())?;
        }
        self.log.add(&Line::Evaluated { step, evaluation, best, seconds: self.state.seconds })?;
        Ok(true)
    }

    fn saved_now(&self) -> Saved<'_, B> {
        Saved {
            reader: &self.reader,
            specs: &self.specs,
            optimiser: &self.optimiser,
            state: &self.state,
            settings: &self.plan.settings,
            tokenizer: &self.tokenizer,
        }
    }

    /// Saves all that the run goes on from.
    fn save(&mut self) -> Result<()> {
        self.output.save_last(&self.saved_now())?;
        self.saved = Some(self.state.step);
        self.tokenizer = self.output.last();
        plot_run(&self.output.path(LOG), &self.output.path(PLOT))
    }
}

/// The reader that training begins with.
fn begin<B: Backend>(be: B, plan: &Plan, tokenizer: &std::path::Path) -> Result<Reader<B>> {
    let settings = &plan.settings;
    let mut reader = match &settings.init {
        Init::Checkpoint(folder) => Reader::load(be, &plan.path(folder), |config| settings.glimmer(config))?,
        Init::Random(sizes) => {
            let config = sizes.config(Tokenizer::open(tokenizer)?.vocab_size());
            let glimmer = settings.glimmer(&config)?;
            let random = Reader::random(be, config, glimmer, settings.seed);
            let mut reader = random.context("init.random has sizes that no model has")?;
            reader.lend()?;
            if sizes.beginning == Beginning::Copying {
                reader.begin_copying(settings.seed)?;
            }
            reader
        }
    };
    if settings.reranker_init == RerankerInit::Random {
        reader.begin_reranker(settings.seed);
    }
    Ok(reader)
}

/// An evaluation in a line.
fn told(step: u64, evaluation: &Evaluation, best: Option<&Best>) -> String {
    let tasks: Vec<String> =
        evaluation.tasks.iter().map(|(name, score)| format!("{name} {:.1}", 100.0 * score)).collect();
    let of = match evaluation.loss {
        Some(loss) => format!("dev loss {loss:.4}"),
        None => format!("dev score {:.2} ({})", 100.0 * evaluation.score, tasks.join(", ")),
    };
    let before = match best {
        Some(best) if best.score >= evaluation.score => format!("; best at step {}", best.step),
        _ => "; the best so far".into(),
    };
    format!("step {step}: {of}{before}")
}
