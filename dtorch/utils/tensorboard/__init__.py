"""Event files for TensorBoard: torch.utils.tensorboard's names, over the package tensorboardX."""

try:
    import tensorboardX as _
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "dtorch.utils.tensorboard writes event files by the package tensorboardX, which is not "
        "there: pip install 'dtorch[tensorboard]'",
        name=error.name,
    ) from error

from tensorboardX.record_writer import RecordWriter
from tensorboardX.writer import FileWriter

from .writer import SummaryWriter

__all__ = ["FileWriter", "RecordWriter", "SummaryWriter"]
