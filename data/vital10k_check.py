"""What `make_vital10k.py --check` asks of the committed files: that they are the derived ones, and that
they keep the promises of README.md.

The promises are tested on the rows alone, without the rules that made them.
"""

import gzip
import json
import re

from vital10k_tasks import FOR_TRAINING, HELD_OUT, TASKS

LICENCE = "LICENSE-WordNet"  # beside the folder of files, word for word as Debian ships it


def run(folder, texts, licence):
    """Check everything and print each result; returns the process's exit status."""
    results = list(compare(folder, texts))
    beside = folder.resolve().parent / LICENCE
    same = beside.is_file() and beside.read_bytes() == licence
    results.append((LICENCE, None if same else f"{beside} is not the file of the Debian package"))
    if all(fault is None for _, fault in results):
        rows = {name: read_rows(folder / name) for name in texts}
        results += promises({name[: -len(".jsonl.gz")]: found for name, found in rows.items()})
    else:
        results.append(("promises", "not tested, since the files are not the derived ones"))
    for what, fault in results:
        print(f"ok    {what}" if fault is None else f"FAIL  {what}: {fault}")
    return int(any(fault is not None for _, fault in results))


def compare(folder, texts):
    """Each file's name and how it differs from the derived text, None where it does not.

    Unpacked bytes are compared: another zlib packs the same text otherwise.
    """
    for path in sorted(folder.iterdir()):
        if path.name not in texts:
            yield path.name, "nothing derives this file"
    for name, text in texts.items():
        path = folder / name
        if not path.is_file():
            yield name, "is missing"
            continue
        try:
            committed = gzip.decompress(path.read_bytes())
        except (OSError, EOFError) as error:
            yield name, f"does not unpack: {error}"
            continue
        yield name, None if committed == text else first_difference(committed, text)


def first_difference(committed, text):
    """Where two texts part, as a line number."""
    old, new = committed.splitlines(), text.splitlines()
    line = next((i for i, pair in enumerate(zip(old, new), 1) if pair[0] != pair[1]), min(len(old), len(new)) + 1)
    return f"{len(old)} rows, derived {len(new)}; they part at line {line}"


def read_rows(path):
    """The rows of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def promises(files):
    """Each promise of the README and the first row that breaks it, None where none does."""
    pages = {page["wikipedia_id"]: page for page in files["knowledge"]}
    train = [record for task in TASKS + FOR_TRAINING for record in files[f"{task}-train"]]
    everything = train + [record for task in TASKS for record in files[f"{task}-dev"]]
    asked = {question_and_answer(record) for record in train}
    twice = repeated([page["wikipedia_id"] for page in files["knowledge"]] + [record["id"] for record in everything])
    yield "ids are unique", twice and f"{twice} comes twice"
    yield (
        "every provenance is a page's lead, and its characters the answer",
        first_fault(everything, pages, bad_pointer),
    )
    for task in TASKS:
        # wiki_zeroshot is split by relation: its dev articles are kept from its own training file alone.
        trained = files["wiki_zeroshot-train"] if task == "wiki_zeroshot" else train
        seen = {page for record in trained for page in pages_of(record)}
        known = next(
            (record["id"] for record in files[f"{task}-dev"] if not seen.isdisjoint(pages_of(record)[:1])), None
        )
        scope = "its own" if task == "wiki_zeroshot" else "any"
        yield f"{task}: no dev article in {scope} training file", known and f"that of {known} is"
        known = next((record["id"] for record in files[f"{task}-dev"] if question_and_answer(record) in asked), None)
        yield f"{task}: no dev question with its answer in any training file", known and f"{known} is"
    held_out = next((record["id"] for record in train if not relations_of(record).isdisjoint(HELD_OUT)), None)
    yield f"{', '.join(HELD_OUT)}: in no training file", held_out and f"{held_out} asks one"
    other = next((r["id"] for r in files["wiki_zeroshot-dev"] if not relations_of(r) <= set(HELD_OUT)), None)
    yield "wiki_zeroshot-dev: held-out relations only", other and f"{other} asks another"
    hops = files["wiki_hop-train"] + files["wiki_hop-dev"]
    yield (
        "wiki_hop: the answer is not in the first lead, which names the second page",
        first_fault(hops, pages, bad_hop),
    )


def first_fault(records, pages, fault_of):
    """The first record with a fault, and which."""
    for record in records:
        fault = fault_of(record, pages)
        if fault:
            return f"{record['id']}: {fault}"
    return None


def repeated(names):
    """The first name that comes twice."""
    seen = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


def pages_of(record):
    """The pages that a row's provenance names; the first is the one that the question names."""
    return [pointer["wikipedia_id"] for entry in record["output"] for pointer in entry.get("provenance", [])]


def question_and_answer(record):
    """What a reader could learn by heart. Masked sentences of two articles may be the same."""
    return record["input"], record["output"][0]["answer"]


def relations_of(record):
    """The relations that a row asks for, by its question's form and by its meta."""
    meta = record.get("meta", {})
    relation = record["input"].partition(" [SEP] ")[2]
    return {relation, meta.get("relation"), *meta.get("relations", [])} - {"", None}


def spanned(pointer, pages):
    """The text between a pointer's characters."""
    return pages[pointer["wikipedia_id"]]["text"][1][pointer["start_character"] : pointer["end_character"]]


def bad_pointer(record, pages):
    """What is wrong with a row's provenance, None if nothing is."""
    pointers = [pointer for entry in record["output"] for pointer in entry.get("provenance", [])]
    if not pointers:
        return "no provenance"
    for pointer in pointers:
        page = pages.get(pointer["wikipedia_id"])
        if page is None or page["wikipedia_title"] != pointer["title"]:
            return f"no page {pointer['wikipedia_id']} of the title {pointer['title']}"
        if (pointer["start_paragraph_id"], pointer["end_paragraph_id"], len(page["text"])) != (1, 1, 2):
            return "the paragraph is not the lead"
    # Of two hops the last page answers.
    if "start_character" in pointers[-1] and spanned(pointers[-1], pages) != record["output"][0]["answer"]:
        return "the characters are not the answer"
    return None


def bad_hop(record, pages):
    """Why a row is no question of two hops, None if it is one."""
    pointers = record["output"][0]["provenance"]
    if len(pointers) != 2 or pointers[0]["wikipedia_id"] == pointers[1]["wikipedia_id"]:
        return "its provenance is not two pages"
    bridge = re.sub(r"\s*\(.*?\)$", "", pointers[1]["title"])
    if spanned(pointers[0], pages).lower() != bridge.lower():
        return f"the first lead's characters are not {bridge}"
    readable = " ".join([record["input"], *pages[pointers[0]["wikipedia_id"]]["text"]]).lower()
    given_away = [entry["answer"] for entry in record["output"] if entry["answer"].lower() in readable]
    return f"{given_away[0]} can be read without the second page" if given_away else None
