"""Faults of a rehearsal: what goes wrong, on which rank, and when.

A fault is written KIND:RANK@PLACE, or KIND:RANK@PLACE=HOW; several with commas between.

    kill:3@step5            rank 3 ends in its fifth step, as if its process had died
    delay:1@all_reduce#12   rank 1 is a second late for its twelfth all_reduce; =90: 90 seconds
    drop:0@step2            a message of rank 0 gets lost on its way to one other rank
    corrupt:2@broadcast#1   a bit of a message of rank 2 flips on its way to one other rank
    mismatch:1@barrier#2    rank 1 leaves a collective out; =change: it calls another one instead

A step ends with optimizer.step(): step5 is reached by the first communication of that rank after
four calls of it.  OP#N is the N-th call of that rank; collective#N counts those of all collectives.
A message is lost or damaged at the first chance from there on.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

OPS = (
    "all_gather", "all_gather_object", "all_reduce", "all_to_all", "barrier", "broadcast",
    "broadcast_object_list", "collective", "destroy_process_group", "gather", "new_group", "recv",
    "reduce", "reduce_scatter", "scatter", "send",
)  # fmt: skip
_KINDS = ("corrupt", "delay", "drop", "kill", "mismatch")
_FORM = re.compile(r"(\w+):(\d+)@(?:step(\d+)|(\w+)#(\d+))(?:=(\S+))?")
_DELAY = 1.0  # seconds


class Fault(NamedTuple):
    """One fault.

    op, number: the how-manieth call of what; op is "step" for steps
    seconds: of a delay
    change: of a mismatch, whether another collective is called instead
    """

    text: str
    kind: str
    rank: int
    op: str
    number: int
    seconds: float = 0.0
    change: bool = False

    def __str__(self) -> str:
        return self.text


def parse(text: str, size: int) -> list[Fault]:
    """The faults of a text, among `size` ranks.  ValueError, with what was expected, for others."""
    faults = [_fault(part.strip(), size) for part in text.split(",")] if text.strip() else []
    for i, fault in enumerate(faults):
        if fault in faults[:i]:
            raise ValueError(f"fault {fault} is there twice")
    return faults


def _fault(text: str, size: int) -> Fault:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(
            f"fault {text!r}: expected KIND:RANK@stepN or KIND:RANK@OP#N, such as kill:1@step5 or "
            "delay:1@all_reduce#12=90"
        )
    kind, rank, step, op, number, how = match.groups()
    _one_of(kind, _KINDS, "kind of fault", text)
    if op is not None:
        _one_of(op, OPS, "operation", text)
    if int(rank) >= size:
        raise ValueError(f"fault {text!r}: expected a rank of 0 to {size - 1}, got {rank}")
    if int(step or number) < 1:
        raise ValueError(f"fault {text!r}: steps and calls count from 1")
    if kind == "mismatch" and op in ("send", "recv"):
        raise ValueError(f"fault {text!r}: a mismatch is of a collective, {op} is none")
    fault = Fault(text, kind, int(rank), op or "step", int(step or number))
    if kind == "delay":
        return fault._replace(seconds=_DELAY if how is None else _seconds(how, text))
    if how is None:
        return fault
    if kind != "mismatch" or how not in ("skip", "change"):
        raise ValueError(
            f"fault {text!r}: expected no ={how}; delay takes seconds, mismatch skip or change"
        )
    return fault._replace(change=how == "change")


def _one_of(word: str, known: tuple[str, ...], what: str, text: str) -> None:
    if word not in known:
        nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
        hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        raise ValueError(
            f"fault {text!r}: unknown {what} {word!r}{hint}; there are {', '.join(known)}"
        )


def _seconds(how: str, text: str) -> float:
    try:
        value = float(how)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ValueError(f"fault {text!r}: expected a number of seconds after '=', got {how!r}")
    return value
