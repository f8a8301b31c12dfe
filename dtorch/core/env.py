"""Every DTORCH_* environment variable, declared once.  `python -m dtorch.doctor` prints them."""

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


MALLOC = Variable(
    "DTORCH_MALLOC", ("keep", "system"), "keep",
    "keep: freed memory stays with the process (fast); system: glibc's own thresholds",
)  # fmt: skip
CHECK_COLLECTIVES = Variable(
    "DTORCH_CHECK_COLLECTIVES", ("on", "off"), "on",
    "on: every collective is first compared between the ranks (op, shape, dtype ...): 16 bytes each",
)  # fmt: skip

ALL = [v for v in list(globals().values()) if isinstance(v, Variable)]
