"""PowerSGD: gradients are communicated as products of two thin matrices.

Vogels, Karimireddy, Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for Distributed
Optimization" (NeurIPS 2019), algorithms 1 and 2.
"""

from __future__ import annotations

import math
from typing import Any

import dtorch
from dtorch.core.tensor import Tensor
from dtorch.nn.functional import pad

from .arguments import the_group
from .buckets import GradBucket
from .collectives import all_reduce, all_reduce_coalesced
from .future import Future
from .reductions import ReduceOp


class PowerSGDState:
    """What the hook keeps from one backward to the next.

    process_group: the ranks; the default group if None
    matrix_approximation_rank: of the products
    start_powerSGD_iter: how many backwards first communicate everything; at least 2 with error
        feedback or warm start, since gradients change their places in the buckets after the first
    min_compression_rate: a matrix is compressed where that saves at least this factor
    use_error_feedback: add to the next gradients what the approximation left out
    warm_start: begin with the last factors, not with random ones
    orthogonalization_epsilon: added to norms that are divided by
    random_seed: of the random factors, the same on all ranks
    """

    def __init__(
        self,
        process_group: Any,
        matrix_approximation_rank: int = 1,
        start_powerSGD_iter: int = 1000,
        min_compression_rate: float = 2,
        use_error_feedback: bool = True,
        warm_start: bool = True,
        orthogonalization_epsilon: float = 0,
        random_seed: int = 0,
    ) -> None:
        if (use_error_feedback or warm_start) and start_powerSGD_iter <= 1:
            raise ValueError(
                "Expect `start_powerSGD_iter` > 1 if `use_error_feedback` or `warm_start` is "
                "enabled, because PowerSGD can only be applied after the first two iterations in "
                "DDP."
            )
        self.process_group = process_group
        self.matrix_approximation_rank = matrix_approximation_rank
        self.start_powerSGD_iter = start_powerSGD_iter
        self.min_compression_rate = min_compression_rate
        self.use_error_feedback = use_error_feedback
        self.warm_start = warm_start
        self.orthogonalization_epsilon = orthogonalization_epsilon
        self.generator = dtorch.Generator().manual_seed(random_seed)
        self.iter = 0
        self.errors: dict[tuple[int, int], Tensor] = {}  # by bucket and place in it
        self.factors: dict[tuple[int, int], Tensor] = {}

    def compresses(self, x: Tensor) -> bool:
        """Whether x is a matrix, of its first dimension by the others, that is worth it."""
        if x.ndim < 2 or x.numel() == 0:
            return False
        rows, columns = x.shape[0], x.numel() // x.shape[0]
        r = min(rows, columns, self.matrix_approximation_rank)
        return (rows + columns) * r * self.min_compression_rate < rows * columns

    def factor(self, place: tuple[int, int], m: Tensor) -> Tensor:
        """(columns, r) to begin with: the last one, or one that is random but everybody's.

        Zeros in the last one, of a matrix of a lower rank, would stay zeros for ever.
        """
        last = self.factors.get(place) if self.warm_start else None
        if last is not None and last.any(0).all():
            return last
        r = min(*m.shape, self.matrix_approximation_rank)
        new = dtorch.randn(m.shape[1], r, generator=self.generator).to(m)
        return new if last is None else dtorch.where(last.any(0), last, new)

    def orthogonalize(self, columns: Tensor) -> Tensor:
        """(n, r), r small: Gram-Schmidt; a column that depends on those before becomes zeros.

        Each column twice: what the first time leaves of a dependent one is only noise, of which
        the second time leaves less than a half.
        """
        done: list[Tensor] = []
        lengths: list[Tensor] = []
        for column in columns.unbind(1):
            norms: list[Tensor] = []
            for _ in range(2):
                for other in done:
                    column = column - (other @ column) * other
                norms.append(column.norm())
                column = column / norms[-1].clamp(min=1e-30)
            done.append(dtorch.where(norms[1] > 0.5, column, 0))
            lengths.append(norms[0])
        length = dtorch.stack(lengths).clamp(min=1e-30)
        return dtorch.stack(done, 1) * (length / (length + self.orthogonalization_epsilon))


@dtorch.no_grad()
def powerSGD_hook(state: PowerSGDState, bucket: GradBucket) -> Future[Tensor]:
    """The average of vectors and small matrices, low-rank approximations of that of the others."""
    group = the_group(state.process_group)
    if state.iter < state.start_powerSGD_iter:
        all_reduce(bucket.buffer(), ReduceOp.AVG, group)
    else:
        grads = dict(enumerate(bucket.gradients()))
        matrices = {i: g.view(g.shape[0], -1) for i, g in grads.items() if state.compresses(g)}
        plain = [g for i, g in grads.items() if i not in matrices]
        if plain:
            all_reduce_coalesced(plain, ReduceOp.AVG, group)
        if matrices:
            _approximate(state, {(bucket.index(), i): m for i, m in matrices.items()}, group)
    if bucket.is_last():
        state.iter += 1
    return _done(bucket.buffer())


@dtorch.no_grad()
def batched_powerSGD_hook(state: PowerSGDState, bucket: GradBucket) -> Future[Tensor]:
    """A low-rank approximation of the average of all gradients of a bucket, as one square matrix.

    Faster than powerSGD_hook, and less accurate: the matrix has no structure to be found.
    """
    group = the_group(state.process_group)
    x = bucket.buffer()
    if state.iter < state.start_powerSGD_iter:
        all_reduce(x, ReduceOp.AVG, group)
    else:
        side = math.ceil(math.sqrt(x.numel()))
        square = pad(x, (0, side * side - x.numel())).view(side, side)
        _approximate(state, {(bucket.index(), 0): square}, group)
        x.copy_(square.view(-1)[: x.numel()])
    if bucket.is_last():
        state.iter += 1
    return _done(x)


def _done(x: Tensor) -> Future[Tensor]:
    future: Future[Tensor] = Future()
    future.set_result(x)
    return future


def _approximate(state: PowerSGDState, matrices: dict[tuple[int, int], Tensor], group: Any) -> None:
    """Replace each m: (rows, columns) by P Q^T, P: (rows, r) and Q: (columns, r) averages."""
    if state.use_error_feedback:
        for place, m in matrices.items():
            m += state.errors.get(place, 0)
    ps = [m @ state.orthogonalize(state.factor(place, m)) for place, m in matrices.items()]
    all_reduce_coalesced(ps, ReduceOp.AVG, group)
    ps = [state.orthogonalize(p) for p in ps]
    qs = [m.t() @ p for m, p in zip(matrices.values(), ps)]
    all_reduce_coalesced(qs, ReduceOp.AVG, group)
    for (place, m), p, q in zip(matrices.items(), ps, qs):
        approximation = p @ q.t()
        if state.use_error_feedback:
            state.errors[place] = m - approximation
        state.factors[place] = q
        m.copy_(approximation)
