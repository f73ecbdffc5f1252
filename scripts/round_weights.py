#!/usr/bin/env python3
"""Copy a run's last checkpoint with its weights rounded to bf16, as its best one has them.

    python3 scripts/round_weights.py target/train/glimmer/last FOLDER

Needs the packages torch and safetensors.
"""

import pathlib
import shutil
import sys

import safetensors.torch
import torch

KEPT = ("config.json", "experiment.json", "spiece.model", "tokenizer.json")
WEIGHTS = "model.safetensors"


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    source, target = map(pathlib.Path, sys.argv[1:])
    weights = safetensors.torch.load_file(source / WEIGHTS)
    target.mkdir(parents=True, exist_ok=True)
    rounded = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
    partial = target / (WEIGHTS + ".partial")
    safetensors.torch.save_file(rounded, partial)
    partial.rename(target / WEIGHTS)
    for name in KEPT:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


if __name__ == "__main__":
    main()
