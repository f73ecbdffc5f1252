#!/usr/bin/env python3
"""What the main loops on tensor cores are made of, in machine code: rows of a table in Markdown.

    kernels/slots.py [FOLDER]

Assembles kernels/ptx for an A100 and an H100 with the compiler's own assembler, which is installed from PyPI into FOLDER
(target/nvcc unless given) along with a disassembler, once. In every kernel that has matrix instructions it takes the loop that
has the most of them, and counts what a warp issues in a turn, and the cycles that the assembler's schedule has it wait between
one instruction and the next. The columns: kernels that are alike, architecture, matrix instructions in a turn; and for each of those,
instructions, cycles, loads from shared memory, asynchronous copies, barriers and waits.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from check import COMPILER, HERE, install

DISASSEMBLER = ["nvidia-cuda-nvdisasm==13.2.51"]
ARCHITECTURES = ["sm_80", "sm_90"]
# Where the 128 bits of an instruction have the cycles until the next one may go.
STALL_SHIFT, STALL_MASK = 105 - 64, 0xF

FUNCTION = re.compile(r"^\.text\.(\w+):", re.MULTILINE)
LABEL = re.compile(r"^(\.L_x_\d+):")
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*?);\s+/\* 0x([0-9a-f]{16}) \*/")
UPPER = re.compile(r"^\s+/\* 0x([0-9a-f]{16}) \*/")
TARGET = re.compile(r"\((\.L_x_\d+)\)")

KINDS = {"shared loads": ("LDS", "LDSM"), "copies": ("LDGSTS",), "barriers": ("BAR", "DEPBAR", "LDGDEPBAR")}


def instructions(text):
    """Opcode, label that it jumps to, stall; and where labels are."""
    code, labels = [], {}
    for line in text.splitlines():
        if label := LABEL.match(line):
            labels[label[1]] = len(code)
        elif found := INSTRUCTION.search(line):
            target = TARGET.search(found[3])
            code.append([found[2], target and target[1], 0])
        elif (upper := UPPER.match(line)) and code:
            code[-1][2] = int(upper[1], 16) >> STALL_SHIFT & STALL_MASK
    return code, labels


def main_loop(text):
    """The loop with the most matrix instructions; of those, the shortest."""
    code, labels = instructions(text)
    loops = [code[labels[target]:at + 1] for at, (opcode, target, _) in enumerate(code)
             if opcode.startswith("BRA") and target in labels and labels[target] <= at]
    matrix = lambda loop: sum(opcode.startswith("HMMA") for opcode, _, _ in loop)
    # A loop within a loop is the main one, unless the outer has several.
    loops = [loop for loop in loops if matrix(loop)]
    return max(loops, key=lambda loop: (matrix(loop), -len(loop)), default=None)


def measure(loop):
    """Matrix instructions of a turn; instructions, cycles and kinds for each."""
    mma = sum(opcode.startswith("HMMA") for opcode, _, _ in loop)
    kinds = Counter(opcode.split(".")[0] for opcode, _, _ in loop)
    of_kinds = [sum(kinds[opcode] for opcode in opcodes) / mma for opcodes in KINDS.values()]
    return mma, len(loop) / mma, sum(stall for _, _, stall in loop) / mma, of_kinds


def rows(ptxas, nvdisasm):
    """Kernel, architecture and what its main loop measures."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((HERE / "ptx").glob("*.ptx")):
            if "mma.sync" not in path.read_text():
                continue
            for architecture in ARCHITECTURES:
                cubin = Path(folder) / "kernel.cubin"
                subprocess.run([ptxas, f"-arch={architecture}", path, "-o", cubin], check=True)
                text = subprocess.run([nvdisasm, "-c", "-hex", cubin], check=True, capture_output=True, text=True).stdout
                parts = FUNCTION.split(text)
                for name, body in sorted(zip(parts[1::2], parts[2::2])):
                    if loop := main_loop(body):
                        mma, slots, cycles, kinds = measure(loop)
                        yield name, (architecture, str(mma), *(f"{x:.2f}" for x in [slots, cycles, *kinds]))


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent / "target/nvcc").resolve()
    ptxas = install(folder / "13.0", COMPILER, "nvidia/cu13/bin/ptxas")
    nvdisasm = install(folder / "disassembler", DISASSEMBLER, "nvidia/cu13/bin/nvdisasm")
    alike = {}
    for name, measures in rows(ptxas, nvdisasm):
        alike.setdefault(measures, []).append(f"`{name.removesuffix('_bf16')}`")
    for measures, names in sorted(alike.items(), key=lambda item: (item[0][0], item[1])):
        print(f"| {' | '.join([', '.join(names), *measures])} |")


if __name__ == "__main__":
    main()
