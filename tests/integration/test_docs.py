"""The code in the documentation runs: the blocks of a page one after the other, in one namespace."""

import json
import re
from pathlib import Path

import pytest

import dtorch.distributed as dist
from dtorch.core.op import REGISTRY

ROOT = Path(__file__).parents[2]

# What the blocks of a page take for granted.
MODEL = """
import dtorch
import dtorch.nn.functional as F
from dtorch import nn
from dtorch.nn.parallel import DistributedDataParallel
from dtorch.utils.checkpoint_manager import CheckpointManager
from dtorch.utils.data import DataLoader, ShardSampler, TensorDataset
data = TensorDataset(dtorch.rand(128, 4), dtorch.arange(128) % 3)
model, steps = nn.Linear(4, 3), 3
"""
SETUPS = {
    "docs/tour.md": "",
    "docs/coming-from-pytorch.md": "",
    "docs/rehearsal.md": "",
    "docs/same-bits.md": MODEL,
    "docs/elastic.md": MODEL
    + """
from dtorch.distributed import elastic
optimizer = dtorch.optim.SGD(model.parameters())
""",
    "docs/checkpoints.md": MODEL
    + """
ddp = model
optimizer = dtorch.optim.SGD(model.parameters())
scheduler = dtorch.optim.lr_scheduler.StepLR(optimizer, 10)
loader = DataLoader(data, 64)
""",
    "docs/dtorch-run.md": "import dtorch.distributed as dist; loss, batch = 1.0, [1]",
    "docs/architecture.md": "from dtorch.core.op import op",
    "dtorch/core/README.md": """
import dtorch
from dtorch.core.op import op
x = dtorch.rand(3, requires_grad=True)
""",
}
# Pages whose code another test runs: on two ranks, or from files, by what starts ranks and hangs them.
ELSEWHERE = {
    "README.md": "tests/integration/test_examples.py",
    "docs/life-of-a-gradient.md": "tests/null/test_life_of_a_gradient.py",
    "docs/when-it-hangs.md": "tests/integration/test_when_it_hangs.py",
}


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python.*?\n(.*?)^```$", (ROOT / page).read_text(), re.S | re.M)


@pytest.mark.parametrize("page", SETUPS)
def test_a_pages_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(REGISTRY, "tanh")  # two pages write it anew
    code = "\n".join([SETUPS[page], *blocks(page)])
    dist.run_local(lambda: exec(compile(code, page, "exec"), {"__name__": page}), 1)


def test_every_page_with_code_is_run_by_some_test():
    pages = [ROOT / "README.md", ROOT / "dtorch/core/README.md", *(ROOT / "docs").glob("*.md")]
    with_code = {str(p.relative_to(ROOT)) for p in pages} - {
        str(p.relative_to(ROOT)) for p in pages if not blocks(str(p.relative_to(ROOT)))
    }
    assert with_code == SETUPS.keys() | ELSEWHERE.keys()
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text()


@pytest.mark.parametrize("notebook", [*(ROOT / "notebooks").glob("*.ipynb")], ids=lambda p: p.stem)
def test_a_notebook_runs_and_has_no_output(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    assert len(cells) > 3
    namespace = {"__name__": "__main__"}
    for i, cell in enumerate(cells):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        exec(compile("".join(cell["source"]), f"{notebook.name}, cell {i}", "exec"), namespace)
