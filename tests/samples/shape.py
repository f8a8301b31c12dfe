"""Views, casts, joining, splitting, and rearranging."""

import numpy as np

from tests.samples import arr, call, ints

X = arr(3, 4)
CUBE = arr(2, 3, 4)

SAMPLES = {
    "clone": [call(X), call(X.T)],
    "Tensor.contiguous": [call(X), call(X.T)],
    "reshape": [call(X, (4, 3)), call(X.T, (-1,)), call(CUBE, (2, -1))],
    "Tensor.view": [call(X, 4, 3), call(CUBE, -1), call(X, np.dtype("uint8"), grad=False)],
    "Tensor.view_as": [call(X, arr(4, 3), grad=False)],
    "Tensor.reshape_as": [call(X.T, arr(2, 6), grad=False)],
    "Tensor.expand": [call(arr(3, 1), 2, 3, 4), call(arr(3, 1), -1, 5)],
    "Tensor.expand_as": [call(arr(3, 1), X, grad=False)],
    "broadcast_to": [call(arr(4), (3, 4))],
    "broadcast_tensors": [call(arr(4), arr(3, 1))],
    "permute": [call(CUBE, (2, 0, 1))],
    "transpose": [call(CUBE, 0, -1)],
    "swapaxes": [call(CUBE, 0, 1)],
    "t": [call(X), call(arr(3))],
    "adjoint": [call(CUBE)],
    "movedim": [call(CUBE, 0, 2), call(CUBE, (0, 1), (2, 0))],
    "squeeze": [call(arr(1, 3, 1)), call(arr(1, 3, 1), 0), call(arr(1, 3, 1), (0, 2)), call(X, 0)],
    "unsqueeze": [call(X, 1), call(X, -1)],
    "flatten": [call(CUBE), call(CUBE, 1), call(CUBE, 0, 1), call(np.array(1.0))],
    "unflatten": [call(X, 1, (2, -1)), call(arr(6), 0, (2, 3))],
    "ravel": [call(X), call(X.T)],
    "atleast_1d": [call(np.array(2.0)), call(X)],
    "atleast_2d": [call(arr(3)), call(CUBE)],
    "atleast_3d": [call(arr(3)), call(X), call(CUBE)],
    "cat": [call([X, arr(2, 4)]), call([X, X[:, :1], X], 1), call([X, ints(1, 4, high=5)])],
    "stack": [call([X, arr(3, 4, seed=1)]), call([X, X], -1)],
    "hstack": [call([X, X]), call([arr(3), arr(2)])],
    "vstack": [call([X, arr(4)])],
    "dstack": [call([X, X])],
    "column_stack": [call([arr(3), X])],
    "split": [call(X, 2, 1), call(X, 3, 1), call(X, [1, 3], -1)],
    "split_with_sizes": [call(X, [1, 3], 1)],
    "chunk": [call(X, 2, 1), call(arr(7), 3)],
    "tensor_split": [call(arr(7), 3), call(X, (1, 3), 1)],
    "hsplit": [call(X, 2)],
    "vsplit": [call(X, (1,))],
    "dsplit": [call(CUBE, 2)],
    "Tensor.repeat": [call(X, 2, 3), call(X, 2, 1, 2)],
    "tile": [call(X, (2,)), call(X, (2, 1, 2))],
    "repeat_interleave": [call(X, 2), call(X, 2, 1), call(X, np.array([0, 2, 1]), 0)],
    "flip": [call(CUBE, (0, 2)), call(X, (1,))],
    "fliplr": [call(X)],
    "flipud": [call(X)],
    "roll": [call(X, 1), call(CUBE, (1, -2), (0, 2))],
    "rot90": [call(X, 1), call(X, 2), call(X, -1), call(CUBE, 1, (0, 2)), call(X, 4)],
    "tril": [call(X), call(CUBE, 1)],
    "triu": [call(X), call(CUBE, -1)],
    "diag": [call(arr(3)), call(arr(3), -1), call(X, 1)],
    "diagonal": [call(X), call(CUBE, 1, 0, 2), call(X, 9)],
    "diag_embed": [call(arr(2, 3)), call(arr(2, 3), 1, 0, 2)],
    "diagflat": [call(arr(2, 2))],
    "diagonal_scatter": [call(X, arr(3, seed=1))],
    "Tensor.unfold": [call(X, 1, 2, 1), call(CUBE, -1, 3, 2), call(arr(7), 0, 2, 3)],
    "as_strided": [call(arr(9), (2, 3), (3, 1), 1), call(arr(9), (3, 3), (1, 2))],
    "meshgrid": [call(arr(2), arr(3), indexing="ij"), call(arr(2), arr(3), indexing="xy")],
    "cartesian_prod": [call(arr(2), arr(3), arr(2)), call(arr(2))],
    "combinations": [call(arr(4)), call(arr(3), 3, True), call(arr(2), 3)],
    "block_diag": [call(X, arr(2), np.array(3.0)), call()],
    "select_scatter": [call(X, arr(3, seed=1), 1, -2)],
    "slice_scatter": [call(X, arr(3, 2, seed=1), 1, 0, 9, 2)],
    # torch refuses other layouts, and its gradient of the input fails its own gradcheck
    "as_strided_scatter": [call(X, arr(2, 2, seed=1), (2, 2), (4, 1), 1, reference=False)],
    "Tensor.sum_to_size": [call(CUBE, 3, 1), call(X, (3, 4)), call(X, ())],
    "native_channel_shuffle": [call(arr(1, 4, 2), 2)],
    "constant_pad_nd": [call(X, (1, -1), 2.0)],
    "Tensor.double": [call(X.astype(np.float32), grad=False)],
    "Tensor.float": [call(X, grad=False)],
}  # fmt: skip

SAMPLES |= {
    f"{view}_copy": [call(CUBE, *args)]
    for view, args in {
        "alias": (), "as_strided": ((2, 3), (1, 3)), "detach": (), "diagonal": (1,),
        "narrow": (1, 0, 2), "permute": ((2, 0, 1),), "select": (1, 2), "slice": (1, -2, 9),
        "split": (2, 2), "split_with_sizes": ((1, 3), 2), "transpose": (0, 1), "unbind": (1,),
        "unfold": (2, 3, 1), "unsqueeze": (1,), "view": ((6, 4),),
    }.items()
}  # fmt: skip
SAMPLES |= {
    "expand_copy": [call(arr(3, 1), (3, 2))],
    "squeeze_copy": [call(arr(3, 1)), call(arr(1, 3, 1), (0, 1))],
    "t_copy": [call(X)],
}
