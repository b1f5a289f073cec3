"""Collectives read from text written by hand, and what they are estimated to cost."""

import functools
import types

import pytest

from experiments.benchmarks import measured_scaling, scaling
from experiments.scaling import collectives, compiling, estimating, steps

# Adam, as optax has it, mixes integers and floats.
pytestmark = pytest.mark.usefixtures("standard_promotion")

PROGRAM = """\
HloModule jit_train_step, is_scheduled=true

%region_1 (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%body (p: (f32[4])) -> (f32[4]) {
  %inner = f32[4]{0} all-reduce(%p), channel_id=9, to_apply=%region_1
}

ENTRY %main (p0: f32[100], p1: bf16[3,5]) -> f32[100] {
  %p0 = f32[100]{0:T(128)} parameter(0)
  %psum.1 = f32[] all-reduce(%x), to_apply=%region_1, metadata={op_name="jvp()/psum"}
  %all-reduce.2 = (f32[2,32]{1,0}, /*index=1*/bf16[3,5]{1,0:T(8,128)(2,1)}) \
all-reduce(%a, %b), metadata={op_name="jvp(Net)/(BatchNorm_1/psum:BatchNorm_0/psum)"}
  %start = (f32[100]{0}, f32[8]{0}) all-reduce-start(%a, %b), metadata={op_name="psum"}
  %done = (f32[100]{0}, f32[8]{0}) all-reduce-done(%start)
  %maps = pred[16,3,3]{2,1,0} all-gather(%m), dimensions={0}
  %ag-start = (f32[8,3]{1,0:T(8,128)}, f32[16,3]{1,0}) all-gather-start(%m)
  %scatter = s4[7]{0} reduce-scatter(%m), to_apply=%region_1
  %shift = (u32[2]{0}, u32[2]{0}, u32[], u32[]) collective-permute-start(%m)
  %swap = (f16[4]{0}, f16[4]{0}) all-to-all(%m, %m)
  ROOT %out = f32[100]{0} add(%p0, %p0), metadata={op_name="after all-reduce(x)"}
}
"""


def test_every_collective_is_found_with_its_bytes():
    found = collectives.collectives_of(PROGRAM)
    assert [(c.kind, c.num_bytes) for c in found] == [
        ("all-reduce", 4 * 4),
        ("all-reduce", 4),
        ("all-reduce", 4 * 2 * 32 + 2 * 3 * 5),
        ("all-reduce", 4 * (100 + 8)),  # its `-done` is not another one
        ("all-gather", 16 * 3 * 3),
        ("all-gather", 4 * 16 * 3),  # the result alone, not the operand before it
        ("reduce-scatter", 4),  # 7 times 4 bits are 3.5 bytes
        ("collective-permute", 4 * 2),
        ("all-to-all", 2 * 4 + 2 * 4),
    ]
    assert [c.in_entry for c in found] == [False] + 8 * [True]
    assert found[1].op_name == "jvp()/psum"
    assert found[4].op_name == ""


def test_combined_results_of_an_all_gather_are_all_counted():
    line = "%x = ((f32[2], s8[3]), (f32[4], s8[6])) all-gather-start(%a, %b)"
    (found,) = collectives.collectives_of(line)
    assert found.shapes == (
        collectives.Shape("f32", (4,)), collectives.Shape("s8", (6,)),
    )  # fmt: skip


def test_a_program_without_collectives_has_none():
    assert collectives.collectives_of("ENTRY %main {\n %a = f32[] add(%b)\n}") == []


def test_an_unknown_dtype_is_refused():
    with pytest.raises(
        ValueError, match=r"^the width of dtype 'token' is not known\.$"
    ):
        _ = collectives.Shape("token", ()).num_bytes


def test_bytes_are_told_apart_by_what_they_carry():
    found = collectives.collectives_of(PROGRAM)[1:5]
    assert collectives.bytes_by_part(found, num_params=97) == {
        "sums": 4,
        "batch norm": 4 * 2 * 32 + 2 * 3 * 5,
        "gradient": 4 * 100,
        "running statistics": 4 * 8,
        "maps": 16 * 3 * 3,
    }


@pytest.mark.parametrize(
    ("num_devices", "expected"),
    # 2 (n - 1) / n times 1,000 bytes, and n - 1 times 10 bytes.
    [(1, 0), (2, 1000 + 10), (4, 1500 + 30), (8, 1750 + 70)],
)
def test_bytes_around_a_ring(num_devices, expected):
    traffic = estimating.Traffic(3, 1000, 1, 10)
    assert estimating.sent_bytes(traffic, num_devices) == expected


def test_seconds_are_bytes_over_bandwidth_and_messages_in_turn():
    traffic = estimating.Traffic(3, 1000, 1, 10)
    seconds = functools.partial(
        estimating.communication_seconds, traffic, 8, bandwidth=100.0, latency=0.5
    )
    # 1,820 bytes at 100 a second; 2 x 3 + 1 collectives' ways of 3, or 7, messages.
    assert seconds() == 18.2 + 7 * 3 * 0.5
    assert seconds(rounds=estimating.ring_rounds) == 18.2 + 7 * 7 * 0.5
    alone = estimating.communication_seconds(traffic, 1, bandwidth=1.0, latency=1.0)
    assert alone == 0
    assert [estimating.tree_rounds(n) for n in (1, 2, 3, 4, 4096)] == [0, 1, 2, 2, 12]


def test_efficiency_is_the_share_of_the_step():
    assert estimating.efficiency(3.0, 1.0) == 0.75
    assert estimating.efficiency(3.0, 0.0) == 1.0


def test_the_roofline_is_the_slower_of_arithmetic_and_memory():
    accelerator = estimating.Accelerator("one", flops=100.0, bandwidth=10.0)
    assert estimating.roofline_seconds(1000.0, 50.0, accelerator) == 10.0
    assert estimating.roofline_seconds(1000.0, 200.0, accelerator) == 20.0


@pytest.fixture(scope="module")
def counts():
    """Of small batches: the collectives do not depend on the examples."""
    cases = ("batch norm, unguided", "CNN, RES-G")
    return {
        (name, n): compiling.counted(steps.CASES[name], n, per_device=4)
        for name in cases
        for n in (2, 4)
    }


def test_all_reduces_do_not_grow_with_the_devices(counts):
    two, four = (counts["batch norm, unguided", n] for n in (2, 4))
    assert two == four
    assert two.kinds.keys() == {"all-reduce"}
    # Two layers of 32 and 64 channels: two statistics each, forward and backward.
    assert two.parts["batch norm"] == 4 * 2 * 2 * (32 + 64)
    assert two.parts["running statistics"] == 4 * 2 * (32 + 64)
    num_bytes = compiling.parameter_bytes(steps.CASES["batch norm, unguided"])
    # Loss, task and the fault of states travel in the gradient's array.
    assert two.parts["gradient"] == num_bytes + 4 * 3


def test_what_a_threshold_of_the_whole_batch_gathers_does(counts):
    two, four = (counts["CNN, RES-G", n] for n in (2, 4))
    assert two.kinds == four.kinds
    assert two.kind_bytes["all-reduce"] == four.kind_bytes["all-reduce"]
    # Maps and annotations of 12 x 12 cells in float32, four examples a device.
    assert two.parts["maps"] == 2 * 2 * 4 * 12 * 12 * 4
    assert compiling.traffic_of(two, 2) == compiling.traffic_of(four, 4)


def test_an_estimate_of_other_collectives_is_refused():
    counts = compiling.Counts({"all-to-all": 1}, {"all-to-all": 4}, {})
    with pytest.raises(ValueError, match=r"^there is no estimate for \['all-to-all'\]"):
        compiling.traffic_of(counts, 2)


def test_a_collective_in_a_loop_is_refused(monkeypatch):
    compiled = types.SimpleNamespace(as_text=lambda: PROGRAM)
    step = types.SimpleNamespace(
        lower=lambda *_: types.SimpleNamespace(compile=lambda: compiled)
    )
    monkeypatch.setattr(steps, "lifted", lambda *_: step)
    case = steps.CASES["batch norm, unguided"]
    with pytest.raises(ValueError, match="a collective stands in a loop"):
        compiling.counted(case, 2, per_device=1)


def test_a_threshold_of_too_many_cells_is_found_without_so_many_devices():
    case = steps.CASES["CNN, RES-G"]
    # 2^21 cells are allowed, a device has 4,096 x 144 of them: 3.6 devices.
    assert compiling.most_devices(case, 4, per_device=4096) == 3
    assert compiling.most_devices(case, 4, per_device=2) == 4


def test_a_step_that_fails_on_one_device_is_not_taken_for_too_many():
    case = steps.CASES["CNN, RES-G"]
    broken = case._replace(annotated=False)
    with pytest.raises(ValueError, match="annotations"):
        compiling.most_devices(broken, 4, per_device=2)


def test_a_table_has_a_line_for_each_row():
    found = scaling.markdown(["a", "b"], [["x", 1], ["y", 2]])
    assert found == "| a | b |\n| --- | ---: |\n| x | 1 |\n| y | 2 |"


@pytest.mark.parametrize(
    ("num_devices", "expected"),
    [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])],
)
def test_numbers_of_devices_double_and_end_with_all(num_devices, expected):
    assert measured_scaling.counts_of(num_devices) == expected


def test_a_case_is_measured_on_each_number_of_devices():
    config = measured_scaling.Config(cases=(), per_device=1, num_steps=1, num_rounds=1)
    rows = measured_scaling.device_sets()
    assert [len(row) for row in rows] == [1, 2, 4, 8]
    case = steps.CASES["batch norm, unguided"]
    found = measured_scaling.measure(case, config, rows[:2])
    assert list(found) == [1, 2]
    assert min(found.values()) > 0
