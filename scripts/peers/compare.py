"""T5.1.1 on the CPU: glimmer beside PyTorch, CTranslate2, ONNX Runtime, OpenVINO and candle, on the same weights and tokens.

    python -m venv target/peers/venv && target/peers/venv/bin/pip install -r scripts/peers/requirements.txt
    target/peers/venv/bin/python scripts/peers/compare.py --sizes small base

Every program is a process that waits while the others work. A round is one run of each, in turn, after two that do not
count; what is printed are medians over the rounds, the range, and the median over the rounds of how many times as long as
glimmer's f32 each took in the same round. `encode`: 8 segments of 352 tokens through the encoder. `decode`: keys and values of
those 2,816 tokens for the decoder, then 16 tokens. `train`: a step, forward and backward without the optimiser, of a FiD
that reads 8 passages, without dropout or at a rate of 0.1.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy

import checkpoint

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = {"glimmer": "f32", "glimmer-bf16": "bf16", "glimmer-int8": "int8"}
THEIRS = ["pytorch", "pytorch-bf16", "ctranslate2", "ctranslate2-int8", "onnxruntime", "onnxruntime-int8", "openvino",
          "openvino-bf16"]
ALL = [*OURS, *THEIRS, "candle"]
TRAINERS = {"glimmer", "pytorch"}
# Who does what, and how it is asked to.
JOBS = {
    "encode": ("encode", set(ALL)),
    "decode": ("decode", {*OURS, "pytorch", "pytorch-bf16", "ctranslate2", "ctranslate2-int8"}),
    "train": ("train 0", TRAINERS),
    "train-dropout": ("train 0.1", TRAINERS),
}


class Program:
    """A process that does as it is asked, and says how long it took."""

    def __init__(self, name, command, threads):
        self.name = name
        count = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "RAYON", "OPENBLAS")}
        self.process = subprocess.Popen(
            command, env={**os.environ, **count}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline().strip() != "ready":
            sys.exit(f"{name} did not start: {' '.join(map(str, command))}")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended at `{line}`")
        return float(answer)


def built(*arguments, cwd=ROOT):
    """Builds with cargo, and gives the program's path."""
    command = ["cargo", *arguments, "--message-format=json"]
    lines = subprocess.run(command, cwd=cwd, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    paths = [path for path in (json.loads(line).get("executable") for line in lines) if path]
    return paths[-1]


def commands(names, folder, threads):
    ours = built("bench", "--bench", "peer", "--no-run") if OURS.keys() & set(names) else None
    for name in names:
        if name in OURS:
            yield name, [ours, folder, OURS[name]]
        elif name == "candle":
            yield name, [built("build", "--release", cwd=HERE / "candle"), folder]
        else:
            yield name, [sys.executable, HERE / "workers.py", name, folder, str(threads)]


def measure(programs, job, rounds):
    """Seconds of each program in each round, and as multiples of the first's."""
    line, able = JOBS[job]
    programs = [program for program in programs if program.name in able]
    seconds = {program.name: [] for program in programs}
    for turn in range(-2, rounds):
        for program in programs:
            taken = program.ask(line)
            # Thread pools of some programs spin for a while behind their work.
            time.sleep(0.3)
            if turn >= 0:
                seconds[program.name].append(taken)
        print(f"  {job}: round {turn + 1} of {rounds}", end="\r", file=sys.stderr, flush=True)
    first = seconds[programs[0].name]
    return {name: {"seconds": times, "median": statistics.median(times), "lowest": min(times), "highest": max(times),
                   "times_ours": statistics.median(t / f for t, f in zip(times, first))}
            for name, times in seconds.items()}


def differences(programs, folder):
    """Of each program's encoder output, relative to the first's."""
    outputs = []
    for program in programs:
        file = folder / "output.f32"
        program.ask(f"save {file}")
        outputs.append(numpy.fromfile(file, numpy.float32).astype(numpy.float64))
        file.unlink()
    first = outputs[0]
    return {p.name: float(numpy.linalg.norm(x - first) / numpy.linalg.norm(first)) for p, x in zip(programs, outputs)}


def table(size, jobs, off):
    print(f"\n| T5.1.1-{size} | " + " | ".join(f"{job}, s | range | × glimmer" for job in jobs) + " | encoder differs by |")
    print("|---|" + "---:|" * (3 * len(jobs) + 1))
    for name in off:
        cells = []
        for found in jobs.values():
            row = found.get(name)
            cells += [f"{row['median']:.3f}", f"{row['lowest']:.3f} to {row['highest']:.3f}",
                      f"{row['times_ours']:.2f}"] if row else ["", "", ""]
        print(f"| {name} | " + " | ".join(cells) + f" | {off[name]:.0e} |")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--sizes", nargs="+", choices=checkpoint.SIZES, default=["small", "base"])
    args.add_argument("--programs", nargs="+", choices=ALL, default=[*OURS, *THEIRS],
                      help="the first is what the others are compared with; candle takes minutes to compile")
    args.add_argument("--jobs", nargs="+", choices=JOBS, default=["encode", "decode"])
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--rounds", type=int, default=7)
    args.add_argument("--work", type=pathlib.Path, default=ROOT / "target" / "peers")
    args.add_argument("--json", type=pathlib.Path, help="file for all times; what it has of other sizes and jobs stays")
    args = args.parse_args()
    kept = json.loads(args.json.read_text())["sizes"] if args.json and args.json.exists() else {}
    for size in args.sizes:
        folder = args.work.resolve() / size
        checkpoint.write(size, folder)
        programs = [Program(name, command, args.threads) for name, command in commands(args.programs, folder, args.threads)]
        for program in programs:
            program.ask("encode")
        off = differences(programs, folder)
        jobs = {job: measure(programs, job, args.rounds) for job in args.jobs}
        table(size, jobs, off)
        of_size = kept.setdefault(size, {"jobs": {}, "encoder_differs_by": {}})
        of_size["jobs"].update(jobs)
        of_size["encoder_differs_by"].update(off)
        for program in programs:
            program.process.stdin.close()
            program.process.wait()
    if args.json:
        args.json.write_text(json.dumps({"threads": args.threads, "sizes": kept}, indent=1))


if __name__ == "__main__":
    main()
