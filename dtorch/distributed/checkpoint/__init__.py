"""torch.distributed.checkpoint: checkpoints that many ranks write, and any number reads."""

from ...parallel.checkpoint import (
    CheckpointException,
    DefaultLoadPlanner,
    FileSystemReader,
    FileSystemWriter,
    Metadata,
    TensorStorageMetadata,
    load,
    save,
)

__all__ = [
    "CheckpointException", "DefaultLoadPlanner", "FileSystemReader", "FileSystemWriter", "Metadata",
    "TensorStorageMetadata", "load", "save",
]  # fmt: skip
