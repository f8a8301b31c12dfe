"""scipy.linalg, with the names that CuPy has."""

import warnings

import cupy
import scipy.linalg

_NAMES = {"solve_triangular", "lu", "lu_factor", "lu_solve", "expm", "khatri_rao", "block_diag"}


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'cupyx.scipy.linalg' has no attribute {name!r}")
    function = getattr(scipy.linalg, name)

    def call(*args, **kwargs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # CuPy does not look
            return cupy._wrap(function(*cupy._unwrap(args), **cupy._unwrap(kwargs)))

    return call
