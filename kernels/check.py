#!/usr/bin/env python3
"""Proves that kernels/ptx is what the compiler makes of the sources, and assembles it for every architecture.

    kernels/check.py [FOLDER]

Installs the compiler and the oldest assembler that has to do (CUDA 12.0) from PyPI into FOLDER (target/nvcc unless given),
once. Fails if a checked-in file differs, if the assembler refuses one, spills registers or needs a stack; prints registers,
shared memory and occupancy of every kernel.
"""

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMPILER = ["nvidia-cuda-nvcc==13.0.88", "nvidia-nvvm==13.0.88", "nvidia-cuda-crt==13.0.88",
            "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cccl==13.0.85"]
ASSEMBLER = ["nvidia-cuda-nvcc-cu12==12.0.140"]

# Compilations before a file counts as another one.
TRIES = 12

# What a multiprocessor has: threads, blocks, shared bytes, and shared bytes that each block takes besides its own.
REGISTERS = 65536
ARCHITECTURES = {
    "sm_80": (2048, 32, 164 << 10, 1024),
    "sm_86": (1536, 16, 100 << 10, 1024),
    "sm_89": (1536, 24, 100 << 10, 1024),
    "sm_90": (2048, 32, 228 << 10, 1024),
}


def install(folder, packages, program):
    """The path of `program` out of these packages."""
    if not (found := sorted(folder.glob(f"lib/python3*/site-packages/{program}"))):
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", *packages], check=True)
        found = sorted(folder.glob(f"lib/python3*/site-packages/{program}"))
    return found[0]


def differing(compiler):
    """Files of kernels/ptx that are not what the compiler makes of kernels/*.cu."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        environment = os.environ | {"NVCC": str(compiler), "OUT": folder}
        text = lambda path: path.read_text() if path.exists() else None
        names = {path.stem for path in [*HERE.glob("*.cu"), *(HERE / "ptx").iterdir()]}
        # The compiler makes one of several equivalent files, by where its memory happens to lie.
        for _ in range(TRIES):
            there = [name for name in sorted(names) if (HERE / f"{name}.cu").exists()]
            subprocess.run([HERE / "compile.sh", *there], check=True, env=environment)
            names = {name for name in names if text(fresh / f"{name}.ptx") != text(HERE / f"ptx/{name}.ptx")}
            if not names:
                break
        return [f"{name}.ptx" for name in sorted(names)]


def kernels(ptx):
    """Threads of a block, and whether it takes dynamic shared memory, of each kernel in this PTX."""
    dynamic = re.findall(r"\.extern \.shared .*? (\w+)\[\]", ptx)
    for name, head, body in re.findall(r"\.entry (\w+)\((.*?)\{\n(.*?)\n\}", ptx, re.S):
        threads = re.search(r"\.(?:maxntid|reqntid) ([\d, ]+)", head)
        size = 1
        for axis in threads[1].split(",") if threads else ["1024"]:
            size *= int(axis)
        yield name, size, any(re.search(rf"\b{re.escape(shared)}\b", body) for shared in dynamic)


def occupancy(architecture, threads, registers, shared):
    """The part of a multiprocessor's threads that are there at once."""
    most_threads, most_blocks, most_shared, extra = ARCHITECTURES[architecture]
    warps = -(-threads // 32)
    # Registers are handed out to warps in units of 256.
    by_registers = REGISTERS // (-(-registers * 32 // 256) * 256) // warps
    blocks = min(most_threads // (warps * 32), most_blocks, by_registers, most_shared // (shared + extra))
    return blocks * warps * 32 / most_threads


def assemble(assembler, path):
    """A row of the table for each kernel in this file, and what is wrong with it."""
    rows, faults = [], []
    for architecture in ARCHITECTURES:
        command = [assembler, "-v", f"-arch={architecture}", path, "-o", os.devnull]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            faults.append(f"{path.name}: {architecture}: {done.stderr.strip()}")
            continue
        reports = re.split(r"Compiling entry function '(\w+)'", done.stderr)[1:]
        found = dict(zip(reports[::2], reports[1::2]))
        for name, threads, dynamic in kernels(path.read_text()):
            number = lambda what: int(m[1]) if (m := re.search(rf"(\d+) {what}", found[name])) else 0
            for what in ["bytes stack frame", "bytes spill stores", "bytes spill loads"]:
                if number(what):
                    faults.append(f"{name}: {architecture}: {number(what)} {what}")
            shared, registers = number("bytes smem"), number("registers")
            rows.append((name, architecture, threads, registers, shared, dynamic,
                         occupancy(architecture, threads, registers, shared)))
    return rows, faults


def table(rows):
    """A line a kernel; of each architecture its registers and occupancy."""
    print(f"{'kernel':34}{'threads':>8}{'shared':>9}" + "".join(f"{name:>14}" for name in ARCHITECTURES))
    for name in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == name]
        _, _, threads, _, shared, dynamic, _ = own[0]
        cells = "".join(f"{registers:>6} {part:>6.0%} " for *_, registers, _, _, part in own)
        print(f"{name:34}{threads:>8}{str(shared) + ('+' if dynamic else ''):>9}{cells}")
    print("Registers and occupancy of each architecture. A + is for shared memory that the launch adds, not counted here.")


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "target/nvcc"
    compiler = install(folder / "13.0", COMPILER, "nvidia/cu13/bin/nvcc")
    assembler = install(folder / "12.0", ASSEMBLER, "nvidia/cuda_nvcc/bin/ptxas")
    rows, faults = [], [f"{name}: kernels/compile.sh makes another one" for name in differing(compiler)]
    for path in sorted((HERE / "ptx").glob("*.ptx")):
        more, wrong = assemble(assembler, path)
        rows += more
        faults += wrong
    table(rows)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
