"""The replica ledger: whether the ranks' copies of a model are still the same, bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

from dtorch.core import backend, env
from dtorch.core.backend import cpu
from dtorch.core.tensor import Tensor

from .checks import name_ranks
from .ddp import DistributedDataParallel
from .group import Group
from .world import default_group


class ReplicaLedger:
    """Compares parameters, buffers and the optimizer's state between the ranks, every few steps.

        ledger = ReplicaLedger(ddp, optimizer, every=100)

    It then works by itself: after every 100th optimizer.step(), on all ranks, it hashes each tensor
    (about 1 GB/s), and raises RuntimeError on all of them where one differs, with the step, the first
    such tensor, and the ranks on either side; all hashes are then in ledger.json of the folder that
    DTORCH_RUN_DIR names, for `dtorch-run diff`.  Without an optimizer, call step() after each step.

    model: the module, or the DistributedDataParallel; the same on all ranks
    buffers: whether to compare buffers; None: unless the model is a DistributedDataParallel that
        overwrites them with rank 0's before each forward, between which they may well differ
    process_group: the ranks; the default group if None

    steps: how many there have been
    digest: a hash of all that has been compared so far, by which two runs can be told apart
    """

    def __init__(self, model: Any, optimizer: Any = None, every: int = 100,
                 buffers: bool | None = None, process_group: Group | None = None) -> None:  # fmt: skip
        if every < 1:
            raise ValueError(f"expected every >= 1, got {every}")
        if buffers is None:
            buffers = not (isinstance(model, DistributedDataParallel) and model.broadcast_buffers)
        self._model, self._optimizer, self._every, self._buffers = model, optimizer, every, buffers
        self._group = default_group() if process_group is None else process_group
        self.steps = 0
        self.digest = ""
        self._hook = None
        if optimizer is not None:
            self._hook = optimizer.register_step_post_hook(lambda *_: self.step())

    def remove(self) -> None:
        """Compare no more."""
        if self._hook is not None:
            self._hook.remove()

    def step(self) -> None:
        """Count a step; compare if it is time to.  All ranks call it."""
        self.steps += 1
        if self.steps % self._every == 0:
            self.compare()

    def compare(self) -> None:
        """RuntimeError on all ranks unless all copies are the same now.  All ranks call it."""
        mine = {name: _hash(value) for name, value in self._values()}
        whole = _digest(repr(mine).encode())
        if len(set(self._group.all_gather_objects(whole))) > 1:
            tables = self._group.all_gather_objects(mine)
            raise self._difference(tables, self._record(tables))
        self.digest = _digest((self.digest + whole).encode())

    def _values(self) -> Iterator[tuple[str, Any]]:
        """All that must be the same, with names."""
        names = {}
        for name, p in self._model.named_parameters():
            names[id(p)] = name
            yield f"parameter {name!r}", p
        if self._buffers:
            for name, buffer in self._model.named_buffers():
                yield f"buffer {name!r}", buffer
        if self._optimizer is not None:
            for group in self._optimizer.param_groups:
                for p in group["params"]:
                    for key, value in self._optimizer.state.get(p, {}).items():
                        yield f"{key!r} of the optimizer for {names.get(id(p), '?')!r}", value

    def _record(self, tables: list[dict[str, str]]) -> str:
        """Write all hashes into the job's folder, if there is one; what to say of that."""
        folder = env.RUN_DIR.get()
        if not folder:
            return ""
        path = os.path.join(folder, "ledger.json")
        try:
            if self._group.rank() == 0:
                os.makedirs(folder, exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    json.dump({"step": self.steps, "every": self._every, "ranks": tables}, file)
        except OSError as failure:  # a full disk must not hide what has happened
            return f"  All hashes can't be written: {failure}."
        return f"  All hashes are in {path}."

    def _difference(self, tables: list[dict[str, str]], where: str) -> RuntimeError:
        names = list(dict.fromkeys(name for table in tables for name in table))
        different = [n for n in names if len({table.get(n) for table in tables}) > 1]
        sides: dict[str | None, list[int]] = {}
        for rank, table in enumerate(tables):
            sides.setdefault(table.get(different[0]), []).append(rank)
        told = "; ".join(
            f"{name_ranks(ranks)} {'have' if len(ranks) > 1 else 'has'} "
            f"{'nothing' if value is None else value}"
            for value, ranks in sides.items()
        )
        more = f", and {len(different) - 1} more" if len(different) > 1 else ""
        return RuntimeError(
            f"the ranks' copies differ after step {self.steps}: {different[0]}{more} (hashes: "
            f"{told}).  They were the same {self._every} steps before, or never compared.{where}"
        )


def _hash(value: Any) -> str:
    """A hash of a tensor's shape, dtype and bits, or of what else optimizers keep."""
    if not isinstance(value, Tensor):
        return _digest(repr(value).encode())
    array = cpu.ascontiguousarray(backend.of(value._a).to_numpy(value._a))
    kind = f"{array.dtype}{array.shape}".encode()
    return _digest(kind, array.reshape(-1).view("u1").data)


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
