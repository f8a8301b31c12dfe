"""Scripts that were written for PyTorch, run on dtorch by `python -m dtorch.as_torch`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script of this text with these arguments; its output."""

    def run(text: str, *args: str, start: tuple[str, ...] = ("-m", "dtorch.as_torch")) -> str:
        (tmp_path / "script.py").write_text(text)
        return output(*start, "script.py", *args, cwd=tmp_path)

    return run


def output(*command: str, cwd: Path, code: int = 0) -> str:
    done = subprocess.run([sys.executable, *command], cwd=cwd, text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout


def test_every_way_to_import_gets_the_same_modules(run: Run) -> None:
    run("""
import torch, torch.nn.functional, torch.utils.data as data
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.nn.modules.flatten import Flatten
from torch.nn.modules.batchnorm import SyncBatchNorm
from torch.utils.model_zoo import load_url
from torch.nn.parallel.distributed import DistributedDataParallel
from torch.utils.data._utils.collate import default_collate
from torchvision import datasets
import torchvision.transforms as T
import sys
import dtorch, dtorch.vision.transforms
assert torch is dtorch is sys.modules["torch"] and nn is dtorch.nn and F is dtorch.nn.functional
assert optim is dtorch.optim and data is dtorch.utils.data and T is dtorch.vision.transforms
assert Flatten is nn.Flatten and DistributedDataParallel is nn.parallel.DistributedDataParallel
assert default_collate is data.default_collate and datasets is dtorch.vision.datasets
assert SyncBatchNorm is nn.SyncBatchNorm and load_url is torch.hub.load_state_dict_from_url
assert torch.nn.modules.activation.MultiheadAttention is nn.MultiheadAttention
assert nn.__name__ == nn.__spec__.name == "dtorch.nn"
assert isinstance(torch.ones(2), torch.Tensor) and torch.ones(2).type() == "torch.FloatTensor"
assert str(torch.float32) == "torch.float32"
""")


def test_it_starts_scripts_as_python_does(run: Run, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("there = 1")
    script = """
import sys, torch
from beside import there
print(__name__, sys.argv, __file__, sys.modules["__main__"].there)
"""
    assert run(script, "--lr", "1") == "__main__ ['script.py', '--lr', '1'] script.py 1\n"
    assert "__main__" in run(script, start=("-m", "dtorch.as_torch"))
    module = output("-m", "dtorch.as_torch", "-m", "script", "-x", cwd=tmp_path)
    assert module.startswith("__main__ ['")
    assert "'-x']" in module
    assert "usage:" in output("-m", "dtorch.as_torch", cwd=tmp_path, code=1)
    assert "no such file" in output("-m", "dtorch.as_torch", "absent.py", cwd=tmp_path, code=1)


def test_versions_are_what_scripts_expect(run: Run) -> None:
    run("""
import importlib.metadata, torch, torchvision
from torch.torch_version import TorchVersion
assert tuple(int(n) for n in torch.__version__.split("+")[0].split(".")) >= (2, 0, 0)
assert isinstance(torch.__version__, str) and isinstance(torch.__version__, TorchVersion)
assert torch.__version__ >= "1.10" and torch.__version__ > (2, 9) and torch.__version__ < "10"
assert not torch.__version__ <= "2.9.1" and torch.__version__ != "parrots"
assert importlib.metadata.version("torch") == torch.version.__version__
assert torchvision.__version__ == importlib.metadata.version("torchvision")
assert torch.version.cuda is None
assert importlib.metadata.version("numpy")
""")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("torch.Tensr", "AttributeError: .* no torch.Tensr; the nearest name is torch.Tensor"),
        ("nn.functional.relux", "AttributeError: .* torch.nn.functional.relu$"),
        (
            "torchvision.datasets.MNST",
            "AttributeError: .* nearest name is torchvision.datasets.MNIST",
        ),
        ("from torch.optim import Adamm", "ModuleNotFoundError: .* torch.optim.Adam$"),
        (
            "from torch.nn.functional import relux",
            "ModuleNotFoundError: .* torch.nn.functional.relu$",
        ),
        ("import torch.nn.functionl", "ModuleNotFoundError: .* name is torch.nn.functional$"),
        ("from torch.frobnicate import x", "ModuleNotFoundError: .* has no torch.frobnicate$"),
    ],
)
def test_a_missing_name_names_the_nearest(statement: str, message: str, namer: list[str]) -> None:
    """All statements are tried in one process; what each raised is looked at here."""
    import re

    got = namer[[line.partition(" -> ")[0] for line in namer].index(statement)]
    assert re.search(message, got.partition(" -> ")[2]), got


@pytest.fixture(scope="module")
def namer(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    marks = test_a_missing_name_names_the_nearest.pytestmark  # type: ignore[attr-defined]
    statements = [statement for statement, _ in marks[0].args[1]]
    folder = tmp_path_factory.mktemp("names")
    (folder / "script.py").write_text(f"""
import torch, torchvision
from torch import nn
for statement in {statements!r}:
    try:
        exec(statement)
    except (AttributeError, ImportError) as error:
        print(statement, "->", type(error).__name__ + ":", error)
""")
    return output("-m", "dtorch.as_torch", "script.py", cwd=folder).splitlines()


def test_processes_that_a_script_starts_have_it_too(run: Run, tmp_path: Path) -> None:
    text = run("""
import torch, sys
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader, TensorDataset

class Doubled(TensorDataset):
    def __getitem__(self, i):
        assert torch.__name__ == "dtorch"
        return 2 * self.tensors[0][i]

def rank(i, size, file):
    dist.init_process_group("gloo", init_method="file://" + file, rank=i, world_size=size)
    x = torch.ones(3) * (i + 1)
    dist.all_reduce(x)
    if i == 0:
        print("sum", x.tolist())
    dist.destroy_process_group()

def put(queue):
    queue.put(torch.__version__)

if __name__ == "__main__":
    for method in "spawn", "fork", "forkserver":
        context = mp.get_context(method)
        queue = context.Queue()
        process = context.Process(target=put, args=(queue,))
        process.start()
        assert queue.get(timeout=30) == torch.__version__, method
        process.join()
    for method in "spawn", "fork":
        loader = DataLoader(Doubled(torch.arange(4)), 2, num_workers=1,
                            multiprocessing_context=method)
        assert [batch.tolist() for batch in loader] == [[0, 2], [4, 6]]
    mp.spawn(rank, args=(2, sys.argv[1]), nprocs=2)
""", str(tmp_path / "store"))  # fmt: skip
    assert text == "sum [3.0, 3.0, 3.0]\n"


def test_as_a_library(run: Run) -> None:
    run(
        """
import dtorch.as_torch
dtorch.as_torch.install()
dtorch.as_torch.install()
import torch
assert torch is dtorch
""",
        start=(),
    )
    run("""
import sys, types
sys.modules["torch"] = types.ModuleType("torch")
sys.modules["torch"].__file__ = "/there/torch.py"
import dtorch.as_torch
try:
    dtorch.as_torch.install()
except ImportError as error:
    assert "imported already, from /there/torch.py" in str(error)
else:
    raise SystemExit("installed beside torch")
""", start=())  # fmt: skip


def test_ranks_of_the_launcher(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("""
import sys, torch.distributed as dist
dist.init_process_group("gloo")
print(dist.get_rank(), dist.get_world_size(), sys.argv)
dist.destroy_process_group()
""")
    start = "import sys; from dtorch_run.cli import main; sys.exit(main())"
    options = ["--nproc-per-node", "2", "--backend", "local", "--as-torch", "script.py", "--x"]
    lines = output("-c", start, *options, cwd=tmp_path).splitlines()
    assert sorted(lines) == [f"[{i}] {i} 2 ['script.py', '--x']" for i in range(2)]


def test_what_scripts_touch_answers(run: Run) -> None:
    run("""
import torch, io
from torch import nn
from torch.autograd import Variable
import torch.backends.cudnn as cudnn
import torch.utils.cpp_extension, torch.onnx, torch._dynamo

def refused(call, word):
    try:
        call()
    except RuntimeError as error:
        assert word in str(error), error
    else:
        raise SystemExit(f"not refused: {word}")

net = nn.Linear(2, 3)
assert torch.compile(net) is net and torch.compile(net, mode="max-autotune") is net
@torch.compile(dynamic=True)
def double(x): return 2 * x
assert double(2) == 4
torch._dynamo.config.suppress_errors = True
@torch.jit.script
def triple(x): return 3 * x
assert torch.jit.trace(net, torch.ones(1, 2)) is net and triple(1) == 3
refused(lambda: torch.jit.save(net, io.BytesIO()), "state_dict")
refused(lambda: torch.onnx.export(net, torch.ones(1, 2), "net.onnx"), "ONNX")
refused(lambda: torch.utils.cpp_extension.load("x", ["x.cpp"]), "C++")
cudnn.benchmark = True
torch.backends.cuda.matmul.allow_tf32 = True
torch.set_float32_matmul_precision("high")
torch.set_num_threads(1)
torch.cuda.manual_seed_all(1)
torch.cuda.empty_cache()
torch.cuda.synchronize()
assert not isinstance(torch.ones(1), torch.cuda.FloatTensor)
assert not torch.cuda.is_available() or torch.cuda.device_count()
assert torch.ones(2).to("cpu", non_blocking=True).tolist() == [1, 1]
assert torch.Tensor(2, 3).shape == (2, 3)
assert torch.FloatTensor([1]).type("torch.LongTensor").dtype is torch.int64
assert torch.ones(1).type(torch.DoubleTensor).dtype is torch.float64
x = Variable(torch.ones(2), requires_grad=True)
nn.functional.mse_loss(x, torch.zeros(2), size_average=False).backward()
assert x.grad.data.tolist() == [2, 2]
i = torch.LongTensor([[0, 1], [1, 0]])
s = torch.sparse.FloatTensor(i, torch.FloatTensor([3, 4]), torch.Size([2, 2]))
assert s.type() == "torch.sparse.FloatTensor" and isinstance(s, torch.sparse.FloatTensor)
assert not isinstance(s, torch.FloatTensor) and torch.sparse.FloatTensor(2, 3).shape == (2, 3)
assert torch.spmm(s, torch.ones(2, 1)).tolist() == [[3], [4]]
assert torch.distributed.reduce_op.SUM is not None
class Half(torch.optim.lr_scheduler._LRScheduler):
    def get_lr(self): return [g["lr"] / 2 for g in self.optimizer.param_groups]
sgd = torch.optim.SGD(net.parameters(), lr=1.0)
sgd.step()
Half(sgd)
assert sgd.param_groups[0]["lr"] == 0.5
""")


def test_whole_models_by_their_scripts_classes(run: Run) -> None:
    run("""
import io, torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    def forward(self, x): return self.body(x)
net, file = Net(), io.BytesIO()
torch.save(net, file)
torch.save(net, "net.pt")
with open("net.pt", "rb") as handle:
    again = torch.load(handle, weights_only=False)
assert type(again) is Net and (again(torch.ones(2)) == net(torch.ones(2))).all()
file.seek(0)
safe = [Net, set, nn.Sequential, nn.Linear, nn.ReLU]
with torch.serialization.safe_globals(safe):
    assert type(torch.load(file)) is Net
assert b"torch.nn.modules.linear\\nLinear" in file.getvalue()
assert b"dtorch" not in file.getvalue()
""")


def test_torchvision_is_dtorchs(run: Run) -> None:
    run("""
import torch, torchvision, torchvision.io, torchvision.ops, torchvision.utils
import torchvision.transforms.functional as F
import torchvision.transforms.v2 as v2
import torchvision.transforms.v2.functional
import torchvision.models as models
from torchvision import datasets, transforms
from torchvision.datasets.folder import default_loader
from torchvision.datasets.utils import download_url
from torchvision.io import read_image
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import nms, roi_align
from torchvision.transforms.functional import InterpolationMode
from torchvision.utils import draw_bounding_boxes, make_grid, save_image
assert torchvision is torch.vision and F is torch.vision.transforms.functional
names = sorted(name for name in models.__dict__
    if name.islower() and not name.startswith("__") and callable(models.__dict__[name]))
assert "resnet18" in names and "vgg16" in names
model = models.__dict__["squeezenet1_1"](num_classes=3)
data = datasets.FakeData(2, (3, 40, 40), transform=transforms.Compose(
    [transforms.RandomResizedCrop(32), transforms.RandomHorizontalFlip(), transforms.ToTensor()]))
images, _ = next(iter(torch.utils.data.DataLoader(data, batch_size=2)))
assert model(images).shape == (2, 3)
""")
