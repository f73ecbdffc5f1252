"""README's tables of times, from what the programs wrote down.

    cargo bench --bench end_to_end -- base && cp target/bench/end_to_end.* docs/measured/
    cargo bench --bench end_to_end -- "large, readers" && cp target/bench/end_to_end.json docs/measured/end_to_end_large.json
    target/peers/venv/bin/python scripts/peers/compare.py --json docs/measured/peers.json    # or another processor's file
    python scripts/tables.py

Each table stands in README.md between `<!-- table: NAME -->` and `<!-- end -->`. With --check nothing is written, and it is
an error if a table is not what the files say.
"""
import argparse
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MEASURED = ROOT / "docs" / "measured"


def markdown(head, rows):
    lines = ["| " + " | ".join(line) + " |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" + "|---:" * (len(head) - 1) + "|", *lines[1:]]) + "\n"


def peers(size, file):
    """Beside other programs: seconds, and in those of glimmer in the same round."""
    jobs = json.loads((MEASURED / file).read_text())["sizes"][size]["jobs"]

    def cells(row):
        return [f"{row['median']:.3f} s", f"{row['times_ours']:.2f}"] if row else ["", ""]

    rows = [[name, *cells(row), *cells(jobs["decode"].get(name))] for name, row in jobs["encode"].items()]
    return markdown([f"T5.1.1-{size}", "8 × 352 tokens encoded", "× glimmer", "16 tokens decoded", "× glimmer"], rows)


def on_cpu(size):
    machines = [m for file in MEASURED.glob("end_to_end*.json") for m in json.loads(file.read_text())]
    [measured] = [m["measured"] for m in machines if m["size"] == size and m["machine"].startswith("cpu")]
    return measured


def parts(m):
    """Seconds of the encoder, of the decoder's keys and values, and of its tokens."""
    stages = m["stages"]
    encoder = sum(seconds for stage, seconds in stages.items() if stage != "answer")
    return [f"{t:.2f} s" for t in (encoder, m["prefill"], stages["answer"] - m["prefill"])]


PARTS = ["encoder", "decoder's keys and values", "16 tokens"]


def readers(size):
    """A question through each reader, beside FiD with 25 passages."""
    measured = [m for m in on_cpu(size) if m["group"] == "readers"]
    [fid] = [m for m in measured if m["name"] == "fid 25 to 25"]

    def row(m):
        name, cut = m["name"].split(" ", 1)
        named = f"{'FiD' if name == 'fid' else name.upper()} {cut.replace('to', '→')}"
        ratios = [fid[key] / m[key] for key in ("seconds", "multiply_adds")]
        return [named, f"{1 / m['seconds']:.3f}", *(f"{ratio:.1f}" for ratio in ratios), *parts(m)]

    return markdown([f"T5.1.1-{size}, f32", "samples a second", "× FiD 25", "× by the cost model", *PARTS],
                    [row(m) for m in measured])


def sweeps(size):
    """GLIMMER's question, with one thing of it changed."""
    changed = {"length": "{} tokens a passage", "threads": "threads: {}"}
    row = lambda m: [changed[m["group"]].format(m["name"].split()[0]), f"{m['seconds']:.2f} s",
                     f"{m['multiply_adds'] / 1e9:.0f}", *parts(m)]
    rows = [row(m) for group in changed for m in on_cpu(size) if m["group"] == group]
    return markdown([f"GLIMMER, T5.1.1-{size}, f32", "a question", "10⁹ multiply-adds", *PARTS], rows)


TABLES = {
    "peers small, Xeon": lambda: peers("small", "peers.json"),
    "peers base, Xeon": lambda: peers("base", "peers.json"),
    "peers small, EPYC": lambda: peers("small", "peers_zen4.json"),
    "peers base, EPYC": lambda: peers("base", "peers_zen4.json"),
    "readers base": lambda: readers("base"),
    "readers large": lambda: readers("large"),
    "sweeps base": lambda: sweeps("base"),
}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--check", action="store_true", help="write nothing; fail where a table is not what the files say")
    args = args.parse_args()
    text = README.read_text()
    new = re.sub(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)",
                 lambda found: found[1] + TABLES[found[2]]() + found[3], text, flags=re.DOTALL)
    if args.check and new != text:
        sys.exit("README.md: a table is not what docs/measured says; run scripts/tables.py")
    if not args.check:
        README.write_text(new)


if __name__ == "__main__":
    main()
