"""Every environment variable that is read, declared once.  `python -m dtorch.doctor` prints them."""

import os
from typing import NamedTuple


class Variable(NamedTuple):
    """One variable: its name, the values that it may have (none: any), its default and its use."""

    name: str
    choices: tuple[str, ...]
    default: str
    help: str

    def get(self) -> str:
        """The value in force; ValueError when it is none of the choices."""
        value = os.environ.get(self.name, self.default)
        if self.choices and value not in self.choices:
            raise ValueError(
                f"{self.name}={value!r}: expected one of {', '.join(map(repr, self.choices))}; "
                f"unset it for the default, {self.default!r}"
            )
        return value

    def seconds(self) -> float:
        """The value in force as a time; ValueError unless it is a positive number (or inf)."""
        value = self.get()
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not number > 0:
            raise ValueError(
                f"{self.name}={value!r}: expected a positive number of seconds, or inf"
            )
        return number


MALLOC = Variable(
    "DTORCH_MALLOC", ("keep", "system"), "keep",
    "keep: freed memory stays with the process (fast); system: glibc's own thresholds",
)  # fmt: skip
ONEDNN = Variable(
    "DTORCH_ONEDNN", (), "on",
    "on: oneDNN's kernels for large float32 arrays where it is installed; off; or its libdnnl.so.3",
)  # fmt: skip
CHECK_COLLECTIVES = Variable(
    "DTORCH_CHECK_COLLECTIVES", ("on", "off"), "on",
    "on: every collective is first compared between the ranks (op, shape, dtype ...): 8 bytes each",
)  # fmt: skip
MACHINE = Variable(
    "DTORCH_MACHINE", (), "",
    "ranks of one name use common memory, others MPI; if empty: those that can; to try out several",
)  # fmt: skip
STALL_TIMEOUT = Variable(
    "DTORCH_STALL_TIMEOUT", (), "60",
    "seconds after which a rank that waits for others prints where each of them is; inf: never",
)  # fmt: skip
RUN_DIR = Variable(
    "DTORCH_RUN_DIR", (), "",
    "the folder for the records of collectives that failures leave; a temporary one if empty",
)  # fmt: skip
CONTROL = Variable(
    "DTORCH_CONTROL", (), "",
    "dtorch-run's file of the address and the keys to tell it how far each rank is; it sets this",
)  # fmt: skip
DISTRIBUTED_DEBUG = Variable(
    "TORCH_DISTRIBUTED_DEBUG", ("OFF", "INFO", "DETAIL"), "OFF",
    "what get_debug_level() says; every check is always on",
)  # fmt: skip
ELASTIC = Variable(
    "DTORCH_ELASTIC", (), "",
    "the descriptor of the socket to dtorch-run --elastic, which sets it",
)  # fmt: skip
ERROR_FILE = Variable(
    "TORCHELASTIC_ERROR_FILE", (), "",
    "where @record writes what a rank failed with, for the launcher that set it",
)  # fmt: skip
CHECK_MESSAGES = Variable(
    "DTORCH_CHECK_MESSAGES", ("on", "off"), "off",
    "on: messages carry a checksum, so that one that is damaged on its way is found (MPI, threads)",
)  # fmt: skip
FORCE_WEIGHTS_ONLY_LOAD = Variable(
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD", (), "0",
    "1: load() takes nothing but data, whatever it is told",
)  # fmt: skip
FORCE_NO_WEIGHTS_ONLY_LOAD = Variable(
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", (), "0",
    "1: load() takes any object where weights_only isn't given: for files that are trusted",
)  # fmt: skip

ALL = [v for v in list(globals().values()) if isinstance(v, Variable)]
