"""Covariances and correlations of variables, one a row: cov, corrcoef."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import warnings

from .arithmetic import div, mul
from .layout import diagonal
from .linalg import mm
from .pointwise import clamp, conj_any, is_complex, real_of, sqrt
from .reduce import sum
from .shape import reshape, squeeze, t, unsqueeze


def _check_input(name, input):
    if input.ndim > 2:
        raise RuntimeError(
            f"{name}(): expected input to have two or fewer dimensions but got an input with "
            f"{input.ndim} dimensions"
        )


def _check_weights(name, w, observations, kind):
    """kind: "integral" (how often each was observed) or "floating point" (how important it is)"""
    if w is None:
        return
    if w.ndim > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with {w.ndim} "
            "dimensions"
        )
    if w.dtype.is_floating_point != (kind == "floating point") or w.dtype.is_complex:
        raise RuntimeError(
            f"cov(): expected {name} to have {kind} dtype but got {name} with {w.dtype} dtype"
        )
    if w.numel() != observations:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the input "
            f"but got {w.numel()} != {observations}"
        )
    if observations and bool((w < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


def cov(input, *, correction=1, fweights=None, aweights=None):
    """The covariances of variables (rows) over observations (columns): (V, N) -> (V, V); (N,) -> ()

    correction: what is taken from the number of observations before it divides
    fweights: how often each was observed, integers (N,); aweights: its importance, floats (N,)
    """
    _check_input("cov", input)
    if input.dtype.name == "bool":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if input.ndim == 2 else reshape(input, (1, -1))
    n = x.shape[1]
    _check_weights("fweights", fweights, n, "integral")
    _check_weights("aweights", aweights, n, "floating point")
    w = aweights if fweights is None else fweights
    if fweights is not None and aweights is not None:
        w = mul(fweights, aweights)
    total = n if w is None else sum(w)
    if w is not None and not bool(total != 0):
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    freedom = total - correction
    if aweights is not None:
        freedom = total - correction * sum(w * aweights) / total
    if not freedom > 0:
        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number "
            "of observations.",
            stacklevel=2,
        )
        freedom = 0
    mean = div(sum(x if w is None else mul(x, w), 1), total)
    x = x - unsqueeze(mean, 1)
    c = mm(x, t(conj_any(x if w is None else mul(x, w))))
    return squeeze(div(c, freedom))


def corrcoef(input):
    """Pearson's correlations of variables (rows): cov(input) over the standard deviations, in [-1, 1]

    (V, N) -> (V, V); (N,) -> ()
    """
    _check_input("corrcoef", input)
    c = cov(input)
    if not c.ndim:
        return c / c
    deviation = sqrt(real_of(diagonal(c)))
    c = c / unsqueeze(deviation, 1) / unsqueeze(deviation, 0)
    return c if is_complex(c) else clamp(c, -1, 1)


FUNCTIONS = METHODS = {"cov": cov, "corrcoef": corrcoef}
