"""What dtorch finds on this machine: `python -m dtorch.doctor`."""

from __future__ import annotations

import importlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import dtorch
from dtorch.core import device, env
from dtorch.parallel.identity import detect

PACKAGES = ("numpy", "scipy", "ml_dtypes", "mpi4py", "pyzmq", "safetensors", "threadpoolctl")


def main() -> None:
    """Print versions, the MPI library, devices, threads and variables, and what is missing."""
    print(f"dtorch {dtorch.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print("packages:", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    print("MPI:", _mpi())
    print("CUDA:", _cuda())
    print("cores:", len(os.sched_getaffinity(0)), "for this process; threads:", _threads())
    world = detect(os.environ)
    print(f"started by {world.starter}: rank {world.rank} of {world.size}")
    for variable in env.ALL:
        print(f"{variable.name}={variable.get()}: {variable.help}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "MISSING"


def _mpi() -> str:
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        return f"none ({error}); pip install 'dtorch[mpich]', or use the site's own"
    return str(mpi.Get_library_version()).splitlines()[0].strip().rstrip("\0")


def _cuda() -> str:
    try:
        cuda = device.namespace("cuda")
    except RuntimeError as error:
        return str(error)
    return f"CuPy {cuda.cp.__version__}, {dtorch.cuda.device_count()} GPU(s)"


def _threads() -> str:
    pools = importlib.import_module("threadpoolctl").threadpool_info()
    return ", ".join(f"{p['num_threads']} ({p['internal_api']} {p['version']})" for p in pools)


if __name__ == "__main__":
    main()
