"""rearrange: transpose, split and merge dimensions by a pattern of names.

The notation is that of einops (Rogozhnikov, "Einops: clear and reliable tensor manipulations with
Einstein-like notation", ICLR 2022).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Any

from ..core.ops.join import stack
from ..core.tensor import Tensor

Groups = list[list[str]]
DOTS = ["..."]  # the group of dots that stand alone


def rearrange(tensor: Tensor | Sequence[Tensor], pattern: str, **axes_lengths: int) -> Tensor:
    """The elements of a tensor in other dimensions: rearrange(x, "b (h w) c -> b c h w", h=8)

    tensor: or several of one shape, stacked along a new first dimension
    pattern: names on both sides of "->"; parentheses make one dimension of several, 1 and () are
        dimensions of size 1, ... stands for any number of dimensions
    axes_lengths: sizes of names within parentheses; one in each may be left out
    """
    t = tensor if isinstance(tensor, Tensor) else stack(list(tensor))
    left, right = _sides(pattern)
    extra = [f"...{i}" for i in range(t.ndim - sum(g is not DOTS for g in left))]
    left, right = _expanded(left, extra), _expanded(right, extra)
    if len(left) != t.ndim:
        raise ValueError(
            f"Number of dimensions in pattern ({len(left)}) and tensor ({t.ndim}) do not match: "
            f"'{pattern}'"
        )
    sizes = _sizes(left, t.shape, axes_lengths)
    names = [n for group in left for n in group]
    order = [n for group in right for n in group]
    split = t.reshape([sizes[n] for n in names])
    moved = split.permute([names.index(n) for n in order])
    return moved.reshape([prod(sizes[n] for n in group) for group in right])


def _sides(pattern: str) -> tuple[Groups, Groups]:
    """The groups of names on the left and on the right; ValueError for what is no pattern."""
    sides = pattern.split("->")
    if len(sides) != 2:
        raise ValueError(f"rearrange: expected a pattern 'left -> right', got '{pattern}'")
    left, right = (_groups(side) for side in sides)
    for groups in (left, right):
        names = [n for g in groups for n in g]
        double = sorted({n for n in names if names.count(n) > 1})
        if double:
            raise ValueError(f"rearrange: {double} appear twice on one side of '{pattern}'")
    alone = {n for g in left for n in g} ^ {n for g in right for n in g}
    if alone:
        raise ValueError(
            f"Identifiers only on one side of expression (should be on both): {sorted(alone)}"
        )
    return left, right


def _groups(side: str) -> Groups:
    """[["b"], ["h", "w"]] from "b (h w)"; a dimension of size 1 is an empty group."""
    groups: Groups = []
    rest = re.sub(r"\(([^()]*)\)|(\.\.\.)|(\w+)", "", side)
    if rest.strip():
        raise ValueError(
            f"rearrange: '{side.strip()}' is no list of names: what is '{rest.strip()}'?"
        )
    for inside, dots, name in re.findall(r"(\([^()]*\))|(\.\.\.)|(\w+)", side):
        if dots:
            groups.append(DOTS)
            continue
        words = inside[1:-1].split() if inside else [name]
        groups.append([w for w in words if w != "1"])
        for w in groups[-1]:
            if w != "..." and not w.isidentifier():
                raise ValueError(f"rearrange: '{w}' is no valid name of a dimension")
    return groups


def _expanded(groups: Groups, extra: list[str]) -> Groups:
    """The groups with the names of the extra dimensions in place of the dots."""
    result: Groups = []
    for g in groups:
        if g is DOTS:
            result += [[n] for n in extra]
        else:
            result.append([m for n in g for m in (extra if n == "..." else [n])])
    return result


def _sizes(left: Groups, shape: Any, given: dict[str, int]) -> dict[str, int]:
    """The size of each name on the left."""
    names = {n for g in left for n in g}
    unknown = sorted(set(given) - names)
    if unknown:
        raise ValueError(f"rearrange: {unknown} have a length, but are not in the pattern")
    sizes = dict(given)
    for group, n in zip(left, shape):
        missing = [m for m in group if m not in sizes]
        known = prod(sizes[m] for m in group if m in sizes)
        if len(missing) > 1:
            raise ValueError(f"rearrange: the lengths of {missing} must be given, all but one")
        if missing:
            sizes[missing[0]] = n // known if known else 0
            known *= sizes[missing[0]]
        if known != n:
            raise ValueError(
                f"rearrange: a dimension of size {n} can't be split into {group}, {sizes}"
            )
    return sizes
