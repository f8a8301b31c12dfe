"""save(): an object as a pickle, and beside it the memory of its tensors."""

from __future__ import annotations

import codecs
import io
import os
import pickle
import sys
from typing import Any

from .. import dtype as dtypes
from .. import rebuild
from .. import storage as storages
from ..backend import cpu
from ..backend import of as backend_of
from . import archive, names, options, placement
from .replacement import replacement


class _Hooks:
    """What a pickler does differently here; mixed into pickle's own, in Python."""

    storages: dict[Any, tuple[str, Any]]  # (address, size) -> key in the file, the first storage

    def reducer_override(self, x: Any) -> Any:
        if isinstance(x, dtypes.dtype):
            return x.name  # is looked up as a global, below
        if type(x) is bytes and not x:  # pickle's own way needs a name that torch refuses
            return codecs.encode, ("", "latin1")
        if type(x) is dtypes.layout:
            return rebuild._get_layout, (f"torch.{x.name}",)
        return NotImplemented

    def save_global(self, x: Any, name: str | None = None) -> None:
        """Write the name of a function or class: torch's, where torch has it."""
        torchs = names.torchs_name(x)
        if torchs is None:
            super().save_global(x, name)  # type: ignore[misc]
            return
        self.write(pickle.GLOBAL + "{}\n{}\n".format(*torchs).encode())  # type: ignore[attr-defined]
        self.memoize(x)  # type: ignore[attr-defined]

    def persistent_id(self, x: Any) -> Any:
        """A storage is written as a reference to a record of its own, once."""
        if not storages.is_storage(x):
            return None
        untyped = x.untyped()
        # An empty one may have any address, so it is one of its own kind.
        place = (untyped.data_ptr(), untyped.nbytes()) if untyped.nbytes() else type(x)
        key, first = self.storages.setdefault(place, (str(len(self.storages)), x))
        if type(first) is not type(x):
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different "
                f"types: here {first.type()} and {x.type()}. Save a clone() of one of them."
            )
        return "storage", type(x), key, placement.location_tag(untyped), len(x)


def _pickler(module: Any) -> type[Any]:
    base = pickle._Pickler if module is pickle else module.Pickler
    if not issubclass(base, pickle._Pickler):
        raise TypeError(
            f"save(): the Pickler of {module.__name__} can't be used: it has to be a subclass of "
            "pickle._Pickler, as dill's is, to write torch's names"
        )
    return type("Pickler", (_Hooks, base), {"dispatch": _dispatch(base)})


def _dispatch(base: Any) -> dict[Any, Any]:
    """pickle's table of functions and classes calls its own save_global; this one calls ours."""
    table = dict(base.dispatch)
    for kind, save in base.dispatch.items():
        if save.__name__ == "save_global":
            table[kind] = lambda self, x: self.save_global(x)
    return table


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = pickle,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write an object to a path, or to a file that is open for writing bytes, in torch's format.

    obj: anything that can be pickled.  Tensors that share memory will share it again; of a tensor
        that is a view, all of the memory that it is a view of is written.

    A path is replaced only when the new file is complete and on the disk: one that existed before
    stays as it was if anything goes wrong.  load() takes tensors, numbers, strings, and lists, tuples,
    sets and dicts of them at once; for objects of other classes it has to be told weights_only=False.
    """
    if not _use_new_zipfile_serialization:
        raise NotImplementedError("save(): files of torch before 1.6 can be read, but not written")
    data = io.BytesIO()
    pickler = _pickler(pickle_module)(data, protocol=pickle_protocol)
    pickler.storages = {}
    pickler.dump(obj)
    records = {"data.pkl": data.getvalue(), ".format_version": b"1",
               ".storage_alignment": str(archive.ALIGNMENT).encode()}  # fmt: skip
    if not _disable_byteorder_record:
        records["byteorder"] = sys.byteorder.encode()
    for key, storage in pickler.storages.values():
        records[f"data/{key}"] = _content(storage.untyped()._a)
    records["version"] = b"3\n"
    if hasattr(f, "write"):
        _write(records, f, "archive")
        return
    path = os.fsdecode(f)
    with replacement(path) as temporary, open(temporary, "wb") as file:
        _write(records, file, os.path.splitext(os.path.basename(path))[0])


def _content(memory: Any) -> Any:
    if options.skipping.get():
        return cpu.zeros(len(memory), "uint8")
    return backend_of(memory).to_numpy(memory)


def _write(records: dict[str, Any], file: Any, folder: str) -> None:
    out = archive.Writer(file, folder)
    with out.zip:
        for record, data in records.items():
            out.write(record, data)
