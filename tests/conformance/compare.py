"""Comparing results: equal values, or equal distributions where they are random."""

from __future__ import annotations

import numbers
import random
import zlib
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

import dtorch

from . import convert as to
from .convert import last_name, leaves

# (relative, absolute) tolerance by dtype; the absolute one is scaled by the tensor's largest value.
TOLERANCE = {
    "float64": (1e-6, 1e-7),
    "float32": (1e-4, 2e-5),
    "float16": (5e-3, 5e-3),
    "bfloat16": (3e-2, 3e-2),
}
TOLERANCE |= {"complex128": TOLERANCE["float64"], "complex64": TOLERANCE["float32"]}
# Ops whose values torch itself has with less precision in float32: the tolerance times this.
LOOSE = {
    "logcumsumexp": 50,
    "cov": 10,
    "native_layer_norm": 10,
    "svd_lowrank": 50,
    "pca_lowrank": 50,
}

SAMPLES = 24  # of an op and dtype, or of a module, at the most
SLACK = 1  # the tolerances are multiplied by this for the op at hand


class Mismatch(Exception):
    """dtorch's result differs from torch's."""


class Skip(Exception):
    """torch itself cannot run this sample, so it says nothing about dtorch."""


class Late(BaseException):
    """The time limit of one item has passed."""


@contextmanager
def reference():
    """What is run in here is torch's, and its errors are no fault of dtorch."""
    try:
        yield
    except Exception as e:
        raise Skip(f"torch: {e}") from e


def attempt(stages):
    """Run a generator that yields the name of each stage as it enters it: (stage failed, why)."""
    stage = "start"
    try:
        for stage in stages:  # noqa: B007
            pass
    except (KeyboardInterrupt, Late, Skip):
        raise
    except BaseException as e:
        return stage, f"{stage}: {type(e).__name__}: {str(e).strip()[:300]}"
    return None, ""


# ---- values ------------------------------------------------------------------------------------


def array(t):
    """The values of a tensor of either library."""
    t = t.detach()
    if "sparse" in str(getattr(t, "layout", "")):
        t = t.to_dense()
    if last_name(t.dtype) == "bfloat16":
        t = t.float()
    if isinstance(t, torch.Tensor):
        return t.numpy(force=True)
    if to.DEVICE != "cpu":
        t = t.cpu()
    return np.asarray(t.numpy())


def match(ref, got, values=True, path="output"):
    """Raise Mismatch unless `got`, dtorch's, equals `ref`, torch's: in kind, structure,
    shape and dtype, and in the values unless they are random."""

    def require(condition, what):
        if not condition:
            raise Mismatch(f"{path}: {what}")

    if isinstance(ref, torch.Tensor):
        require(isinstance(got, dtorch.Tensor), f"{type(got).__name__}, not a Tensor")
        shape, dtype = tuple(ref.shape), last_name(ref.dtype)
        require(tuple(got.shape) == shape, f"shape {tuple(got.shape)}, not {shape}")
        if dtype == "complex32":
            raise Skip("numpy has no complex32")
        require(last_name(got.dtype) == dtype, f"{last_name(got.dtype)}, not {dtype}")
        if not values or not ref.numel():
            return
        a, b = array(ref), array(got)
        if dtype in TOLERANCE:
            rtol, atol = TOLERANCE[dtype]
            finite = np.abs(a[np.isfinite(a)])
            scale = max(1.0, float(finite.max(initial=0)))
            good = np.isclose(b, a, rtol * SLACK, atol * SLACK * scale, equal_nan=True)
        else:
            good = a == b
        if not good.all():
            i = tuple(map(int, np.argwhere(~np.atleast_1d(good))[0]))
            require(
                False,
                f"{(~good).sum()} of {good.size} values differ, first at {i}: "
                f"{np.atleast_1d(b)[i]}, not {np.atleast_1d(a)[i]}",
            )
    elif isinstance(ref, dict):
        require(isinstance(got, dict), f"{type(got).__name__}, not a dict")
        odd = sorted(map(str, set(got) ^ set(ref)))
        require(not odd, f"keys {odd[:6]} in one only")
        for k in ref:
            match(ref[k], got[k], values, f"{path}[{k!r}]")
    elif isinstance(ref, (list, tuple)):
        require(isinstance(got, (list, tuple)), f"{type(got).__name__}, not a {type(ref).__name__}")
        require(isinstance(got, list) == isinstance(ref, list), "list for tuple, or tuple for list")
        require(len(got) == len(ref), f"length {len(got)}, not {len(ref)}")
        for field in getattr(type(ref), "__match_args__", None) or getattr(ref, "_fields", ()):
            require(hasattr(got, field), f"has no field {field}")
        for i, (r, g) in enumerate(zip(ref, got)):
            match(r, g, values, f"{path}[{i}]")
    elif isinstance(ref, (bool, int, float, complex)):
        require(
            isinstance(got, numbers.Number) and isinstance(got, type(ref)),
            f"{type(got).__name__}, not {type(ref).__name__}",
        )
        require(not values or np.isclose(got, ref, 2e-5, 2e-5, equal_nan=True), f"{got}, not {ref}")
    else:
        require(last_name(got) == last_name(ref), f"{got!r:.80}, not {ref!r:.80}")


def is_random(run, state):
    """Whether torch's results differ from run to run.  None can where the generator is still in
    the state it had before an earlier run."""
    if torch.equal(state, torch.get_rng_state()):
        return False

    def values() -> list[Any]:
        return [array(t).copy() for t in leaves(run(), torch.Tensor)]

    before = values()
    return any(
        a.shape != b.shape or not np.allclose(a, b, 1e-3, 1e-4, equal_nan=True)
        for _ in range(20)
        for a, b in zip(before, values())
    )


def statistics(run, kind, times=30):
    """Two numbers for each tensor of each of `times` runs of a random function: the mean and the
    mean square of x / (1 + |x|), which also a heavy tailed distribution has."""
    rows = []
    for _ in range(times):
        xs = [array(t).astype(float, copy=False) for t in leaves(run(), kind)]
        xs = [x / (1 + np.abs(x)) for x in xs if x.size]
        rows.append([s for x in xs for s in (x.mean(), (x * x).mean())])
    return np.array(rows)


def match_statistics(ref_run, run):
    a, b = statistics(ref_run, torch.Tensor), statistics(run, dtorch.Tensor)
    error = np.sqrt((a.var(0) + b.var(0)) / len(a))
    if (np.abs(a.mean(0) - b.mean(0)) > 5.5 * error + 1e-6).any():
        raise Mismatch(f"distribution: means {b.mean(0)}, not {a.mean(0)}")


def match_grads(refs, gots, values=True):
    """Gradients agree; None stands for zeros."""
    for i, (ref, got) in enumerate(zip(refs, gots, strict=True)):
        if ref is not None and got is not None:
            match(ref, got, values, f"gradient {i}")
        elif any(g is not None and array(g).any() for g in (ref, got)):
            raise Mismatch(f"gradient {i}: {'None' if got is None else 'not None'}, unlike torch's")


def seed(text):
    """Start every random generator anew, so that a check does not depend on those before it."""
    number = zlib.crc32(text.encode())
    for set_seed in random.seed, np.random.seed, torch.manual_seed, dtorch.manual_seed:
        set_seed(number)


def spread(items, limit):
    """At most `limit` of the items, evenly from the first to the last."""
    items = list(items)
    if len(items) <= limit:
        return items
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]
