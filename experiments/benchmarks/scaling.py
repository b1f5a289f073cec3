"""What a training step sends to other devices, and what that allows beyond this one.

Question: which collectives are in the compiled step, of how many bytes, and do they
grow with the devices? What do they cost a step on 1 to 4,096 accelerators, at stated
bandwidths, beside the least time that the step itself takes there?

Counted:   the collectives of the program compiled for 1, 2, 4 and 8 simulated CPU
           devices, with 64 examples on each; operations and bytes by `cost_analysis`.
Estimated: everything behind 'Estimate'; its formulas are printed with it. No time is
           measured here: `experiments.benchmarks.measured_scaling` does.
Expected:  one all-reduce of the parameters' bytes, and one of 4 bytes; batch norm adds
           one a layer and direction. All-reduces do not grow; the maps that RES-G
           gathers for its one threshold do.

Cost: 10 minutes of CPU time, nearly all of it compilation.
Command: python -m experiments.benchmarks.scaling
"""

from collections.abc import Iterable, Mapping, Sequence

import jax

from experiments import benchmarks
from experiments.scaling import compiling, estimating, steps

BATCH_PER_DEVICE = 64
COMPILED = (1, 2, 4, 8)
ESTIMATED = (1, 2, 4, 8, 16, 64, 256, 1024, 4096)
LATENCY = 5e-6
# Dense peaks and memory bandwidths as NVIDIA and Google publish them.
H100_SINGLE = estimating.Accelerator("H100 SXM, float32", 67e12, 3.35e12)
H100 = estimating.Accelerator("H100 SXM, bfloat16", 989e12, 3.35e12)
V5E = estimating.Accelerator("TPU v5e, bfloat16", 197e12, 819e9)
# What a device sends in a second, the same again being received: assumptions.
LINKS = (
    (H100, "NVLink", 450e9),
    (H100, "network", 25e9),
    (H100, "network", 12.5e9),
    (V5E, "ICI, one link", 50e9),
    (V5E, "network", 12.5e9),
)


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column is text."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def print_counts(
    found: Mapping[str, Mapping[int, compiling.Counts]], params: Mapping
) -> None:
    """Which collectives there are, by the number of devices and by part."""
    print("\n## Collectives of a step, compiled for n devices\n")
    header = ["step", "n", "all-reduces", "their bytes", "all-gathers", "their bytes"]
    rows: list[list[object]] = [
        [
            name,
            n,
            *(
                f"{numbers.get(kind, 0):,}"
                for kind in ("all-reduce", "all-gather")
                for numbers in (counts.kinds, counts.kind_bytes)
            ),
        ]
        for name, by_devices in found.items()
        for n, counts in by_devices.items()
    ]
    print(markdown(header, rows))
    last = COMPILED[-1]
    print(f"\n## What they carry, bytes, n = {last}\n")
    parts = ("gradient", "sums", "batch norm", "running statistics", "maps")
    header = ["step", "parameters", *parts]
    carried = [
        [name, f"{params[name]:,}"]
        + [f"{by_devices[last].parts.get(part, 0):,}" for part in parts]
        for name, by_devices in found.items()
    ]
    print(markdown(header, carried))


def print_costs(costs: Mapping[str, compiling.Cost]) -> None:
    """Operations, bytes and the roofline."""
    print(f"\n## One device, {BATCH_PER_DEVICE} examples, by `cost_analysis`\n")
    header = ["step", "Gflop", "MB, least", "MB, CPU's fusion", "MB, no fusion"]
    rows = [
        [name, f"{cost.flops / 1e9:.2f}"]
        + [f"{num_bytes / 1e6:,.1f}" for num_bytes in cost[1:]]
        + [f"{cost.flops / cost.fused_bytes:.1f}"]
        for name, cost in costs.items()
    ]
    print(markdown([*header, "flop a byte of the CPU's"], rows))
    print("\n## Estimate: least time of a step, ms, from the bytes of each column\n")
    print("t = max(flops / peak, bytes / bandwidth); peaks are the vendors':")
    accelerators = (H100_SINGLE, H100, V5E)
    for name, flops, bandwidth in accelerators:
        print(
            f"{name}: {flops / 1e12:.0f} Tflop/s, {bandwidth / 1e12:.3f} TB/s, ", end=""
        )
        print(f"ridge at {flops / bandwidth:.0f} flop a byte")
    header = [
        f"{a.name}: {kind}" for a in accelerators for kind in ("least", "CPU's", "none")
    ]
    rows = [
        [name]
        + [
            f"{1e3 * estimating.roofline_seconds(cost.flops, num_bytes, a):.3f}"
            for a in accelerators
            for num_bytes in cost[1:]
        ]
        for name, cost in costs.items()
    ]
    print("\n" + markdown(["step", *header], rows))


def print_sent(traffic: Mapping[str, estimating.Traffic], most: Mapping) -> None:
    """Bytes that each device sends."""
    print("\n## Estimate: MB that each of n devices sends in a step\n")
    print(
        "2 (n - 1) / n x bytes all-reduced + (n - 1) x bytes it puts into all-gathers\n"
    )
    rows = [
        [name]
        + [
            f"{estimating.sent_bytes(of, n) / 1e6:.3f}"
            if n <= most[name]
            else "refused"
            for n in ESTIMATED
        ]
        for name, of in traffic.items()
    ]
    print(markdown(["step", *(f"n = {n:,}" for n in ESTIMATED)], rows))
    for name, num_devices in most.items():
        if num_devices < ESTIMATED[-1]:
            print(f"\n{name}: the step is traced for at most {num_devices} devices")


def print_efficiency(
    traffic: Mapping[str, estimating.Traffic],
    costs: Mapping[str, compiling.Cost],
    most: Mapping[str, int],
) -> None:
    """Weak scaling by accelerator and link."""
    print("\n## Estimate: weak-scaling efficiency\n")
    print("t_step / (t_step + t_sent), no overlap; t_step as above by the CPU's bytes;")
    print(
        "t_sent = bytes sent / bandwidth + (2 all-reduces + all-gathers) rounds(n) L,"
    )
    print(
        f"L = {1e6 * LATENCY:.0f} us assumed; rounds = ceil(log2 n); last column n - 1"
    )
    counts = (2, 8, 64, 256, 1024, 4096)
    for accelerator, link, bandwidth in LINKS:
        print(f"\n### {accelerator.name}; {link}, {bandwidth / 1e9:g} GB/s assumed\n")
        rows = []
        for name, of in traffic.items():
            cost = costs[name]
            seconds = estimating.roofline_seconds(
                cost.flops, cost.fused_bytes, accelerator
            )
            row = [name]
            for n, rounds in [(n, estimating.tree_rounds) for n in counts] + [
                (counts[-1], estimating.ring_rounds)
            ]:
                sent = estimating.communication_seconds(
                    of, n, bandwidth=bandwidth, latency=LATENCY, rounds=rounds
                )
                share = estimating.efficiency(seconds, sent)
                row.append(f"{share:.3f}" if n <= most[name] else "refused")
            rows.append(row)
        titles = [*(f"n = {n:,}" for n in counts), f"n = {counts[-1]:,}, ring"]
        print(markdown(["step", *titles], rows))


def main() -> None:
    """Compiles everything and prints the tables."""
    benchmarks.begin(__doc__)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", COMPILED[-1])
    print(f"JAX {jax.__version__}, {BATCH_PER_DEVICE} examples a device, Adam, float32")
    found: dict[str, dict[int, compiling.Counts]] = {}
    params: dict[str, int] = {}
    costs: dict[str, compiling.Cost] = {}
    most: dict[str, int] = {}
    for name, case in steps.CASES.items():
        sizes = {"per_device": BATCH_PER_DEVICE}
        found[name] = {n: compiling.counted(case, n, **sizes) for n in COMPILED}
        params[name] = compiling.parameter_bytes(case)
        costs[name] = compiling.cost_of(case, **sizes)
        gathers = found[name][COMPILED[-1]].kinds.get("all-gather", 0)
        most[name] = ESTIMATED[-1]
        if gathers:
            most[name] = compiling.most_devices(case, ESTIMATED[-1], **sizes)
    last = COMPILED[-1]
    traffic = {name: compiling.traffic_of(by[last], last) for name, by in found.items()}
    print_counts(found, params)
    print_costs(costs)
    print_sent(traffic, most)
    print_efficiency(traffic, costs, most)


if __name__ == "__main__":
    main()
