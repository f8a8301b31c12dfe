"""What dtorch finds on this machine: `python -m dtorch.doctor`."""

from __future__ import annotations

import importlib
import json
import math
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version

import dtorch
from dtorch.core import device, env
from dtorch.core.backend import cublas, cudnn, onednn
from dtorch.parallel.identity import detect

PACKAGES = ("numpy", "scipy", "ml_dtypes", "mpi4py", "pyzmq", "safetensors", "threadpoolctl")


def main() -> None:
    """Print versions, the MPI library, devices, threads and variables, and what is missing."""
    print(f"dtorch {dtorch.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print("packages:", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    print("MPI:", _mpi())
    print("CUDA:", _cuda())
    print("oneDNN:", _onednn())
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
    found = f"CuPy {cuda.cp.__version__}, {dtorch.cuda.device_count()} GPU(s)"
    if cublas.libraries() is None:
        found += "; cuBLAS was not found, half precision is slower: pip install 'dtorch[cuda]'"
    if cudnn.library() is None:
        found += "; cuDNN was not found, convolutions are slower: pip install 'dtorch[cuda]'"
    return found


def _onednn() -> str:
    found = onednn.load()
    if found is not None:
        return f"{found.version} ({found.path})"
    if env.ONEDNN.get() == "off":
        return "switched off by DTORCH_ONEDNN=off; large arrays are slower without it"
    return "none: large arrays are slower; pip install onednn-cpu-gomp==2023.2.0 (Linux on x86-64)"


def _threads() -> str:
    pools = importlib.import_module("threadpoolctl").threadpool_info()
    return ", ".join(f"{p['num_threads']} ({p['internal_api']} {p['version']})" for p in pools)


def ranks() -> None:
    """On each rank of a job: what an all-reduce takes; rank 0 prints it as JSON."""
    dist = importlib.import_module("dtorch.distributed")
    dist.init_process_group()
    times = {}
    for elements in (1, 4 << 20):  # float32: 4 bytes, 16 MiB
        x = dtorch.ones(elements)
        times[elements] = math.inf
        for _ in range(10):
            start = time.perf_counter()
            dist.all_reduce(x)
            times[elements] = min(times[elements], time.perf_counter() - start)
    if x[0].item() != dist.get_world_size() ** 10:
        raise RuntimeError(f"10 all-reduces of ones on {dist.get_world_size()} ranks gave {x[0]}")
    if dist.get_rank() == 0:
        rate = x.nbytes / times[x.numel()]
        print(json.dumps({"backend": dist.get_backend(), "seconds": times[1], "rate": rate}))
    dist.destroy_process_group()


if __name__ == "__main__":
    ranks() if sys.argv[1:] == ["--ranks"] else main()
