"""Which hosts take part in a job, and which one this is: from options, or a scheduler's variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from dtorch_run.borrowed import identity
from dtorch_run.options import Options, UsageError

MEETING_PORT = 29400  # torchrun's default for hosts that meet
# What started us may have started all ranks already: then each dtorch-run becomes its rank.
_ADOPTED = ("openmpi", "hydra", "pmi", "jsrun", "torchrun", "slurm", "slurm-pmi2")
_START_PER_HOST = {
    "SLURM": "srun --ntasks-per-node=1 dtorch-run ...",
    "PBS": "pbsdsh -u -- dtorch-run ... with --hostfile $PBS_NODEFILE",
    "LSF": "blaunch -z \"$LSB_HOSTS\" dtorch-run ... with --hosts",
}  # fmt: skip


class Hosts(NamedTuple):
    """This host's place: ``0 <= node < size``; `head` is the first host and `port` their meeting's."""

    size: int = 1
    node: int = 0
    head: str = "127.0.0.1"
    port: int = 0
    source: str = "default"  # where that is said
    patience: float = 300.0  # seconds that hosts wait for each other
    silence: int = 10  # seconds without a sign of life, after which one is gone


class Allocation(NamedTuple):
    """The hosts that a batch scheduler has given to the job that we run in."""

    scheduler: str
    names: tuple[str, ...]


def adopted(options: Options, env: Mapping[str, str]) -> str | None:
    """The starter whose rank this process is already; None if the ranks are ours to start."""
    try:
        world = identity.detect(env)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if world.size == 1 or world.starter not in _ADOPTED:
        return None
    if options.nproc_per_node is None:
        return str(world.starter)
    if world.local_size > 1:
        raise UsageError(
            f"{world.starter} has started {world.local_size} processes on this host, and each is "
            f"asked for {options.nproc_per_node} ranks: leave --nproc-per-node out, so that they "
            "are the ranks, or start one dtorch-run a host"
        )
    return None


def find(options: Options, env: Mapping[str, str], name: str, listed: tuple[str, ...]) -> Hosts:
    """The hosts of a job whose ranks are ours to start.

    name: this host's; listed: the names in --hostfile
    """
    if options.standalone:
        return Hosts(source="--standalone")
    names = tuple(options.hosts.split(",")) if options.hosts else listed
    if names:
        return _of_list(options, names, name)
    world = identity.detect(env)
    started = world.starter in _ADOPTED and world.size > 1  # one a host: `adopted` has made sure
    if started and options.nnodes is None:
        return _of_starter(options, env, world)
    count = _count(options.nnodes)
    if count == 1:
        return Hosts(source=options.source("nnodes"))
    head, port = _meeting_place(options)
    if options.node_rank is None and "SLURM_NODEID" not in env:
        raise UsageError(
            f"--nnodes {count} needs --node-rank (0 on the first host, 1 on the second ...), or "
            "--hosts with all their names"
        )
    node = options.node_rank if options.node_rank is not None else int(env["SLURM_NODEID"])
    if not 0 <= node < count:
        raise UsageError(f"expected 0 <= --node-rank < --nnodes, got {node} and {count}")
    if head is None:
        raise UsageError(f"--nnodes {count} needs --master-addr, the host of rank 0")
    return Hosts(count, node, head, port, options.source("nnodes"), *_times(options))


def allocation(env: Mapping[str, str], nodefile: tuple[str, ...]) -> Allocation | None:
    """What a batch system has given us.

    nodefile: the names in the file that PBS_NODEFILE names
    """
    if "SLURM_JOB_ID" in env:
        listed = env.get("SLURM_JOB_NODELIST") or env.get("SLURM_NODELIST") or ""
        return Allocation("SLURM", tuple(expand(listed)))
    if "PBS_JOBID" in env:
        return Allocation("PBS", tuple(dict.fromkeys(nodefile)))
    if "LSB_JOBID" in env:
        counted = env.get("LSB_MCPU_HOSTS", "").split()[::2]  # "host1 4 host2 4"
        return Allocation("LSF", tuple(dict.fromkeys(counted or env.get("LSB_HOSTS", "").split())))
    return None


def unused(hosts: Hosts, given: Allocation | None) -> str | None:
    """A remark when a scheduler has given us more hosts than the job uses."""
    if given is None or len(given.names) <= hosts.size or hosts.source == "--standalone":
        return None
    return (
        f"{given.scheduler} gave this job {len(given.names)} hosts, and {hosts.size} is used: to "
        f"use all, start `{_START_PER_HOST[given.scheduler]}` (--standalone silences this)"
    )


def expand(nodelist: str) -> list[str]:
    """The names in SLURM's list: ``gpu[01-03,7],login`` is gpu01, gpu02, gpu03, gpu7, login."""
    names: list[str] = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodelist):
        names += _expand_one(part)
    return names


def _expand_one(part: str) -> list[str]:
    found = re.match(r"([^\[]*)\[([^\]]*)\](.*)", part)
    if found is None:
        return [part]
    head, ranges, tail = found.groups()
    names = []
    for span in ranges.split(","):
        first, _, last = span.partition("-")
        for number in range(int(first), int(last or first) + 1):
            names += [f"{head}{number:0{len(first)}}{rest}" for rest in _expand_one(tail)]
    return names


def _of_list(options: Options, names: tuple[str, ...], name: str) -> Hosts:
    source = options.source("hosts" if options.hosts else "hostfile")
    node = options.node_rank
    if node is None:
        short = [host.partition(".")[0] for host in names]
        if name.partition(".")[0] not in short:
            raise UsageError(
                f"this host, {name}, is not among {', '.join(names)} ({source}): add it, or give "
                "--node-rank"
            )
        node = short.index(name.partition(".")[0])
    head, port = _meeting_place(options)
    if len(names) == 1:
        return Hosts(source=source)
    return Hosts(len(names), node, head or names[0], port, source, *_times(options))


def _of_starter(options: Options, env: Mapping[str, str], world: Any) -> Hosts:
    """One dtorch-run a host, started by srun, mpirun or pbsdsh."""
    given = allocation(env, ())
    head, port = _meeting_place(options)
    if head is None and given is not None and given.names:
        head = (expand(env.get("SLURM_STEP_NODELIST", "")) or list(given.names))[0]
    if head is None:
        raise UsageError(
            f"{world.starter} has started one dtorch-run on each of {world.size} hosts: say by "
            "--master-addr which is the first"
        )
    source = f"the variables of {world.starter}"
    return Hosts(world.size, world.rank, head, port, source, *_times(options))


def _count(nnodes: int | str | None) -> int:
    text = str(1 if nnodes is None else nnodes)
    low, colon, high = text.partition(":")
    if not (low.isdecimal() and int(low) >= 1 and (not colon or high == low)):
        elastic = " (a job of varying size is not there yet)" if colon else ""
        raise UsageError(f"--nnodes must be a whole number of at least 1, got {text}{elastic}")
    return int(low)


def _meeting_place(options: Options) -> tuple[str | None, int]:
    head, port = options.master_addr, options.master_port
    if options.rdzv_backend not in (None, "static", "c10d"):
        raise UsageError(
            f"--rdzv-backend must be static or c10d (the same here), got {options.rdzv_backend!r}"
        )
    if options.rdzv_endpoint:
        host, _, number = options.rdzv_endpoint.rpartition(":")
        if not number.isdecimal():
            host, number = options.rdzv_endpoint, ""
        head, port = head or host, port or int(number or 0)
    return head, port or MEETING_PORT


def _times(options: Options) -> tuple[float, int]:
    """(patience, silence) of Hosts: --rdzv-conf, in torchrun's words, over the defaults."""
    pairs = dict(pair.partition("=")[::2] for pair in (options.rdzv_conf or "").split(",") if pair)
    patience = pairs.get("timeout") or pairs.get("join_timeout") or "300"
    interval, attempts = pairs.get("keep_alive_interval"), pairs.get("keep_alive_max_attempt")
    try:
        return float(patience), int(interval or 2) * int(attempts or 5)
    except ValueError:
        raise UsageError(
            "--rdzv-conf timeout must be in seconds, keep_alive_interval and keep_alive_max_attempt "
            f"whole numbers, got {options.rdzv_conf!r}"
        ) from None
