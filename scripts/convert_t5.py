#!/usr/bin/env python3
"""Convert T5 weights from pytorch_model.bin to safetensors.

    python3 scripts/convert_t5.py FOLDER [--dtype bf16]

Reads FOLDER/pytorch_model.bin, or its shards pytorch_model-*.bin, and writes
model.safetensors (for shards: one file each and their index) beside them. A
sentence-transformers folder, such as GTR's, also gets 2_Dense/model.safetensors.
Tensors that repeat others are left out. Needs the packages torch and safetensors.
"""

import argparse
import json
import os
import pathlib
import pickle
import sys

DTYPES = {"f32": "float32", "bf16": "bfloat16"}
EMBEDDING = "shared.weight"
# Other names of the embedding.
ALIASES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# Left by an old exporter: cross-attention has no position bias.
STRAY = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def main():
    args = arguments()
    try:
        import safetensors.torch  # noqa: F401
        import torch
    except ImportError as error:
        raise SystemExit(f"{error}: python3 -m pip install torch safetensors")
    dtype = getattr(torch, DTYPES[args.dtype])

    bins = weight_files(args.folder)
    outputs = [target(path, len(bins)) for path in bins]
    dense = args.folder / "2_Dense" / "pytorch_model.bin"
    if dense.is_file():
        bins.append(dense)
        outputs.append(dense.with_name("model.safetensors"))
    present = [path for path in outputs if path.exists()]
    if present and not args.force:
        raise SystemExit(f"{present[0]} exists already: --force replaces it")

    weight_map = {}
    for source, output in zip(bins, outputs):
        tensors = convert(source, dtype, kept={} if source == dense else weight_map)
        save(tensors, output)
        if source != dense:
            weight_map.update({name: output.name for name in tensors})
    if EMBEDDING not in weight_map:
        print(f"warning: no {EMBEDDING}: is this a T5 model?", file=sys.stderr)
    if len(set(weight_map.values())) > 1:
        write_index(args.folder, weight_map)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path, help="checkpoint folder")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="f32", help="element type to write (default: f32)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    return parser.parse_args()


def weight_files(folder):
    whole = folder / "pytorch_model.bin"
    if whole.is_file():
        return [whole]
    index = folder / "pytorch_model.bin.index.json"
    if not index.is_file():
        raise SystemExit(f"{folder} has neither {whole.name} nor {index.name}")
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise SystemExit(f"{index} is not an index of shards: {error!r}")
    shards = [folder / name for name in names]
    missing = [path for path in shards if path.parent != folder or not path.is_file()]
    if missing or not shards:
        raise SystemExit(f"{index} names {', '.join(map(str, missing)) or 'no shard'}: not found")
    return shards


def target(path, count):
    if count == 1:
        return path.with_name("model.safetensors")
    return path.with_name(path.name.replace("pytorch_model", "model")).with_suffix(".safetensors")


def load(path):
    """The tensors of a pickle, with nothing but tensors allowed in it."""
    import torch

    with open(path, "rb") as file:
        if file.read(7) == b"version":
            raise SystemExit(f"{path} is a Git LFS pointer: git lfs pull gets the file")
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # written before torch 1.6: cannot be mapped
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        # torch's own message advises to allow code: name the kind of error alone.
        kind = type(error).__name__
        raise SystemExit(f"{path} is damaged or holds more than tensors ({kind}): fetch it again")
    if not isinstance(state, dict) or not all(torch.is_tensor(t) for t in state.values()):
        raise SystemExit(f"{path} is not a dictionary of tensors")
    return state


def convert(path, dtype, kept):
    """The file's tensors without repetitions, each with memory of its own."""
    state = load(path)
    state.pop(STRAY, None)
    for alias in ALIASES:
        tensor = state.pop(alias, None)
        if tensor is not None and EMBEDDING not in state and EMBEDDING not in kept:
            state[EMBEDDING] = tensor
    seen = set()
    tensors = {}
    for name, tensor in state.items():
        if name in kept:
            continue
        if tensor.is_floating_point():
            tensor = tensor.to(dtype)
        tensor = tensor.contiguous()
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor
    return tensors


def save(tensors, path):
    from safetensors.torch import save_file

    partial = path.with_name(path.name + ".partial")
    try:
        save_file(tensors, partial, metadata={"format": "pt"})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{path}: {len(tensors)} tensors, {path.stat().st_size / 1e6:.1f} MB")


def write_index(folder, weight_map):
    sizes = sum((folder / name).stat().st_size for name in set(weight_map.values()))
    index = {"metadata": {"total_size": sizes}, "weight_map": weight_map}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    print(path)


if __name__ == "__main__":
    main()
