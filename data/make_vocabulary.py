"""Makes mini/tokenizer/spiece.model: the 2,000 pieces of the small readers' vocabulary, from the corpus and the training
questions, with T5's special ids (0 padding, 1 end of text, 2 unknown).

    pip install sentencepiece==0.2.3
    python3 data/make_vocabulary.py

The same data give the same file. Dev questions have no part in it.
"""
import gzip
import io
import json
import pathlib

import sentencepiece

HERE = pathlib.Path(__file__).parent
TASKS = ["wiki_cloze", "wiki_desc", "wiki_slot", "wiki_zeroshot", "wiki_claim", "wiki_hop"]


def rows(name):
    with gzip.open(HERE / "vital10k" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def texts():
    for page in rows("knowledge"):
        yield f"title: {page['wikipedia_title']} context: {''.join(page['text'][1:]).strip()}"
    for task in TASKS:
        for row in rows(f"{task}-train"):
            yield f"question: {row['input']}"
            yield row["output"][0]["answer"]


# Written to memory: the trainer would put the path of a file into it.
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=texts(), model_writer=model, model_type="unigram", vocab_size=2000,
    # Characters that are rarer stay unknown: each would take the place of a piece.
    character_coverage=0.9998, split_digits=True, max_sentence_length=20000,
    pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1, minloglevel=2)
(HERE / "mini/tokenizer/spiece.model").write_bytes(model.getvalue())
