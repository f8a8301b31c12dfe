"""Flags for the libraries that torch computes with, under torch.backends' names.

dtorch computes with NumPy, SciPy and CuPy.  The flags can be set and read, so that scripts that set
them run, and they change nothing; what a script asks about availability is answered truly.
"""

from . import cpu, cuda, cudnn, mha, mkl, mkldnn, mps, nnpack, openmp, opt_einsum

__all__ = [
    "cpu", "cuda", "cudnn", "fp32_precision", "mha", "mkl", "mkldnn", "mps", "nnpack", "openmp",
    "opt_einsum",
]  # fmt: skip

fp32_precision = "none"
