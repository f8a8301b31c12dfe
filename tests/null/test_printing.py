"""repr is torch's, character for character, but for the package's name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

import dtorch

SHAPES = [
    (),
    (1,),
    (5,),
    (0,),
    (0, 3),
    (2, 3),
    (2, 3, 4),
    (30,),
    (1001,),
    (40, 30),
    (7, 8, 20),
    (1, 2, 1, 3),
]
DTYPES = [
    "float32",
    "float64",
    "float16",
    "int32",
    "int64",
    "uint8",
    "bool",
    "complex64",
    "complex128",
]
SPECIAL = [
    [1.0, 2.0],
    [1.0, np.nan],
    [np.inf, 1.5],
    [0.0, 0.0],
    [np.nan],
    [-0.0, 3],
    [1e9],
    [1e-9, 1],
    [1000.0, 1.0],
    [1001.0, 1.0],
    [123456789.0, np.inf],
    [np.inf, -np.inf],
    [-1.5, 2e8],
    [0.1, -0.00012],
]


def text(t: Any) -> str:
    """repr without the name of the package, and without the line breaks that its length decides."""
    return re.sub(r",\s+(dtype|grad_fn|size|requires_grad)=", r", \1=", repr(t)).replace(
        "dtorch.", "torch."
    )


def both(a: np.ndarray) -> tuple[Any, Any]:
    return dtorch.from_numpy(a.copy()), torch.from_numpy(a.copy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 1e-5, 1e3, 1e6])
def test_shapes_dtypes_and_magnitudes(dtype: str, scale: float) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        values = rng.standard_normal(shape) * scale
        if dtype.startswith("complex"):
            values = values + 1j * rng.standard_normal(shape) * scale
        with np.errstate(all="ignore"):
            mine, theirs = both(np.asarray(values).astype(dtype))
        assert text(mine) == text(theirs), shape


@pytest.mark.parametrize("values", SPECIAL, ids=str)
def test_special_values(values: list[float]) -> None:
    for dtype in ("float32", "float64"):
        mine, theirs = both(np.array(values, dtype))
        assert text(mine) == text(theirs)


def test_bfloat16() -> None:
    mine, theirs = (
        t.to(lib.bfloat16) for t, lib in zip(both(np.array([1.5, -3.0])), (dtorch, torch))
    )
    assert text(mine) == text(theirs)


def test_history_and_line_breaks() -> None:
    mine, theirs = both(np.arange(18, dtype="float32").reshape(2, 9) / 7)
    for t in (mine, theirs):
        t.requires_grad_()
    assert repr(mine) == repr(theirs)
    assert repr(mine * 2) == repr(theirs * 2)
    assert repr((mine * 2).tanh()) == repr((theirs * 2).tanh())


@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"sci_mode": True},
        {"sci_mode": False},
        {"threshold": 5},
        {"edgeitems": 1, "threshold": 5},
        {"linewidth": 40},
        {"profile": "short"},
        {"profile": "full"},
    ],
    ids=str,
)
def test_options(options: dict[str, Any]) -> None:
    try:
        dtorch.set_printoptions(**options)
        torch.set_printoptions(**options)
        for shape in SHAPES:
            mine, theirs = both(np.asarray(np.random.default_rng(1).standard_normal(shape) * 100))
            assert text(mine) == text(theirs), shape
    finally:
        dtorch.set_printoptions(profile="default")
        torch.set_printoptions(profile="default")


def test_printoptions_ends_with_its_block() -> None:
    before = dtorch.get_printoptions()
    with dtorch.printoptions(precision=1):
        assert repr(dtorch.tensor([1.25])) == "tensor([1.2])"
    assert dtorch.get_printoptions() == before


OPTIONS: dict[str, list[Any]] = {
    "precision": [0, 1, 2, 6],
    "threshold": [0, 5, 20],
    "edgeitems": [0, 1, 2, 5],
    "linewidth": [20, 40, 120],
    "sci_mode": [True, False, None],
    "profile": ["default", "short", "full"],
}


def generated(rng: np.random.Generator) -> tuple[Any, Any]:
    """A tensor of any dtype, shape and magnitude, of both libraries."""
    shape = tuple(rng.choice([0, 1, 2, 3, 4, 7, 12], size=rng.integers(5)).tolist())
    values = np.asarray(rng.standard_normal(shape) * rng.choice([1, 1, 1e-6, 1e-3, 1e4, 1e9]))
    if rng.random() < 0.3:
        values = np.asarray(np.round(values))
    if rng.random() < 0.3 and values.size:
        values.reshape(-1)[0] = rng.choice([np.nan, np.inf, -np.inf, 0, -0.0])
    dtype = rng.choice([*DTYPES, "bfloat16", "int8", "int16", "uint16", "uint32", "uint64"])
    if dtype.startswith("complex"):
        values = values + 1j * rng.standard_normal(shape) * rng.choice([1, 1e-5, 1e5])
    if "int" in dtype:
        values = np.nan_to_num(values) % 100
    x, y = (lib.tensor(np.asarray(values)).to(getattr(lib, dtype)) for lib in (dtorch, torch))
    if y.dtype.is_floating_point or y.dtype.is_complex:
        history = rng.integers(5)
        for t in (x, y):
            t.requires_grad_(history in (1, 2))
        if history == 2:
            return x * 2, y * 2
        if history == 3:
            return dtorch.nn.Parameter(x), torch.nn.Parameter(y)
    return x, y


@pytest.mark.parametrize("seed", range(20))
def test_generated_tensors_under_any_options(seed: int) -> None:
    rng = np.random.default_rng(seed)
    try:
        for _ in range(10):
            x, y = generated(rng)
            options = {k: v[rng.integers(len(v))] for k, v in OPTIONS.items() if rng.random() < 0.2}
            for lib in (dtorch, torch):
                lib.set_printoptions(**options)
            assert text(x) == text(y), options
            assert str(x).replace("dtorch.", "torch.").split() == str(y).split()
            for lib in (dtorch, torch):
                lib.set_printoptions(profile="default")
    finally:
        for lib in (dtorch, torch):
            lib.set_printoptions(profile="default")


def test_another_default_dtype_is_not_printed() -> None:
    mine, theirs = both(np.array([1.5]))
    for lib in (dtorch, torch):
        lib.set_default_dtype(lib.float64)
    try:
        assert text(mine) == text(theirs) == "tensor([1.5000])"
        assert text(mine.float()) == text(theirs.float())
    finally:
        for lib in (dtorch, torch):
            lib.set_default_dtype(lib.float32)


def test_format() -> None:
    for lib in (dtorch, torch):
        t = lib.tensor(3.14159)
        assert f"{t:.3f} {t} {lib.tensor(7):03d}" == "3.142 3.141590118408203 007"
        assert f"{lib.ones(2)}" == "tensor([1., 1.])"
        with pytest.raises(TypeError, match="unsupported format string"):
            f"{lib.ones(2):.3f}"
