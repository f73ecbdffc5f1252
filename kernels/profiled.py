#!/usr/bin/env python3
"""The emulator's counts of T5.1.1-base's launches beside those of NVIDIA's profiler, as a table.

    cargo test --test budgets of_base -- --ignored          # the emulator's, into target/tmp/launches.csv
    # on a machine with a device, where PROGRAM is what `cargo test --test budgets --no-run` names:
    python3 kernels/profiled.py --command PROGRAM            # prints the profiler's command line
    python3 kernels/profiled.py target/tmp/launches.csv profiled.csv
"""

import csv
import sys

INSTRUCTIONS = "smsp__inst_executed.sum"
LOADS = ["l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum", "l1tex__t_sectors_pipe_lsu_mem_global_op_ldgsts.sum"]
STORES = "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum"
FROM_L2 = "lts__t_sectors_srcunit_tex_op_read.sum"
MATRIX = "sm__inst_executed_pipe_tensor.sum"
CONFLICTS = "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum"
SHARED = "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum"
MEMORY = ["dram__bytes_read.sum", "dram__bytes_write.sum"]
TIME = "gpu__time_duration.sum"
ALL = [INSTRUCTIONS, *LOADS, STORES, FROM_L2, MATRIX, CONFLICTS, SHARED, *MEMORY, TIME]


def profiled(path):
    """The profiler's launches, in order: numbers by metric, and the kernel's name."""
    with open(path, newline="") as file:
        lines = [line for line in file if not line.startswith("==")]
    names, _units, *rows = csv.reader(lines)
    for row in rows:
        launch = dict(zip(names, row))
        yield launch["Kernel Name"].split("(")[0], lambda name, of=launch: float(of.get(name, "0").replace(",", "") or 0)


def main():
    if sys.argv[1:2] == ["--command"]:
        program = sys.argv[2]
        print(f"GLIMMER_TEST_ON=gpu ncu --clock-control none --csv --page raw --metrics {','.join(ALL)} "
              f"--log-file profiled.csv {program} --ignored --exact launches::of_base")
        return
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    with open(sys.argv[1], newline="") as file:
        emulated = list(csv.DictReader(file))
    launches = list(profiled(sys.argv[2]))
    if [kernel for kernel, _ in launches] != [launch["kernel"] for launch in emulated]:
        raise SystemExit(f"{sys.argv[2]} has other launches than {sys.argv[1]}")
    print("| kernel | blocks | sectors read | written | mma | instructions | conflicts | µs |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for (kernel, of), counted in zip(launches, emulated):
        loads = sum(of(name) for name in LOADS)
        pair = lambda name, found: f"{int(counted[name]):,} / {found:,.0f}"
        print(f"| `{kernel}` | {counted['grid']} | {pair('read', loads)} "
              f"| {pair('written', of(STORES))} | {pair('mma', of(MATRIX))} | {pair('instructions', of(INSTRUCTIONS))} "
              f"| {pair('conflicts', of(CONFLICTS))} | {of(TIME) / 1e3:.1f} |")


if __name__ == "__main__":
    main()
