"""DeviceMesh: ranks as a grid, with a group for each line of it; public in dtorch.distributed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import dtorch
from dtorch.core.tensor import Tensor

from . import world
from .group import Group
from .membership import new_group


class DeviceMesh:
    """A grid of ranks of the world, seen from one of them.

    device_type: of the tensors that will be communicated, "cpu" or "cuda"
    mesh: numbers of ranks, in the grid's shape; this rank's among them
    mesh_dim_names: a name for each dimension

    Every rank of the world makes it.  `mesh["name"]` is the part of the grid along one dimension,
    or several, that this rank is in.
    """

    def __init__(self, device_type: str, mesh: Tensor | Sequence[int], *,
                 mesh_dim_names: Sequence[str] | None = None) -> None:  # fmt: skip
        self.device_type = device_type
        self.mesh = dtorch.as_tensor(mesh)
        self.mesh_dim_names = _names(mesh_dim_names, self.mesh.ndim)
        size = world.default_group().size()
        if self.mesh.numel() > size:
            raise RuntimeError(
                f"Mesh should not be bigger than default world size {size}, but found "
                f"{self.mesh.numel()} ranks!"
            )
        self._groups: list[Group] = []
        for d, length in enumerate(self.mesh.shape):
            lines = self.mesh.movedim(d, -1).reshape(-1, length).tolist()
            groups = [new_group(line, sort_ranks=False) for line in lines]
            self._groups += [g for g in groups if isinstance(g, Group)]

    def __repr__(self) -> str:
        names = f", mesh_dim_names={self.mesh_dim_names}" if self.mesh_dim_names else ""
        return f"DeviceMesh({self.device_type!r}, {self.mesh.tolist()}{names})"

    @property
    def ndim(self) -> int:
        """How many dimensions the mesh has."""
        return self.mesh.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of ranks along each dimension."""
        return tuple(self.mesh.shape)

    def size(self, mesh_dim: int | None = None) -> int:
        """The number of ranks in the mesh, or along one of its dimensions."""
        return self.mesh.numel() if mesh_dim is None else self.mesh.shape[mesh_dim]

    def get_rank(self) -> int:
        """This rank's number in the world."""
        return world.get_rank()

    def get_coordinate(self) -> list[int] | None:
        """Where this rank is in the grid; None if it isn't."""
        places = (self.mesh == self.get_rank()).nonzero().tolist()
        return places[0] if places else None

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This rank's number in its group along a dimension."""
        return self.get_group(mesh_dim).rank()

    def get_group(self, mesh_dim: int | str | None = None) -> Group:
        """This rank's group along a dimension, which only a line can leave out."""
        if mesh_dim is None and self.ndim != 1:
            raise RuntimeError(
                f"Found the DeviceMesh have {self.ndim} dimensions. Optional kwarg `mesh_dim` "
                "needs to be specified when device_mesh.ndim > 1."
            )
        if not self._groups:
            raise RuntimeError(f"rank {self.get_rank()} is not in {self!r}")
        d = self._dim(mesh_dim) if isinstance(mesh_dim, str) else mesh_dim or 0
        return self._groups[d]

    def get_all_groups(self) -> list[Group]:
        """This rank's groups, by dimension."""
        return list(self._groups)

    def __getitem__(self, names: str | tuple[str, ...]) -> DeviceMesh:
        dims = [self._dim(name) for name in ((names,) if isinstance(names, str) else names)]
        place = self.get_coordinate()
        if place is None:
            raise RuntimeError(f"rank {self.get_rank()} is not in {self!r}")
        part = self.mesh[tuple(slice(None) if d in dims else place[d] for d in range(self.ndim))]
        sub = object.__new__(DeviceMesh)
        sub.device_type = self.device_type
        kept = sorted(dims)  # the order of the dimensions that are left in `part`
        sub.mesh = part.permute([kept.index(d) for d in dims])
        sub.mesh_dim_names = tuple((self.mesh_dim_names or ())[d] for d in dims)
        sub._groups = [self._groups[d] for d in dims]
        return sub

    def _dim(self, name: str) -> int:
        if self.mesh_dim_names is None or name not in self.mesh_dim_names:
            raise KeyError(f"Invalid mesh_dim_name {name!r} specified; there are "
                           f"{self.mesh_dim_names}")  # fmt: skip
        return self.mesh_dim_names.index(name)


def init_device_mesh(device_type: str, mesh_shape: Sequence[int], *,
                     mesh_dim_names: Sequence[str] | None = None) -> DeviceMesh:  # fmt: skip
    """The grid of the first prod(mesh_shape) ranks in their order, the last dimension fastest."""
    shape = tuple(mesh_shape)
    if mesh_dim_names is not None and len(shape) != len(mesh_dim_names):
        raise RuntimeError(
            "mesh_shape and mesh_dim_names should have same length! Found "
            f"len(mesh_dim_names): {len(mesh_dim_names)} and len(mesh_shape):{len(shape)}."
        )
    mesh = dtorch.arange(prod(shape)).view(shape)
    return DeviceMesh(device_type, mesh, mesh_dim_names=mesh_dim_names)


def _names(names: Sequence[str] | None, ndim: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if len(set(names)) != len(names):
        raise RuntimeError(
            f"Each mesh_dim_name must be unique. Found repeated mesh_dim_name in {tuple(names)}"
        )
    if len(names) != ndim:
        raise RuntimeError(f"expected {ndim} names of dimensions, got {tuple(names)}")
    return tuple(names)
