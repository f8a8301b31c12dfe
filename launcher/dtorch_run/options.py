"""Every option, declared once: the command line, the presets and --explain all read this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class UsageError(ValueError):
    """The command line or a preset asks for something that can't be done."""


class Kind(NamedTuple):
    """What an option's value may be in a preset, and how to say it."""

    types: tuple[type, ...]
    words: str


NUMBER = Kind((int,), "a whole number")
SECONDS = Kind((int, float), "a number of seconds")
TEXT = Kind((str,), "a string")
FLAG = Kind((bool,), "true or false")
LIST = Kind((list,), 'a list of "NAME=value" strings')
RANKS = Kind((int, str), 'a whole number, "auto", "cpu" or "gpu"')
MIXED = Kind((int, str), "a whole number or a string")


class Option(NamedTuple):
    key: str  # as presets spell it; the command line takes --a-b and --a_b
    kind: Kind
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    short: str = ""

    @property
    def spellings(self) -> list[str]:
        dashed = f"--{self.key.replace('_', '-')}"
        both = [dashed, f"--{self.key}"] if "_" in self.key else [dashed]
        return [self.short, *both] if self.short else both


TABLE = {
    "ranks": (
        Option("nproc_per_node", RANKS, "ranks on this host: a number, cpu (one a core), gpu (one a "
               "device) or auto (gpu, else cpu); default 1", "N"),
        Option("backend", TEXT, "how ranks find each other: mpi (an MPI world), local (plain "
               "processes), nccl (local, one GPU a rank); auto (default): mpi if mpi4py finds a "
               "library", choices=("auto", "mpi", "local", "nccl")),
        Option("env", LIST, "set a variable for all ranks; may be repeated", "NAME=VALUE"),
        Option("role", TEXT, "torchrun's; what the ranks have as ROLE_NAME; default: default", "NAME"),
        Option("start_method", TEXT, "torchrun's; without effect: ranks are programs of their own",
               "NAME"),
        Option("run_path", FLAG, "torchrun's; without effect: it is how scripts are run"),
        Option("as_torch", FLAG, "the script imports torch: give it dtorch under that name"),
    ),
    "several hosts (the same command on each)": (
        Option("nnodes", MIXED, "hosts; default 1, or what the scheduler says", "N"),
        Option("node_rank", NUMBER, "this host's number, from 0", "R"),
        Option("hosts", TEXT, "their names, the first one being where they meet; then --nnodes, "
               "--node-rank and --master-addr are known", "A,B,..."),
        Option("hostfile", TEXT, "as --hosts, a name a line", "FILE"),
        Option("master_addr", TEXT, "the host of rank 0", "HOST"),
        Option("master_port", NUMBER, "where the hosts meet; default 29400. On one host a free "
               "port is taken, unless this is given", "PORT"),
        Option("standalone", FLAG, "this host only, whatever the scheduler says"),
        Option("rdzv_backend", TEXT, "torchrun's; static and c10d are the same here", "NAME"),
        Option("rdzv_endpoint", TEXT, "torchrun's --master-addr and --master-port in one",
               "HOST[:PORT]"),
        Option("rdzv_id", MIXED, "a name that the job's hosts share: others are turned away", "ID"),
        Option("rdzv_conf", TEXT, "torchrun's; read are timeout=SECONDS: how long hosts wait for each "
               "other, and keep_alive_interval times keep_alive_max_attempt: the seconds after which "
               "a silent host is gone; default 10", "K=V,..."),
    ),
    "devices": (
        Option("device", TEXT, "cpu: no GPU is shown to the ranks; gpu: one a rank, or an error; "
               "auto (default): gpu where there is one", choices=("auto", "cpu", "gpu")),
        Option("share_gpu", FLAG, "several ranks may use one GPU"),
        Option("virtual_local_rank", FLAG, "each rank sees its own GPU only, with LOCAL_RANK=0"),
        Option("threads", NUMBER, "BLAS and OpenMP threads a rank; default: cores / ranks", "N"),
        Option("bind", TEXT, "tie ranks to cores: none (default), core (an equal share each), numa "
               "(one node each, in turn)", choices=("none", "core", "numa")),
    ),
    "watching": (
        Option("timeout", SECONDS, "after S seconds print where each rank stands and end the job "
               "with exit code 124", "S"),
        Option("elastic", TEXT, "when a rank is killed, or stopped, the others go on: as fewer "
               "(shrink), or until a new one has been started in its place (refill); the script calls "
               "elastic.run (docs/elastic.md)", choices=("shrink", "refill")),
        Option("max_restarts", NUMBER, "start all ranks again after a failure, so often; default 0",
               "N"),
        Option("dashboard", FLAG, "serve a web page of how the job is doing, for this machine alone; "
               "its address is printed"),
        Option("monitor_interval", SECONDS, "torchrun's; without effect: ranks are not polled", "S"),
    ),
    "rehearsal": (
        Option("sim", NUMBER, "run N ranks as threads of one process, without MPI and GPUs, one at a "
               "time in an order drawn from --seed", "N"),
        Option("seed", NUMBER, "the order of events of --sim; default 0", "S"),
        Option("fault", TEXT, "what goes wrong in --sim, such as kill:3@step5 or "
               "delay:1@all_reduce#12=90; several with commas between (docs/rehearsal.md)", "SPEC"),
    ),
    "output": (
        Option("log_dir", TEXT, "keep each job's folder (plan, logs, report) in DIR; by default in "
               "./run, where only those of failed jobs stay", "DIR"),
        Option("redirects", MIXED, "keep off the terminal: 1 stdout, 2 stderr, 3 both; for some "
               "ranks 0:3,1:2", "STD", short="-r"),
        Option("tee", MIXED, "show on the terminal although redirected; as --redirects", "STD",
               short="-t"),
        Option("local_ranks_filter", MIXED, "show the output of these ranks of a host only", "0,2"),
    ),
}  # fmt: skip
ALL = {option.key: option for options in TABLE.values() for option in options}


def listing(choices: tuple[str, ...]) -> str:
    """``a, b or c``"""
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


@dataclass(frozen=True)
class Options:
    """The command line over the preset over the defaults.

    `origin` says of each key that was given where: "--threads" or "configs/cpu2.toml".
    """

    script: str
    args: tuple[str, ...] = ()
    module: bool = False
    no_python: bool = False
    as_torch: bool = False
    role: str = "default"
    start_method: str | None = None
    run_path: bool = False
    nproc_per_node: int | str | None = None
    backend: str = "auto"
    env: tuple[str, ...] = ()
    nnodes: int | str | None = None
    node_rank: int | None = None
    hosts: str | None = None
    hostfile: str | None = None
    master_addr: str | None = None
    master_port: int | None = None
    standalone: bool = False
    rdzv_backend: str | None = None
    rdzv_endpoint: str | None = None
    rdzv_id: int | str | None = None
    rdzv_conf: str | None = None
    device: str = "auto"
    share_gpu: bool = False
    virtual_local_rank: bool = False
    threads: int | None = None
    bind: str = "none"
    timeout: float | None = None
    elastic: str | None = None
    max_restarts: int = 0
    dashboard: bool = False
    monitor_interval: float | None = None
    sim: int | None = None
    seed: int | None = None
    fault: str | None = None
    log_dir: str | None = None
    redirects: int | str | None = None
    tee: int | str | None = None
    local_ranks_filter: int | str | None = None
    origin: Mapping[str, str] = field(default_factory=dict, compare=False)

    def source(self, key: str) -> str:
        """Where a value comes from, in the words of --explain."""
        return self.origin.get(key, "default")


def merge(layers: list[tuple[str, Mapping[str, Any]]], **rest: Any) -> Options:
    """Options from layers of (source, values), the later over the earlier; `env` adds up."""
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, layer in layers:
        for key, value in layer.items():
            if key == "env":
                value = (*values.get("env", ()), *value)
            values[key] = value
            origin[key] = source or ALL[key].spellings[-1 if "_" not in key else -2]
    return Options(**values, **rest, origin=origin)
