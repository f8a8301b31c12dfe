"""What bench.gpu_check runs: each section yields rows, {"what": ..., "ok": ..., figures}."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest import mock

Rows = Iterator[dict[str, Any]]
TOLERANCE = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 3e-2}
STEPS = 20  # of each model


class Section(NamedTuple):
    run: Callable[[str], Rows]
    limit: float  # seconds
    says: str


def _synchronize(device: str) -> None:
    if device == "cuda":
        import dtorch

        dtorch.cuda.synchronize()


def timed(device: str, function: Callable[[], Any], repeats: int = 30) -> float:
    """The median time of a call, in ms: wall clock, from an idle device to an idle device."""
    times = []
    for i in range(repeats + 3):
        _synchronize(device)
        began = time.perf_counter()
        function()
        _synchronize(device)
        if i >= 3:
            times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def _error(got: Any, want: Any) -> float:
    """The greatest difference, relative to the greatest value; infinite where only one has a NaN."""
    import numpy as np

    dense = (t if "strided" in str(t.layout) else t.to_dense() for t in (got, want))
    a, b = (t.detach().cpu().numpy() for t in dense)
    kind = "complex128" if "c" in a.dtype.kind + b.dtype.kind else "float64"
    a, b = a.astype(kind), b.astype(kind)
    if a.shape != b.shape:
        return math.inf
    if not a.size:
        return 0.0
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    scale = max(1.0, float(np.nanmax(np.abs(np.where(np.isinf(b), 0, b)), initial=0)))
    worst = float(np.where(same, 0, np.abs(a - b)).max() / scale)
    return math.inf if math.isnan(worst) else worst


# ---- what there is, and how fast at most ---------------------------------------------------------


def probe(device: str) -> Rows:
    import dtorch

    yield {"what": "dtorch", "value": dtorch.__version__}
    if device == "cuda":
        import cupy

        for what, value in dtorch.cuda.get_device_properties()._asdict().items():
            yield {"what": what, "value": value}
        yield {"what": "driver", "value": cupy.cuda.runtime.driverGetVersion()}
        yield {"what": "CUDA", "value": cupy.cuda.runtime.runtimeGetVersion()}
        yield {"what": "CuPy", "value": cupy.__version__}
    n = 1 << (28 if device == "cuda" else 20)
    x, y = dtorch.ones(n, device=device), dtorch.empty(n, device=device)
    yield {"what": "copy, GB/s", "value": 8 * n / timed(device, lambda: y.copy_(x)) / 1e6}
    size = 8192 if device == "cuda" else 256
    for dtype in ("float32", "float16", "bfloat16"):
        a = dtorch.ones(size, size, dtype=getattr(dtorch, dtype), device=device)
        rate = 2 * size**3 / timed(device, lambda a=a: a @ a, 10) / 1e9
        yield {"what": f"product of matrices, {dtype}, TFLOP/s", "value": rate}
    few = dtorch.ones(8, device=device)
    yield {"what": "an addition of 8 numbers, µs", "value": timed(device, lambda: few + few) * 1e3}


# ---- our own kernels -----------------------------------------------------------------------------


def _calls() -> dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]]:
    """name: (function of F, the indices, and tensors), and the shapes of the tensors"""
    image = (64, 64, 56, 56)
    return {
        "softmax": (lambda F, i, x: F.softmax(x, -1), [(8192, 1024)]),
        "log_softmax": (lambda F, i, x: F.log_softmax(x, -1), [(8192, 1024)]),
        "cross_entropy": (lambda F, i, x: F.cross_entropy(x, i), [(8192, 4096)]),
        "layer_norm": (
            lambda F, i, x, w, b: F.layer_norm(x, w.shape, w, b), [(8192, 768), (768,), (768,)]
        ),
        "rms_norm": (lambda F, i, x, w: F.rms_norm(x, w.shape, w), [(8192, 768), (768,)]),
        "group_norm": (lambda F, i, x, w, b: F.group_norm(x, 8, w, b), [image, (64,), (64,)]),
        "batch_norm": (
            lambda F, i, x, w, b: F.batch_norm(x, None, None, w, b, True), [image, (64,), (64,)]
        ),
        "linear": (
            lambda F, i, x, w, b: F.linear(x, w, b), [(8192, 768), (3072, 768), (3072,)]
        ),
        "conv2d": (
            lambda F, i, x, w, b: F.conv2d(x, w, b, 1, 1), [image, (64, 64, 3, 3), (64,)]
        ),
        "gelu": (lambda F, i, x: F.gelu(x), [(8192, 3072)]),
        "gelu, tanh": (lambda F, i, x: F.gelu(x, approximate="tanh"), [(8192, 3072)]),
        "silu": (lambda F, i, x: F.silu(x), [(8192, 3072)]),
        "embedding": (lambda F, i, w: F.embedding(i, w), [(4096, 768)]),
        "max_pool2d": (lambda F, i, x: F.max_pool2d(x, 3, 2, 1), [image]),
        "avg_pool2d": (lambda F, i, x: F.avg_pool2d(x, 2), [image]),
    }  # fmt: skip


def _plain() -> ExitStack:
    """While it is open no kernel of ours runs, but the ops' own."""
    from dtorch.core.op import REGISTRY

    stack = ExitStack()
    for op in REGISTRY.values():
        if "cuda" in op.fused:
            stack.enter_context(mock.patch.dict(op.fused, clear=True))
        if "cuda" in op.fast_rules:
            rules = {k: v for k, v in op.fast_rules.items() if k != "cuda"}
            stack.enter_context(mock.patch.dict(op.fast_rules, rules, clear=True))
    return stack


def _shrunk(shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """For the comparison with the CPU: the same kernels, over odd sizes of the first operand."""
    first, *others = shapes
    small = (9, *first[1:]) if len(first) == 2 else (3, first[1], 7, 9)
    return [small, *others]


def kernels(device: str) -> Rows:
    import dtorch

    F = dtorch.nn.functional
    for name, (function, shapes) in _calls().items():
        for dtype in TOLERANCE:
            row: dict[str, Any] = {"what": f"{name}, {dtype}", "ok": True}
            try:
                row |= _compared(dtorch, F, function, _shrunk(shapes), dtype, device)
                row |= _raced(dtorch, F, function, shapes, dtype, device)
            except Exception as e:  # noqa: BLE001 - one kernel's failure is a row, not the end
                row |= {"ok": False, "why": f"{type(e).__name__}: {e}"[:300]}
            yield row
    yield from _masks(dtorch, device)


def _compared(
    lib: Any, F: Any, function: Any, shapes: Any, dtype: str, device: str
) -> dict[str, Any]:
    """Values and gradients on the device beside those on the CPU in float64."""
    lib.manual_seed(0)
    given = [lib.randn(*s).to(getattr(lib, dtype)) for s in shapes]
    index = lib.randint(0, 9, (shapes[0][0],))
    weights = None
    results = []
    for where, d in (("cpu", "float64"), (device, dtype)):
        xs = [x.to(where).to(getattr(lib, d)).requires_grad_() for x in given]
        y = function(F, index.to(where), *xs)
        weights = lib.cos(lib.arange(y.numel()).to(lib.float64)) if weights is None else weights
        y.backward(weights.reshape(y.shape).to(where).to(y.dtype))
        results.append([t.to("cpu").to(lib.float64) for t in (y, *[x.grad for x in xs])])
    worst = max(_error(got, want) for want, got in zip(*results))
    return {"error": worst, "ok": worst <= TOLERANCE[dtype]}


def _raced(lib: Any, F: Any, function: Any, shapes: Any, dtype: str, device: str) -> dict[str, Any]:
    """Times of forward and backward with our kernels, and without."""
    if device == "cpu":
        shapes = _shrunk(shapes)
    xs = [lib.ones(*s, dtype=getattr(lib, dtype), device=device).requires_grad_() for s in shapes]
    index = lib.zeros(shapes[0][0], dtype=lib.int64, device=device)
    g = lib.ones_like(function(F, index, *xs))

    def both() -> None:
        for x in xs:
            x.grad = None
        function(F, index, *xs).backward(g)

    ours = timed(device, both, 10)
    with _plain():
        return {"ms": ours, "ms without": timed(device, both, 10)}


def _masks(lib: Any, device: str) -> Rows:
    """Dropout draws the same elements on both."""
    results = []
    for where in ("cpu", device):
        lib.manual_seed(7)
        results.append(lib.nn.functional.dropout(lib.ones(1001, 3, device=where), 0.3).to("cpu"))
    yield {"what": "dropout's masks", "ok": bool((results[0] == results[1]).all())}


# ---- every op ------------------------------------------------------------------------------------


def parity(device: str) -> Rows:
    """Each sample call of the op tests, in float32 on the CPU and on the device."""
    import warnings

    import dtorch
    from tests.samples import all_samples

    warnings.simplefilter("ignore")
    passed = total = 0
    for name, samples in all_samples().items():
        for i, sample in enumerate(samples):
            if not sample.reference or _is_sparse(sample):
                continue  # random, or with tests of its own
            want = _called(dtorch, name, sample, "cpu")
            total += 1
            try:
                got = _called(dtorch, name, sample, device)
                worst = max((_error(a, b) for a, b in zip(got, want)), default=0.0)
                why = "" if len(got) == len(want) and worst < 1e-3 else f"error {worst:.1e}"
            except Exception as e:  # noqa: BLE001
                why = f"{type(e).__name__}: {e}"[:200]
            if why:
                yield {"what": f"{name} {i}", "why": why}
            passed += not why
    share = passed / total
    yield {"what": f"{passed} of {total} calls agree", "ok": share >= 0.99, "why": f"{share:.4f}"}


def _is_sparse(sample: Any) -> bool:
    from tests.samples import Sparse

    def among(x: Any) -> bool:
        if isinstance(x, (dict, list, tuple)) and not isinstance(x, Sparse):
            return any(map(among, x.values() if isinstance(x, dict) else x))
        return isinstance(x, Sparse)

    return among((sample.args, sample.kwargs))


def _called(lib: Any, name: str, sample: Any, device: str) -> list[Any]:
    """The tensors that a call returns."""
    import numpy as np

    def given(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            kinds = {"float64": "float32", "complex128": "complex64"}
            return lib.tensor(x.astype(kinds.get(x.dtype.name, x.dtype)), device=device)
        if isinstance(x, np.dtype):
            return getattr(lib, x.name)
        if isinstance(x, dict):
            return {k: given(v) for k, v in x.items()}
        return type(x)(map(given, x)) if type(x) in (list, tuple) else x

    function = lib
    for part in name.split("."):
        function = getattr(function, part)
    out = function(*given(sample.args), **given(sample.kwargs))  # type: ignore[operator]
    outs = out if isinstance(out, (list, tuple)) else [out]
    return [t for t in outs if isinstance(t, lib.Tensor)]


# ---- training ------------------------------------------------------------------------------------

TRAINED = ("small MLP", "wide MLP", "LSTM", "ResNet-18 32x32", "ResNet-50 224x224", "GPT-2-like")


def training(device: str) -> Rows:
    """Each model in a process of its own, in dtorch and in torch: the losses, and the times."""
    for model in TRAINED if device == "cuda" else TRAINED[:1]:
        row: dict[str, Any] = {"what": model, "ok": True}
        for library in ("dtorch", "torch"):
            command = [sys.executable, "-m", "bench.gpu_sections", library, model, device]
            try:
                out = subprocess.run(command, capture_output=True, text=True, timeout=60)
                row |= {f"{library} {k}": v for k, v in json.loads(out.stdout).items()}
            except subprocess.TimeoutExpired:
                row["why"] = f"{library} took more than 60 s"
            except json.JSONDecodeError:
                row["why"] = (
                    out.stderr.strip().splitlines()[-1][:300] if out.stderr else "no output"
                )
            if library == "dtorch":
                last, first = row.get("dtorch last loss", math.nan), row.get("dtorch first loss")
                row["ok"] = first is not None and math.isfinite(last) and last < first
        if "dtorch ms" in row and "torch ms" in row:
            row["dtorch / torch"] = row["dtorch ms"] / row["torch ms"]
        yield row


def train(library: str, model: str, device: str) -> dict[str, float]:
    """STEPS steps of one model: the time of one in the second half, peak memory, the losses."""
    from bench.models import MODELS

    lib = __import__(library)
    if device == "cuda" and not lib.cuda.is_available():
        raise SystemExit(f"{library} sees no GPU")
    lib.set_default_device(device)
    lib.set_float32_matmul_precision("high")  # TF32 in both; torch's convolutions always have it
    lib.manual_seed(0)
    task = MODELS[model](lib)
    losses, times = [], []
    if device == "cuda":
        lib.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        began = time.perf_counter()
        task.optimizer.zero_grad()
        loss = task.loss()
        loss.backward()
        task.optimizer.step()
        losses.append(loss.item())  # waits for the device
        times.append((time.perf_counter() - began) * 1e3)
    peak = lib.cuda.max_memory_allocated() / 1e6 if device == "cuda" else 0.0
    return {"ms": statistics.median(times[STEPS // 2 :]), "MB": peak,
            "first loss": losses[0], "last loss": losses[-1]}  # fmt: skip


SECTIONS = {
    "probe": Section(probe, 60, "What there is, and the ceilings."),
    "kernels": Section(
        kernels, 150, "Our kernels: error against float64 on the CPU; forward and backward, in ms."
    ),
    "parity": Section(
        parity, 120, "Calls of every op, in float32 on both devices; those that differ are listed."
    ),
    "training": Section(
        training, 200, f"{STEPS} steps on one batch, in TF32; each library draws its own start."
    ),
}

if __name__ == "__main__":
    print(json.dumps(train(*sys.argv[1:])))
