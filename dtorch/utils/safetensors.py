"""Files of the safetensors library, under safetensors.torch's names."""

from ..core.serialize.safetensors import (
    load,
    load_file,
    load_model,
    safe_open,
    save,
    save_file,
    save_model,
)

__all__ = [
    "load", "load_file", "load_model", "safe_open", "save", "save_file", "save_model",
]  # fmt: skip
