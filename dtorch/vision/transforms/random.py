"""Random decisions of transforms, from dtorch's default generator."""

from __future__ import annotations

from dtorch.core.ops.random import rand, randint, randperm


def uniform(low: float, high: float) -> float:
    return low + (high - low) * float(rand(()))


def integer(low: int, high: int) -> int:
    """From low to high, high excluded."""
    return int(randint(low, high, ()))


def chance(p: float) -> bool:
    """True with probability p."""
    return float(rand(())) < p


def order(n: int) -> list[int]:
    """0 to n - 1 in any order."""
    return randperm(n).tolist()


def choice(weights: list[float]) -> int:
    """An index, with these probabilities (of whatever sum)."""
    point = float(rand(())) * sum(weights)
    for i, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return i
    return len(weights) - 1
