"""scipy.sparse's matrices of coordinates, with arrays of the GPU."""

import cupy
import scipy.sparse


class coo_matrix:  # noqa: N801 (as SciPy)
    def __init__(self, arg, shape):
        values, (rows, cols) = arg
        self._m = scipy.sparse.coo_array(
            (cupy._unwrap(values), (cupy._unwrap(rows), cupy._unwrap(cols))), shape
        )

    def tocsr(self):
        return self

    def __matmul__(self, dense):
        return cupy._wrap(self._m.tocsr() @ cupy._unwrap(dense))
