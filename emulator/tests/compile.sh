#!/bin/sh
# Compiles tests/kernels/*.cu to the PTX files beside them in tests/ptx. Nobody needs it to run the tests.
#
#   python3 -m venv nvcc
#   nvcc/bin/pip install nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
#       nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
#   NVCC=$(echo nvcc/lib/python3*/site-packages/nvidia/cu13/bin/nvcc) emulator/tests/compile.sh
#
# `compile.sh NAME...` compiles those alone.
set -eu
nvcc=$(command -v "${NVCC:-nvcc}") || { echo "no nvcc: set NVCC (see the head of $0)" >&2; exit 1; }
nvcc=$(cd "$(dirname "$nvcc")" && pwd)/nvcc
cd "$(dirname "$0")/kernels"
[ $# -gt 0 ] || set -- $(basename -s .cu ./*.cu)
for name; do
    "$nvcc" -ptx -arch=compute_80 -std=c++17 -lineinfo "$name.cu" -o "../ptx/$name.ptx"
    # The compiler writes the paths of this machine: the reports, and the next machine's diff, want the file's name alone.
    sed -i -E 's|^(\t\.file\t[0-9]+ ")[^"]*/|\1|' "../ptx/$name.ptx"
done
