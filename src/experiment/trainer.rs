//! The loop: batches in, steps out, with evaluations and savings between them.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::batch::{micro_batches, shares};
use super::begin::{begin, fingerprint, open_output};
use super::data::{Data, Drawn};
use super::evaluate::{Evaluation, evaluate};
use super::log::{Line, Log};
use super::plan::Plan;
use super::plot::plot_run;
use super::save::{Output, Saved};
use super::settings::{Init, Objective, Settings};
use super::state::{Best, State};
use crate::backend::{Backward, Grad};
use crate::io::{Progress, Tokenizer, interrupted};
use crate::model::{Glimmer, Reader, Spec, Weights};
use crate::nn::{Done, Tree};
use crate::random;
use crate::train::{
    Losses, Optimiser, Pass, Schedule, Teacher, Together, Trained, gradients_done, passes_at_once, side_by_side,
    zero_gradients,
};

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

/// A training run, or what one of several processes does of it.
pub struct Trainer<B: Backward> {
    plan: Plan,
    together: Together<B>,
    data: Data,
    output: Output,
    /// Of the first process.
    log: Option<Log>,
    state: State,
    /// The step that the saved state is of.
    saved: Option<u64>,
    tokenizer: PathBuf,
    reader: Reader<B>,
    specs: Weights<Spec>,
    optimiser: Optimiser<B>,
    grads: Weights<Grad<B>>,
    /// Of passes side by side.
    own_grads: Vec<Weights<Grad<B>>>,
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
        Self::open_together(be, plan, Together::alone())
    }

    /// Begins what one of several processes does of a run, or takes it up. Every process has the same plan, and sees the
    /// files that it names. Each trains on its share of every batch; the first evaluates and saves.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); processes that do not begin alike.
    pub fn open_together(be: B, plan: Plan, mut together: Together<B>) -> Result<Self> {
        let settings = &plan.settings;
        settings.check()?;
        let (batch, processes) = (settings.batch.get(), together.size());
        ensure!(
            batch >= processes,
            "a batch of {batch} is too small for {processes} processes: each takes one or more"
        );
        let output = open_output(&plan, &mut together)?;
        let state = output.state()?;
        together.agree("state to go on from", &serde_json::to_vec(&state)?)?;
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
        if together.size() > 1 {
            together.agree("reader to begin with", &fingerprint(&reader)?)?;
        }
        let mut data = Data::open(&plan, own, reader.glimmer.selected)?;
        data.remember(&plan, &reader)?;
        let saved = state.as_ref().map(|state| state.step);
        let state = state.unwrap_or_default();
        let log = together.is_first().then(|| Log::open(&output.path(LOG), &state)).transpose()?;
        let (grads, schedule) = (zero_gradients(&reader)?, settings.schedule());
        let progress = Progress::hidden();
        Ok(Self {
            plan,
            together,
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
            own_grads: Vec::new(),
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
        if self.together.is_first() {
            self.progress = Progress::new("training", steps);
        }
        self.progress.skip(self.state.step.min(steps));
        let save_every = self.plan.settings.save_every.get();
        loop {
            let step = self.state.step;
            if self.evaluation_is_due() && !self.evaluate()? {
                // The others wait for the next step, if there is one.
                if step < steps {
                    self.together.any(true)?;
                }
                return self.stop();
            }
            if step >= steps || step > 0 && step.is_multiple_of(save_every) {
                self.save()?;
            }
            if step >= steps {
                return Ok(Ended::Finished);
            }
            if self.together.any(interrupted())? || !self.step()? {
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
        let due = self.together.is_first()
            && step > 0
            && (step.is_multiple_of(settings.evaluate_every.get()) || step >= settings.steps);
        due && self.state.evaluated < step
    }

    /// One step; false where a Ctrl-C came first, and nothing has changed.
    fn step(&mut self) -> Result<bool> {
        let started = Instant::now();
        let settings = &self.plan.settings;
        let (step, questions) = (self.state.step, settings.batch.get() as u64);
        let batch = self.data.draw(step * questions..(step + 1) * questions)?;
        let tokens = batch.iter().map(|drawn| drawn.tokens()).sum();
        let Some(own) = self.pass(batch)? else { return Ok(false) };
        let losses = self.together.losses(own)?;
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
        let seconds = started.elapsed().as_secs_f64();
        self.state.window.add(&losses, tokens, seconds);
        self.state.seconds += seconds;
        self.note_steps(rate, norm)?;
        Ok(true)
    }

    /// The gradient of a batch, and the losses of this process's share of it; none where a Ctrl-C came first.
    fn pass(&mut self, batch: Vec<Drawn>) -> Result<Option<Losses>> {
        let Self { plan, together, reader, grads, own_grads, data, state, .. } = self;
        let (settings, be) = (&plan.settings, &reader.be);
        let targets: usize = batch.iter().map(|drawn| drawn.target.len()).sum();
        let distill_scale = distill_weight(settings, &reader.glimmer) / batch.len() as f64;
        let seed = random::bits(settings.seed, MASKS, state.step);
        let places = shares(&batch, together.size()).swap_remove(together.rank());
        let mut batch: Vec<Option<Drawn>> = batch.into_iter().map(Some).collect();
        let own: Vec<Drawn> = places.iter().filter_map(|&place| batch[place].take()).collect();
        grads.leaves_mut().into_iter().for_each(|grad| be.clear(grad));

        let alone = together.size() == 1;
        let (reader, data) = (&*reader, &*data);
        let pass = |(part, place): (&[Drawn], usize), grads: &mut _, done: Done<'_, B>| {
            let pass = Pass {
                memory: settings.memory,
                recompute: settings.recompute,
                dropout: settings.dropout.unwrap_or(reader.config.dropout_rate),
                // By the place of the part in the whole batch, whoever it falls to.
                seed: random::bits(seed, 0, place as u64),
                lm_scale: 1.0 / targets as f64,
                distill_scale,
                teacher: settings.teacher,
            };
            gradients_done(reader, &data.examples(part)?.examples(), &pass, (grads, done))
        };
        let mut passed = 0;
        let parts = micro_batches(&own, settings.micro_batch_tokens.get()).into_iter().map(|part| {
            passed += part.len();
            (part, places[passed - part.len()])
        });
        let parts: Vec<_> = parts.collect();
        let at_once = if alone { passes_at_once(reader) } else { None };
        let mut losses = Losses::default();
        for (i, some) in parts.chunks(at_once.unwrap_or(1)).enumerate() {
            // Several stop between steps, all at the same one.
            if alone && interrupted() {
                return Ok(None);
            }
            if at_once.is_some() {
                let pass = |&part: &_, grads: &mut _| pass(part, grads, &mut |_| {});
                losses += side_by_side(reader, some, (own_grads, grads), pass)?;
                continue;
            }
            let mut done = |bucket: Vec<&mut Grad<B>>| {
                if i + 1 == parts.len() {
                    together.sum(be, bucket);
                }
            };
            losses += pass(some[0], grads, &mut done)?;
        }
        together.join(be)?;
        Ok(Some(losses))
    }

    /// A line of the log, where one is due.
    fn note_steps(&mut self, learning_rate: f64, gradient_norm: Option<f64>) -> Result<()> {
        let (step, window) = (self.state.step, &self.state.window);
        let examples_per_second = window.rate(window.questions);
        let loss = window.lm_loss();
        let distills = distill_weight(&self.plan.settings, &self.reader.glimmer) > 0.0;
        self.progress.note(&format!("loss {loss:.3} · {examples_per_second:.1} examples/s"));
        if !step.is_multiple_of(self.plan.settings.log_every.get()) && step < self.plan.settings.steps {
            return Ok(());
        }
        let Some(log) = &mut self.log else {
            self.state.window = Default::default();
            return Ok(());
        };
        log.add(&Line::Trained {
            step,
            lm_loss: loss,
            distill_loss: distills.then(|| window.distill_loss()),
            learning_rate,
            gradient_norm,
            examples_per_second,
            tokens_per_second: window.rate(window.tokens),
            seconds: self.state.seconds,
        })?;
        self.state.window = Default::default();
        Ok(())
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
        let line = Line::Evaluated { step, evaluation, best, seconds: self.state.seconds };
        self.log.as_mut().map_or(Ok(()), |log| log.add(&line))?;
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
        if !self.together.is_first() {
            return Ok(());
        }
        self.output.save_last(&self.saved_now())?;
        self.saved = Some(self.state.step);
        self.tokenizer = self.output.last();
        plot_run(&self.output.path(LOG), &self.output.path(PLOT))
    }
}

/// The weight of the distillation. What the reader would teach is none of it where every passage is read, whatever its score.
fn distill_weight(settings: &Settings, glimmer: &Glimmer) -> f64 {
    let passages = settings.passages.get();
    let teaches = match settings.teacher {
        Teacher::Perplexity => settings.objective == Objective::Tasks && passages > glimmer.selected,
        Teacher::Evidence => passages > 1,
    };
    if teaches { glimmer.distill_weight } else { 0.0 }
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
