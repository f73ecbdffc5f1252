//! What is learned from: every example is a function of the seed and its number.

use anyhow::{Result, ensure};

use super::batch::Examples;
use super::learned::{self, Asked, Learned};
use super::plan::Plan;
use super::settings::{Objective, Retriever, Settings, Target};
use super::spans::{self, SpanCorruption};
use super::substitute::{rename, substitute};
use super::texts::Texts;
use super::thin::thinned;
use crate::backend::Backend;
use crate::eval::{self, Corpus, Prompts, Retrieved, Task, build_memory, memory_fingerprint};
use crate::io::Tokenizer;
use crate::kilt::{ChunkOptions, Mixture, Sample};
use crate::memory::{Format, Store};
use crate::model::Reader;
use crate::random::{self, Stream};
use crate::train::MemoryEncoder;

/// One passage in so many is kept from span corruption, to be evaluated on.
const HELD_OUT: usize = 64;

/// Streams of the experiment's seed; the mixture draws from 0 and 1.
const ANSWER: u64 = 2;
const PLACE: u64 = 3;
const PASSAGE: u64 = 4;
const SPANS: u64 = 5;
const SUBSTITUTE: u64 = 7;
const THIN: u64 = 8;

/// A question with its passages and its answer, as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The question.
    pub question: Vec<u32>,
    /// Its passages, best first.
    pub passages: Vec<Vec<u32>>,
    /// What is to be answered.
    pub target: Vec<u32>,
    /// The passages' numbers in the corpus; none where they are not the corpus's, or not as it has them.
    pub numbers: Vec<u32>,
    /// Which of the passages are evidence; none where they are not the corpus's.
    pub evidence: Vec<bool>,
}

impl Drawn {
    /// Tokens that pass through the live encoder.
    pub fn tokens(&self) -> usize {
        self.passages.iter().map(|passage| self.question.len() + passage.len()).sum()
    }
}

/// Everything that a run reads from disk before it begins.
pub struct Data {
    texts: Texts,
    source: Source,
    seed: u64,
    /// The corpus's memories, where the encoder that made them is frozen.
    store: Option<Store>,
    /// Tasks of the evaluation.
    pub dev: Vec<Task>,
    /// What a user should know of the data.
    pub notes: Vec<String>,
}

enum Source {
    Tasks { tasks: Vec<Learned>, mixture: Mixture, how: HowAsked },
    Spans { spans: SpanCorruption, sentinels: Vec<u32>, train: Vec<u32>, dev: Vec<u32> },
}

/// What of the settings an example depends on.
struct HowAsked {
    passages: usize,
    selected: usize,
    target: Target,
    target_tokens: usize,
    substitute: f64,
}

impl Data {
    /// Reads the files of an experiment; what is made of them once is kept in its `work` folder. `selected` is the
    /// reader's `m`.
    ///
    /// # Errors
    /// A file that cannot be read or used, with its place; a Ctrl-C.
    pub fn open(plan: &Plan, tokenizer: Tokenizer, selected: usize) -> Result<Self> {
        let settings = &plan.settings;
        if settings.objective == Objective::Tasks {
            learned::check(plan)?;
        }
        let _held = plan.hold_work()?;
        let corpus = match &settings.knowledge {
            Some(knowledge) if needs_corpus(settings) => {
                let options = ChunkOptions { max_words: settings.passage_words };
                Some(Corpus::open_or_cut(&plan.work.join("corpus"), &plan.path(knowledge), options)?)
            }
            _ => None,
        };
        let (question_tokens, passage_tokens) = (settings.question_tokens.get(), settings.passage_tokens.get());
        let prompts = Prompts { tokenizer, question_tokens, passage_tokens };
        let mut notes = Vec::new();
        if let Some(corpus) = &corpus {
            notes.push(format!("corpus: {} passages of {} pages", corpus.len(), corpus.pages().0));
        }
        let (source, dev) = match &settings.objective {
            Objective::SpanCorruption(spans) => {
                let passages = corpus.as_ref().map_or(0, Corpus::len);
                (Source::of_spans(*spans, &prompts.tokenizer, passages)?, Vec::new())
            }
            Objective::Tasks => {
                let tasks = learned::read(plan, corpus.as_ref(), &mut notes)?;
                let dev = learned::read_dev(plan, corpus.as_ref())?;
                let sizes: Vec<(&str, usize)> = tasks.iter().map(|t| (t.name.as_str(), t.asked.len())).collect();
                let mixture = Mixture::new(&sizes, settings.seed)?;
                let how = HowAsked {
                    passages: settings.passages.get(),
                    selected,
                    target: settings.target,
                    target_tokens: settings.target_tokens.get(),
                    substitute: settings.substitute,
                };
                (Source::Tasks { tasks, mixture, how }, dev)
            }
        };
        Ok(Self { texts: Texts::new(prompts, corpus), source, seed: settings.seed, store: None, dev, notes })
    }

    /// Encodes the corpus once for the whole run, where `reader`'s memory encoder is frozen and passages are learned as
    /// the corpus has them.
    ///
    /// # Errors
    /// Those of building a store; a Ctrl-C.
    pub fn remember<B: Backend>(&mut self, plan: &Plan, reader: &Reader<B>) -> Result<()> {
        let Some(corpus) = &self.texts.corpus else { return Ok(()) };
        let Settings { memory, retriever, substitute, objective, .. } = &plan.settings;
        let once = *memory == MemoryEncoder::Frozen && reader.memory_layers() > 0 && *substitute == 0.0;
        if once && *retriever == Retriever::Bm25 && *objective == Objective::Tasks {
            let _held = plan.hold_work()?;
            let fingerprint = memory_fingerprint(reader, corpus, &self.texts.prompts)?;
            let folder = plan.work.join(format!("memory-{}", &fingerprint[..12]));
            self.store = Some(build_memory(&folder, Format::Bf16, reader, corpus, &self.texts.prompts)?);
        }
        Ok(())
    }

    /// Where evaluations have the memories from.
    pub fn memories(&self) -> eval::Source<'_> {
        self.store.as_ref().map_or(eval::Source::Fresh, eval::Source::Store)
    }

    /// Examples as the reader takes them, their passages stored where they are.
    ///
    /// # Errors
    /// A store or a corpus that is damaged.
    pub fn examples<'a>(&'a self, drawn: &'a [Drawn]) -> Result<Examples<'a>> {
        match (&self.store, &self.texts.corpus) {
            (Some(store), Some(corpus)) => Examples::stored(drawn, corpus, store),
            _ => Ok(Examples::new(drawn)),
        }
    }

    /// How texts become tokens.
    pub fn prompts(&self) -> &Prompts {
        &self.texts.prompts
    }

    /// The knowledge source's passages.
    pub fn corpus(&self) -> Option<&Corpus> {
        self.texts.corpus.as_ref()
    }

    /// The examples of these numbers.
    ///
    /// # Errors
    /// Those of the tokenizer, and a damaged corpus.
    pub fn draw(&self, numbers: std::ops::Range<u64>) -> Result<Vec<Drawn>> {
        match &self.source {
            Source::Tasks { tasks, mixture, how } => {
                let drawn: Vec<(u64, Sample)> = numbers.map(|number| (number, mixture.sample(number))).collect();
                let chosen = drawn.iter().map(|&(number, Sample { task, record })| {
                    let asked = &tasks[task].asked[record];
                    self.passages(asked, how, number)
                });
                let chosen: Vec<Retrieved> = chosen.collect();
                let passages = self.texts.passages(&chosen)?;
                let asked = |(((number, sample), chosen), passages): (((u64, Sample), Retrieved), _)| {
                    let learned = &tasks[sample.task];
                    let asked = (&learned.asked[sample.record], learned.thin);
                    let drawn = self.asked(asked, (chosen, passages), how, number)?;
                    self.substituted(drawn, learned, how, number)
                };
                drawn.into_iter().zip(chosen).zip(passages).map(asked).collect()
            }
            Source::Spans { train, .. } => {
                let passage = |number| train[random::below(self.seed, PASSAGE, number, train.len())];
                let stream = |number| Stream::new(random::bits(self.seed, SPANS, 0), number);
                self.corrupted(numbers.map(|number| (passage(number), stream(number))).collect())
            }
        }
    }

    /// A question, with the passages chosen for it and their tokens.
    fn asked(
        &self,
        (asked, thin): (&Asked, f64),
        (chosen, passages): (Retrieved, Vec<Vec<u32>>),
        how: &HowAsked,
        number: u64,
    ) -> Result<Drawn> {
        let answer = match how.target {
            Target::First => 0,
            Target::Random => random::below(self.seed, ANSWER, number, asked.answers.len()),
        };
        let words = thinned(&asked.input, thin, Stream::new(random::bits(self.seed, THIN, 0), number));
        let question = self.texts.prompts.question(&words)?.ids;
        let target = self.texts.answer(&asked.answers[answer], how.target_tokens)?;
        let numbers = match chosen {
            Retrieved::Corpus(numbers) => numbers,
            Retrieved::Given(_) => Vec::new(),
        };
        let evidence = numbers.iter().map(|number| asked.evidence.contains(number)).collect();
        Ok(Drawn { question, passages, target, numbers, evidence })
    }

    /// The same question, or one whose answer is substituted.
    fn substituted(&self, drawn: Drawn, learned: &Learned, how: &HowAsked, number: u64) -> Result<Drawn> {
        let stream = Stream::new(random::bits(self.seed, SUBSTITUTE, 0), number);
        if random::unit(stream.bits(0)) >= how.substitute {
            return Ok(drawn);
        }
        let titles = self.texts.titles(&drawn.numbers)?;
        if let Some(renamed) = rename(&drawn, &titles, self.texts.prompts.tokenizer.vocab_size(), stream) {
            return Ok(renamed);
        }
        let other = &learned.asked[random::within(stream.bits(1), learned.asked.len())].answers[0];
        Ok(substitute(drawn, &self.texts.answer(other, how.target_tokens)?))
    }

    /// The first of the examples that were kept back: passages, corrupted the same way each time. None for tasks,
    /// which have files of their own for that.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn held_out(&self, wanted: usize) -> Result<Vec<Drawn>> {
        match &self.source {
            Source::Tasks { .. } => Ok(Vec::new()),
            Source::Spans { dev, .. } => {
                let chosen = dev.iter().take(wanted);
                self.corrupted(chosen.map(|&passage| (passage, Stream::new(0, u64::from(passage)))).collect())
            }
        }
    }

    fn corrupted(&self, chosen: Vec<(u32, Stream)>) -> Result<Vec<Drawn>> {
        let Source::Spans { spans, sentinels, .. } = &self.source else { return Ok(Vec::new()) };
        let numbers = [Retrieved::Corpus(chosen.iter().map(|(passage, _)| *passage).collect())];
        let texts = self.texts.passages(&numbers)?.concat();
        let drawn = chosen.iter().zip(texts).map(|((_, stream), text)| {
            // The end of text is no part of it.
            let corrupted = spans.corrupt(&text[..text.len() - 1], sentinels, *stream);
            let (question, passages) = (vec![Tokenizer::EOS], vec![corrupted.input]);
            Drawn { question, passages, target: corrupted.target, numbers: Vec::new(), evidence: Vec::new() }
        });
        Ok(drawn.collect())
    }

    /// The passages that a question is learned with.
    fn passages(&self, asked: &Asked, how: &HowAsked, number: u64) -> Retrieved {
        let mut numbers: Vec<u32> = match &asked.retrieved {
            Retrieved::Given(given) => return Retrieved::Given(given.iter().take(how.passages).cloned().collect()),
            Retrieved::Corpus(numbers) => numbers.iter().take(how.passages).copied().collect(),
        };
        for (i, &gold) in (0..).zip(&asked.missing) {
            let places = how.selected.min(how.passages).min(numbers.len() + 1);
            let stream = random::bits(self.seed, PLACE, number);
            numbers.insert(random::below(stream, PLACE, i, places), gold);
        }
        numbers.truncate(how.passages);
        Retrieved::Corpus(numbers)
    }
}

/// Whether passages come from the knowledge source.
fn needs_corpus(settings: &Settings) -> bool {
    settings.retriever == Retriever::Bm25 || settings.objective != Objective::Tasks
}

impl Source {
    fn of_spans(spans: SpanCorruption, tokenizer: &Tokenizer, passages: usize) -> Result<Self> {
        ensure!(passages > 0, "span corruption needs passages: name a knowledge source");
        let all = 0..passages as u32;
        let held_out = |number: &u32| (*number as usize) % HELD_OUT == HELD_OUT - 1;
        let (dev, train): (Vec<u32>, Vec<u32>) = match passages < HELD_OUT {
            // Too few to keep any back.
            true => (all.clone().collect(), all.collect()),
            false => all.partition(held_out),
        };
        Ok(Self::Spans { spans, sentinels: spans::sentinels(tokenizer)?, train, dev })
    }
}
