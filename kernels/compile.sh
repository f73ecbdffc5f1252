#!/bin/sh
# Compiles kernels/*.cu to the PTX files in kernels/ptx, which the crate embeds. Nobody needs it to build the crate.
#
#   python3 -m venv nvcc
#   nvcc/bin/pip install nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
#       nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
#   NVCC=$(echo nvcc/lib/python3*/site-packages/nvidia/cu13/bin/nvcc) kernels/compile.sh
#
# `compile.sh NAME...` compiles those alone; with OUT set, the files go to that folder.
set -eu
nvcc=$(command -v "${NVCC:-nvcc}") || { echo "no nvcc: set NVCC (see the head of $0)" >&2; exit 1; }
nvcc=$(cd "$(dirname "$nvcc")" && pwd)/nvcc
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/ptx}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$here"
[ $# -gt 0 ] || set -- $(basename -s .cu ./*.cu)
for name; do
    "$nvcc" -ptx -arch=compute_80 -std=c++17 -lineinfo "$name.cu" -o "$out/$name.ptx"
    # The compiler writes the paths of this machine: the reports, and the next machine's diff, want the file's name alone.
    # It asks for a PTX version as new as itself, though every driver since CUDA 12.0 understands what it wrote. Where an
    # inlined line was inlined, and into what, crashes the compiler in that driver on sm_90, and goes. So does a hint that a
    # later version brought.
    sed -i -E -e 's|^(\t\.file\t[0-9]+ ")[^"]*/|\1|' -e 's|^\.version .*|.version 8.0|' \
        -e 's|^(\t\.loc\t[0-9 ]+), function_name .*|\1|' -e '/^\t\.section\t\.debug_str/,/^\t}/d' \
        -e '/^\t\.pragma "used_bytes_mask/d' "$out/$name.ptx"
done
