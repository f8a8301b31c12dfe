"""Indexing, gathering and scattering."""

import numpy as np

from tests.samples import arr, bools, call, ints

X = arr(3, 4)
CUBE = arr(2, 3, 4)
ROWS = np.array([2, 0, 2])
N = ints(2, 4, high=3)

_reduced = [
    call(X, 0, N, arr(2, 4, seed=1), mode, include_self=own)
    for mode in ("sum", "prod", "mean", "amax", "amin") for own in (True, False)
]  # fmt: skip
_zeros = np.array([[0.0, 2.0, -1.0, 0.0], [3.0, 0.0, 0.5, 0.0]])
_reduced += [
    call(np.where(X > 1, 0, X), 0, N, _zeros, "prod", include_self=own) for own in (True, False)
]

SAMPLES = {
    "Tensor.__getitem__": [
        call(X, 1), call(X, (slice(None), 2)), call(X, slice(0, 3, 2)),
              call(X, (Ellipsis, None, 0)),
        call(X, ROWS), call(X, (ROWS, ROWS)), call(X, bools(3, 4)), call(X, np.array([-1, 0])),
        call(CUBE, (slice(None), ROWS)), call(CUBE, (0, slice(None), ROWS)), call(CUBE, [0, 1, 1]),
        call(CUBE, (Ellipsis, ROWS, None)), call(X, np.array([True, False, True])), call(X, None),
    ],
    "narrow": [call(X, 1, 1, 2), call(X, 0, -2, 1)],
    "select": [call(X, 1, 2), call(CUBE, -1, -1)],
    "unbind": [call(X), call(X, 1)],
    "fill": [call(X, 2.0), call(X, np.array(3.0))],
    "index_select": [call(X, 0, ROWS), call(CUBE, -1, ROWS)],
    "gather": [call(X, 0, N), call(X, 1, ints(3, 2, high=4))],
    "take_along_dim": [call(X, ints(3, 2, high=4), 1), call(X, ints(5, high=12)),
                       call(X, ints(1, 4, high=3), 0)],
    "scatter": [call(X, 1, np.array([[0, 2], [1, 3]]), arr(2, 2, seed=1)), call(X, 0, N, 1.5),
                call(X, 0, N, arr(2, 4, seed=1), reduce="add", grad=False)],
    "scatter_add": [call(X, 0, N, arr(2, 4, seed=1)),
              call(X, 1, ints(3, 6, high=4), arr(3, 6, seed=1))],
    "scatter_reduce": _reduced,
    "index_add": [call(X, 0, ROWS, arr(3, 4, seed=1)),
              call(X, 1, ROWS, arr(3, 3, seed=1), alpha=2)],
    "index_copy": [call(X, 0, np.array([2, 0]), arr(2, 4, seed=1))],
    "index_fill": [call(X, 1, ROWS, 3.0), call(X, 0, ROWS, np.array(2.0))],
    "index_put": [call(X, (np.array([0, 2]), np.array([1, 3])), arr(2, seed=1)),
                  call(X, (ROWS,), arr(4, seed=1), accumulate=True)],
    "index_reduce": [
        call(X, 1, ROWS, arr(3, 3, seed=1), mode, include_self=own)
        for mode in ("prod", "mean", "amax", "amin") for own in (True, False)
    ],
    "segment_reduce": [
        call(X, mode, lengths=np.array([2, 0, 1]), grad=mode in ("sum", "prod"))
        for mode in ("sum", "mean", "max", "min", "prod")
    ] + [
        call(X, "mean", offsets=np.array([[0, 1, 4]] * 3), axis=1, initial=2.0),
    ],
    "put": [call(X, np.array([1, 5]), arr(2, seed=1)), call(X, ROWS, arr(3, seed=1), True)],
    "take": [call(X, ints(2, 3, high=12)), call(X, np.array([-1, 0]))],
    "masked_fill": [call(X, bools(3, 4), 2.0), call(X, bools(4), np.array(1.0))],
    "masked_select": [call(X, bools(3, 4)), call(X, bools(4))],
    "masked_scatter": [call(X, bools(3, 4), arr(12, seed=1)), call(X, bools(4), arr(12, seed=1))],
    "nonzero": [call(ints(3, 4, high=2)), call(ints(5, high=2), as_tuple=True)],
    "nonzero_static": [call(ints(3, 4, high=2), size=2), call(ints(3, high=2), size=9)],
    "unravel_index": [call(ints(2, 3, high=24), (2, 3, 4)), call(ints(3, high=4), 4)],
    "argwhere": [call(ints(3, 4, high=2))],
    "embedding": [call(X, ints(2, 3, high=3)), call(X, ints(5, high=3), 1, grad=False)],
    "nn.functional.one_hot": [call(ints(2, 3, high=4)), call(ints(3, high=4), 6)],
    "nn.functional.embedding": [call(ints(2, 3, high=3), X),
              call(ints(5, high=3), X, 1, grad=False),
              call(ints(5, high=3), X, scale_grad_by_freq=True, grad=False)],
}  # fmt: skip
