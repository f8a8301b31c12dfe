"""A line search for the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """What is known at p + t d."""

    t: Any
    loss: Any
    grad: Any  # of all parameters, a vector
    slope: Any  # grad . d


def strong_wolfe(
    evaluate: Callable[[Any], Point], start: Point, t: Any, largest: Any, tolerance: float,
    max_evals: int, c1: float = 1e-4, c2: float = 0.9,
) -> tuple[Point, int]:  # fmt: skip
    """A point with loss <= start.loss + c1 t slope and |slope| <= c2 |start.slope|, and how many
    evaluations it took; after max_evals of them, or when the bracket times `largest`, the largest
    change of a parameter, is smaller than `tolerance`, the best point so far.

    Nocedal and Wright, "Numerical optimization" (2006), algorithms 3.5 and 3.6, with the safeguards
    of Schmidt's minFunc, as in torch.
    """

    def too_high(point: Point) -> bool:
        return bool(point.loss > start.loss + c1 * point.t * start.slope)

    def flat(point: Point) -> bool:
        return bool(abs(point.slope) <= -c2 * start.slope)

    # Go further until the minimum is bracketed.
    before, now, steps = start, evaluate(t), 0
    while steps < max_evals:
        if too_high(now) or (steps > 1 and now.loss >= before.loss):
            break
        if flat(now):
            return now, steps + 1
        if now.slope >= 0:
            break
        nearest, farthest = now.t + 0.01 * (now.t - before.t), now.t * 10
        t = cubic_minimum(before, now, nearest, farthest)
        before, now, steps = now, evaluate(t), steps + 1
    if steps == max_evals:
        before = start

    # Narrow the bracket down: ends[low] is the better of its ends.
    ends, low, stuck = [before, now], int(before.loss > now.loss), False
    while steps < max_evals and not abs(ends[1].t - ends[0].t) * largest < tolerance:
        t, stuck = _inside(ends[0], ends[1], stuck)
        now, steps = evaluate(t), steps + 1
        if too_high(now) or now.loss >= ends[low].loss:
            ends[1 - low] = now
            low = int(ends[0].loss > ends[1].loss)
            continue
        if flat(now):
            return now, steps + 1
        if now.slope * (ends[1 - low].t - ends[low].t) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = now
    return ends[low], steps + 1


def _inside(a: Point, b: Point, stuck: bool) -> tuple[Any, bool]:
    """Where to look next between a and b, and whether that is close to one of them.

    Twice in a row is no progress: then a tenth of the way from the end is taken instead.
    """
    t = cubic_minimum(a, b)
    left, right = min(a.t, b.t), max(a.t, b.t)
    margin = 0.1 * (right - left)
    if min(right - t, t - left) >= margin:
        return t, False
    if not (stuck or t >= right or t <= left):
        return t, True
    return (right - margin if abs(t - right) < abs(t - left) else left + margin), False


def cubic_minimum(a: Point, b: Point, lowest: Any = None, highest: Any = None) -> Any:
    """Where the cubic with the losses and slopes of two points has its minimum, within bounds.

    The bounds are the points themselves by default.  Their middle, if there is no minimum.
    """
    if a.t > b.t:
        a, b = b, a
    if lowest is None:
        lowest, highest = a.t, b.t
    mean = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = mean**2 - a.slope * b.slope
    if not square >= 0:
        return (lowest + highest) / 2.0
    root = square**0.5
    t = b.t - (b.t - a.t) * ((b.slope + root - mean) / (b.slope - a.slope + 2 * root))
    return min(max(t, lowest), highest)
