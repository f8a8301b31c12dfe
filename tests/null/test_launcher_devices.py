"""One GPU a rank: what each rank gets, and what is refused, without any GPU."""

import pytest

from dtorch_run.devices import assign, notes, seen, variables
from dtorch_run.options import Options, UsageError

UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33", "GPU-cc44")
VISIBLE = "CUDA_VISIBLE_DEVICES"


def options(**given):
    return Options(script="train.py", **given)


@pytest.mark.parametrize(
    ("value", "size", "gpus"),
    [
        (None, 4, UUIDS),
        (None, 2, UUIDS[:2]),
        ("2,0", 2, ("GPU-bb33", "GPU-aa11")),
        ("GPU-bb,GPU-aa22", 2, ("GPU-bb33", "GPU-aa22")),
        ("", 2, (None, None)),
        ("-1", 3, (None, None, None)),
        ("0,0", 2, (None, None)),  # a repeated entry hides all
        ("MIG-x", 1, ("MIG-x",)),
    ],
)
def test_each_rank_has_its_own(value, size, gpus):
    env = {} if value is None else {VISIBLE: value}
    assert assign(options(), env, size, UUIDS) == gpus


@pytest.mark.parametrize(
    ("value", "size", "words"),
    [
        (
            None,
            5,
            "rank 0 and rank 4 would share the GPU GPU-aa11: 5 ranks .* 4 of its 4 .*is not set",
        ),
        ("1", 2, f"rank 0 and rank 1 would share the GPU GPU-aa22: .*{VISIBLE}=1"),
        ("3,9,0", 2, "rank 0 and rank 1 would share the GPU GPU-cc44"),
        ("MIG-x,MIG-y", 2, "rank 0 and rank 1 would share the GPU MIG-x.*--virtual-local-rank"),
    ],
)
def test_sharing_is_refused_with_both_ranks_and_the_variable(value, size, words):
    env = {} if value is None else {VISIBLE: value}
    with pytest.raises(UsageError, match=words):
        assign(options(), env, size, UUIDS)


def test_sharing_on_demand():
    env = {VISIBLE: "2,0"}
    gpus = assign(options(share_gpu=True), env, 3, UUIDS)
    assert gpus == ("GPU-bb33", "GPU-aa11", "GPU-bb33")


def test_the_cpu_on_demand():
    given = options(device="cpu")
    assert assign(given, {}, 9, UUIDS) == (None,) * 9
    assert variables(None, given) == {VISIBLE: ""}


@pytest.mark.parametrize(
    ("env", "uuids", "words"),
    [({}, (), "this host has no GPU"), ({VISIBLE: "-1"}, UUIDS, f"{VISIBLE}=-1 hides all 4 GPUs")],
)
@pytest.mark.parametrize("given", [{"device": "gpu"}, {"backend": "nccl"}])
def test_a_gpu_that_is_asked_for_must_be_there(env, uuids, words, given):
    with pytest.raises(UsageError, match=words):
        assign(options(**given), env, 1, uuids)


def test_a_rank_may_see_its_own_only():
    given = options(virtual_local_rank=True)
    env = {VISIBLE: "MIG-x,MIG-y"}
    gpus = assign(given, env, 2, UUIDS)
    assert gpus == ("MIG-x", "MIG-y")
    assert variables(gpus[1], given) == {VISIBLE: "MIG-y", "LOCAL_RANK": "0"}
    assert variables("GPU-aa11", options()) == {}


@pytest.mark.parametrize(
    "name",
    ["CUDA_VISIBLE_DEVICE", "CUDA_VISBLE_DEVICES", "CUDA_VISIBLE_DEVICES_", "CUDA_DEVICES_VISIBLE",
     "cuda_visible_devices", "CUDA_VISABLE_DEVICES", "CUDAVISIBLE_DEVICES", "CUDA_VISIBLE_GPUS"],
)  # fmt: skip
def test_a_misspelt_variable_is_pointed_out(name):
    (note,) = notes({name: "0"}, ())
    assert note == f"{name} is set, and nothing reads it: did you mean {VISIBLE}?"


@pytest.mark.parametrize(
    "name",
    [VISIBLE, "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME",
     "CUDA_LAUNCH_BLOCKING", "PYTORCH_CUDA_ALLOC_CONF"],
)  # fmt: skip
def test_other_variables_are_left_alone(name):
    assert notes({name: "0"}, UUIDS) == []


@pytest.mark.parametrize(
    ("value", "culprit"), [("0,9,1", "'9'"), ("1,1", "'1'"), ("GPU-aa", "'GPU-aa'"), ("x", "'x'")]
)
def test_a_device_that_is_not_there_is_pointed_out(value, culprit):
    (note,) = notes({VISIBLE: value}, UUIDS)
    assert culprit in note
    assert f"{len(seen({VISIBLE: value}, UUIDS))} of them visible" in note


@pytest.mark.parametrize("value", ["", "-1", "0,-1,1", "0,1", "GPU-bb"])
def test_what_cuda_reads_as_meant_is_no_remark(value):
    assert notes({VISIBLE: value}, UUIDS) == []
