"""Checkpoints that many ranks write and any number of ranks read; public as
dtorch.distributed.checkpoint, under torch's names.

Every rank gives its state_dict.  A tensor that several ranks have is written by one of them, that
with the least to write so far, so that replicas share the work, and what only one rank has (its part
of a ZeroRedundancyOptimizer's state) is written as well.  Who reads says what it wants by name, so
the number of ranks may be another.

In the folder are files of the safetensors library, one a rank, and `.metadata`, in the format of
dtorch.save, which says in which file a tensor is and holds whatever is no tensor.  It is put in place
last, at once: a save that is cut short leaves the previous checkpoint as it was.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import dtorch
from dtorch.core.serialize import safetensors
from dtorch.core.serialize.replacement import replacement
from dtorch.core.tensor import Tensor

from .arguments import the_group
from .group import Group
from .world import is_initialized

_METADATA = ".metadata"
_FORMAT = 1


class CheckpointException(RuntimeError):
    """Raised on all ranks when one of them can't save or load.

    failures: what went wrong, by rank
    """

    def __init__(self, what: str, failures: dict[int, str]) -> None:
        told = "\n".join(f"  rank {rank}: {why}" for rank, why in failures.items())
        super().__init__(f"{what} failed\n{told}")
        self.failures = failures


class TensorStorageMetadata(NamedTuple):
    """Where a tensor of a checkpoint is, and what it is like."""

    file: str
    size: tuple[int, ...]
    dtype: str


@runtime_checkable
class Stateful(Protocol):
    """What save and load take the state of: modules, optimizers, or objects of one's own."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@dataclass
class Metadata:
    """The contents of a checkpoint: its tensors, and what else it holds, by name."""

    state_dict_metadata: dict[str, TensorStorageMetadata]
    objects: dict[str, Any]


class FileSystemWriter:
    """Writes a checkpoint into a folder, which it makes.

    overwrite: whether a checkpoint that is there may be replaced, else FileExistsError.  torch's other
    options are accepted and change nothing: each rank writes one file, and waits until it is on disk
    """

    def __init__(self, path: str | os.PathLike[str], single_file_per_rank: bool = True,
                 sync_files: bool = True, thread_count: int = 1,
                 per_thread_copy_ahead: int = 10_000_000, cache_staged_state_dict: bool = False,
                 overwrite: bool = True) -> None:  # fmt: skip
        self.path = Path(path)
        self.overwrite = overwrite

    def write_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        alone = {k: t.detach().cpu().clone().contiguous() for k, t in tensors.items()}
        safetensors.save_file(alone, self.path / name)

    def check(self) -> None:
        if not self.overwrite and (self.path / _METADATA).exists():
            raise FileExistsError(f"{self.path} holds a checkpoint; overwrite=False keeps it")

    def finish(self, metadata: Metadata) -> None:
        """Put the metadata in place, and remove the files of the checkpoint that it replaces."""
        self.path.mkdir(parents=True, exist_ok=True)
        tensors = {name: tuple(m) for name, m in metadata.state_dict_metadata.items()}
        content = io.BytesIO()
        dtorch.save({"format": _FORMAT, "tensors": tensors, "objects": metadata.objects}, content)
        content.seek(0)
        dtorch.load(content, weights_only=True)  # refuses now what could not be loaded then
        with replacement(self.path / _METADATA) as temporary:
            Path(temporary).write_bytes(content.getvalue())
        used = {m.file for m in metadata.state_dict_metadata.values()}
        for file in self.path.glob("__*.safetensors"):
            if file.name not in used:
                file.unlink()


class FileSystemReader:
    """Reads a checkpoint from a folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def read_metadata(self) -> Metadata:
        """FileNotFoundError where no checkpoint was finished."""
        file = self.path / _METADATA
        if not file.exists():
            raise FileNotFoundError(
                f"{file} is not there: no checkpoint was finished in that folder"
            )
        content = dtorch.load(file, weights_only=True)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"{file} is no metadata of dtorch.distributed.checkpoint.save")
        tensors = {
            name: TensorStorageMetadata(file, tuple(size), dtype)
            for name, (file, size, dtype) in content["tensors"].items()
        }
        return Metadata(tensors, content["objects"])

    def read_tensors(self, metadata: Metadata, names: list[str]) -> Iterator[tuple[str, Tensor]]:
        by_file: dict[str, list[str]] = {}
        for name in names:
            by_file.setdefault(metadata.state_dict_metadata[name].file, []).append(name)
        for file, some in by_file.items():
            with safetensors.safe_open(self.path / file) as opened:
                for name in some:
                    yield name, opened.get_tensor(name)


class DefaultLoadPlanner:
    """Options of load.  allow_partial_load: what the checkpoint doesn't have is left as it is."""

    def __init__(self, flatten_state_dict: bool = True, flatten_sharded_tensors: bool = True,
                 allow_partial_load: bool = False) -> None:  # fmt: skip
        if not flatten_state_dict:
            raise ValueError("flatten_state_dict=False is not supported")
        self.allow_partial_load = allow_partial_load


# ---- saving --------------------------------------------------------------------------------------


def save(
    state_dict: Mapping[str, Any],
    *,
    checkpoint_id: str | os.PathLike[str] | None = None,
    storage_writer: FileSystemWriter | None = None,
    planner: None = None,
    process_group: Any = None,
    no_dist: bool = False,
    use_collectives: bool = True,
) -> Metadata:
    """Write the ranks' state_dicts as one checkpoint.  All ranks call it.

    state_dict: by name: tensors, plain values, objects with a state_dict(), and dicts and lists of
        these.  What ranks have under one name is the same; the lowest rank's values are written
    checkpoint_id: the folder; or storage_writer: a FileSystemWriter
    process_group: the ranks, the default group if None; no_dist: this process alone
    planner, use_collectives: torch's, of no use here

    CheckpointException on all ranks where one fails, ValueError where shapes or dtypes differ.
    """
    writer = storage_writer or FileSystemWriter(_folder(checkpoint_id))
    group = _ranks(process_group, no_dist)
    rank = 0 if group is None else group.rank()
    items = {name: value for name, _, value in flatten(_plain(state_dict))}
    plan = {
        name: (tuple(v.shape), str(v.dtype), v.nbytes) if isinstance(v, Tensor) else None
        for name, v in items.items()
    }
    objects = {name: v for name, v in items.items() if not isinstance(v, Tensor)}
    told = everyones(group, (plan, objects, secrets.token_hex(4)))
    files = [f"__{r}_{told[0][2]}.safetensors" for r in range(len(told))]
    metadata = _merge([plan for plan, _, _ in told], [o for _, o, _ in told], files)
    mine = {
        name: items[name]
        for name, m in metadata.state_dict_metadata.items()
        if m.file == files[rank]
    }

    def write() -> None:
        writer.check()
        if mine:
            writer.write_tensors(files[rank], mine)

    together(group, "saving a checkpoint", write)
    together(group, "saving a checkpoint", lambda: writer.finish(metadata) if rank == 0 else None)
    return metadata


def _merge(
    plans: list[dict[str, Any]], objects: list[dict[str, Any]], files: list[str]
) -> Metadata:
    """Who writes what: the same on all ranks, which have told each other."""
    metadata = Metadata({}, {})
    load = [0] * len(plans)
    for name in dict.fromkeys(name for plan in plans for name in plan):
        holders = [rank for rank, plan in enumerate(plans) if name in plan]
        first = plans[holders[0]][name]
        for rank in holders[1:]:
            if (other := plans[rank][name]) != first:
                here, there = (f"{p[1]}{list(p[0])}" if p else "no tensor" for p in (first, other))
                raise ValueError(
                    f"{name!r} is {here} on rank {holders[0]}, but {there} on rank {rank}: what "
                    "ranks have under one name must be the same"
                )
        if first is None:
            metadata.objects[name] = objects[holders[0]][name]
            continue
        owner = min(holders, key=load.__getitem__)
        size, dtype, nbytes = first
        load[owner] += nbytes
        metadata.state_dict_metadata[name] = TensorStorageMetadata(files[owner], size, dtype)
    return metadata


# ---- loading -------------------------------------------------------------------------------------


def load(
    state_dict: dict[str, Any],
    *,
    checkpoint_id: str | os.PathLike[str] | None = None,
    storage_reader: FileSystemReader | None = None,
    planner: DefaultLoadPlanner | None = None,
    process_group: Any = None,
    no_dist: bool = False,
) -> None:
    """Fill a state_dict, in place, from a checkpoint of any number of ranks.  All ranks call it.

    Tensors are copied into, plain values replaced, objects with a load_state_dict() given theirs.
    Each rank may ask for other names; what the checkpoint has beyond them is left alone.

    CheckpointException on all ranks, before anything has changed, where a name is missing (unless
    the planner allows it) or has another shape on one of them, or where no checkpoint is.
    """
    if not isinstance(planner, (DefaultLoadPlanner, type(None))):
        raise TypeError(f"expected a DefaultLoadPlanner, got {type(planner)}")
    reader = storage_reader or FileSystemReader(_folder(checkpoint_id))
    group = _ranks(process_group, no_dist)
    wanted = _plain(state_dict)
    items = {name: (path, value) for name, path, value in flatten(wanted)}
    found: list[Metadata] = []

    def look() -> None:
        metadata = reader.read_metadata()
        partial = planner is not None and planner.allow_partial_load
        for name in [name for name in items if not _fits(name, items[name][1], metadata, partial)]:
            del items[name]
        found.append(metadata)

    def read() -> None:
        tensors = [name for name, (_, value) in items.items() if isinstance(value, Tensor)]
        with dtorch.no_grad():
            for name, tensor in reader.read_tensors(found[0], tensors):
                items[name][1].copy_(tensor)

    together(group, "loading a checkpoint", look)
    together(group, "loading a checkpoint", read)
    for name, (path, value) in items.items():
        if not isinstance(value, Tensor):
            _put(wanted, path, found[0].objects[name])
    for key, value in state_dict.items():
        if isinstance(value, Stateful):
            value.load_state_dict(wanted[key])
        else:
            state_dict[key] = wanted[key]


def _fits(name: str, value: Any, metadata: Metadata, partial: bool) -> bool:
    """Whether the checkpoint has it; False only where it may be left out, else RuntimeError."""
    tensors, objects = metadata.state_dict_metadata, metadata.objects
    if name not in (tensors if isinstance(value, Tensor) else objects):
        if name in tensors or name in objects:
            raise ValueError(f"{name!r} is a tensor in only one of checkpoint and state_dict")
        if not partial:
            raise RuntimeError(f"Missing key in checkpoint state_dict: {name}.")
        return False
    if isinstance(value, Tensor) and tuple(value.shape) != tensors[name].size:
        raise ValueError(
            f"Size mismatch between saved {list(tensors[name].size)} and current: "
            f"{list(value.shape)} for {name}"
        )
    return True


# ---- names ---------------------------------------------------------------------------------------

Keys = tuple[Any, ...]


def flatten(value: Any, path: Keys = ()) -> Iterator[tuple[str, Keys, Any]]:
    """(name, path, value) of all there is in dicts, and in lists that hold tensors or dicts."""
    if isinstance(value, Mapping):
        parts: Any = value.items()
    elif isinstance(value, list) and _is_nested(value):
        parts = enumerate(value)
    else:
        yield ".".join(map(str, path)), path, value
        return
    for key, part in parts:
        yield from flatten(part, (*path, key))


def _is_nested(value: list[Any]) -> bool:
    return any(
        isinstance(v, (Tensor, Mapping)) or (isinstance(v, list) and _is_nested(v)) for v in value
    )


def _put(nested: Any, path: Keys, value: Any) -> None:
    for key in path[:-1]:
        nested = nested[key]
    nested[path[-1]] = value


def _plain(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The state_dict with those of the objects in it; ValueError for a name that comes twice."""
    plain = {k: v.state_dict() if isinstance(v, Stateful) else v for k, v in state_dict.items()}
    names = [name for name, _, _ in flatten(plain)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two values of the state_dict have the name {twice!r}")
    return plain


# ---- ranks ---------------------------------------------------------------------------------------


def _folder(checkpoint_id: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    if checkpoint_id is None:
        raise ValueError("which folder?  Give checkpoint_id, or a storage_writer or storage_reader")
    return checkpoint_id


def _ranks(process_group: Any, no_dist: bool) -> Group | None:
    """The group, or None for this process alone."""
    return None if no_dist or not is_initialized() else the_group(process_group)


def everyones(group: Group | None, value: Any) -> list[Any]:
    return [value] if group is None else group.all_gather_objects(value)


def together(group: Group | None, what: str, function: Callable[[], None]) -> None:
    """Call it on all ranks; if it fails on some, CheckpointException on all."""
    error = None
    try:
        function()
    except Exception as own:  # noqa: BLE001 (raised below, where the others raise, too)
        error = own
    told = None if error is None else f"{type(error).__name__}: {error}"
    failures = {rank: why for rank, why in enumerate(everyones(group, told)) if why is not None}
    if failures:
        raise CheckpointException(what, failures) from error
