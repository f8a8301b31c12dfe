"""Event files, as tensorboard's own reader finds them."""

import io
import struct
import subprocess
import sys
import wave

import numpy as np
import pytest

import dtorch
from dtorch import nn

pytest.importorskip("tensorboardX", reason="SummaryWriter writes by tensorboardX")
accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="what is written is read back by tensorboard",
)
from PIL import Image  # noqa: E402
from tensorboard.compat.proto.graph_pb2 import GraphDef  # noqa: E402
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout  # noqa: E402
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # noqa: E402
from tensorboard.util import tensor_util  # noqa: E402

from dtorch.utils.tensorboard import SummaryWriter  # noqa: E402


@pytest.fixture
def written(tmp_path):
    """Calls a function with a writer, and reads what it has written; a part is a folder below."""

    def read(write, part=""):
        with SummaryWriter(tmp_path) as writer:
            write(writer)
        events = accumulator.EventAccumulator(str(tmp_path / part), {"tensors": 0, "images": 0})
        return events.Reload()

    return read


def tensor_of(events, tag):
    return tensor_util.make_ndarray(events.Tensors(tag)[0].tensor_proto)


def picture(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)))  # (H, W, C)


def test_scalars(written, tmp_path):
    def write(writer):
        for step in range(3):
            writer.add_scalar("loss", nn.Parameter(dtorch.tensor(1.5**step)), step, walltime=7.0)
        writer.add_scalar("half", dtorch.tensor(0.5, dtype=dtorch.bfloat16), 3, new_style=True)
        writer.add_scalars("both", {"train": dtorch.tensor(2.0), "test": 3}, 4)

    events = written(write)
    assert [(e.wall_time, e.step, e.value) for e in events.Scalars("loss")] == [
        (7.0, 0, 1.0),
        (7.0, 1, 1.5),
        (7.0, 2, 2.25),
    ]
    assert events.Scalars("half")[0].value == 0.5
    for name, value in (("train", 2), ("test", 3)):
        part = accumulator.EventAccumulator(str(tmp_path / "both" / name)).Reload()
        assert [(e.step, e.value) for e in part.Scalars("both")] == [(4, value)]


def test_images(written):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (3, 4, 5), dtype=np.uint8)  # (C, H, W)
    several = rng.integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)

    def write(writer):
        writer.add_image("image", dtorch.from_numpy(x), 1)
        writer.add_image("floats", dtorch.from_numpy(x) / 255.0)
        writer.add_image("last", dtorch.from_numpy(x).permute(1, 2, 0), dataformats="HWC")
        writer.add_images("images", dtorch.from_numpy(several))
        writer.add_images("list", list(dtorch.from_numpy(several)), dataformats="CHW")
        writer.add_image_with_boxes("boxes", dtorch.from_numpy(x), dtorch.tensor([[0, 0, 2, 2.0]]))
        with pytest.raises(ValueError, match="CHW or HWC, got 'NCHW'"):
            writer.add_images("list", list(dtorch.from_numpy(several)))

    events = written(write)
    (image,) = events.Images("image")
    assert (image.step, image.height, image.width) == (1, 4, 5)
    assert (picture(image.encoded_image_string) == x.transpose(1, 2, 0)).all()
    found = picture(events.Images("last")[0].encoded_image_string)
    assert (found == x.transpose(1, 2, 0)).all()
    found = picture(events.Images("floats")[0].encoded_image_string).astype(int)
    assert abs(found - x.transpose(1, 2, 0)).max() <= 1
    for tag in ("images", "list"):
        found = picture(events.Images(tag)[0].encoded_image_string)
        pages = [several[i].transpose(1, 2, 0) for i in range(2)]
        assert any((found == np.concatenate(pages, axis)).all() for axis in (0, 1) if
                   found.shape == np.concatenate(pages, axis).shape)  # fmt: skip
    assert picture(events.Images("boxes")[0].encoded_image_string).shape == (4, 5, 3)


def test_figure(written):
    matplotlib = pytest.importorskip("matplotlib", reason="figures are matplotlib's")
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(2, 1), dpi=50, facecolor="red")
    events = written(lambda writer: writer.add_figure("figure", figure))
    found = picture(events.Images("figure")[0].encoded_image_string)
    assert found.shape == (50, 100, 3)
    assert (found == (255, 0, 0)).all()


def test_video(written):
    videos = np.zeros((3, 5, 1, 4, 4), np.uint8)  # (N, T, C, H, W)
    videos[1, 2] = 255

    def write(writer):
        writer.add_video("video", dtorch.from_numpy(videos), fps=5)
        with pytest.raises(ValueError, match=r"\(N, T, C, H, W\).*got \(2, 2\)"):
            writer.add_video("video", dtorch.zeros(2, 2))

    (image,) = written(write).Images("video")
    gif = Image.open(io.BytesIO(image.encoded_image_string))
    # Frames that are alike are one, shown longer: two black, the white one, two black.
    assert gif.size == (image.width, image.height) == (8, 8)
    times, frames = [], []
    for i in range(gif.n_frames):
        gif.seek(i)
        times.append(gif.info["duration"])
        frames.append(np.asarray(gif.convert("L")))
    assert times == [400, 200, 400]
    assert frames[0].max() == frames[2].max() == 0
    assert (frames[1][:4, 4:] == 255).all()
    assert frames[1].sum() == 16 * 255


def test_audio(written):
    sound = dtorch.tensor([[0.0, 0.5, -1.0, 1.0]])

    def write(writer):
        writer.add_audio("sound", sound, 2, sample_rate=8000)
        with pytest.warns(UserWarning, match="clipped"):
            writer.add_audio("loud", 2 * sound)
        with pytest.raises(ValueError, match="one channel"):
            writer.add_audio("stereo", dtorch.zeros(2, 5))

    events = written(write)
    for tag, expected in (
        ("sound", (0, 16383, -32767, 32767)),
        ("loud", (0, 32767, -32767, 32767)),
    ):
        (audio,) = events.Audio(tag)
        with wave.open(io.BytesIO(audio.encoded_audio_string)) as file:
            assert file.getframerate() == (8000 if tag == "sound" else 44100)
            assert struct.unpack("<4h", file.readframes(9)) == expected


def test_histogram(written):
    def write(writer):
        writer.add_histogram("weights", dtorch.arange(100.0), 5)
        writer.add_histogram_raw(
            "raw", 0, 2, 3, 3, 5, dtorch.tensor([1.0, 2, 3]), dtorch.tensor([1, 1, 1])
        )

    events = written(write)
    (histogram,) = events.Histograms("weights")
    value = histogram.histogram_value
    assert (histogram.step, value.min, value.max, value.num) == (5, 0, 99, 100)
    assert (value.sum, value.sum_squares) == (4950, sum(i * i for i in range(100)))
    assert sum(value.bucket) == 100
    assert list(events.Histograms("raw")[0].histogram_value.bucket) == [1, 1, 1]


def test_text_and_tensors(written):
    x = dtorch.arange(6).reshape(2, 3)

    def write(writer):
        writer.add_text("notes", "it *learns*", 3)
        writer.add_tensor("x", x, 1)
        with pytest.raises(ValueError, match="uint16"):
            writer.add_tensor("y", x.to(dtorch.uint16))

    events = written(write)
    assert tensor_of(events, "notes/text_summary").item() == b"it *learns*"
    assert tensor_of(events, "x").tolist() == x.tolist()


def test_mesh_and_pr_curve(written):
    corners = dtorch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])  # (N, V, 3)

    def write(writer):
        writer.add_mesh("shape", corners, faces=dtorch.tensor([[[0, 1, 2]]]))
        labels = dtorch.tensor([0, 1, 1])
        writer.add_pr_curve("curve", labels, dtorch.tensor([0.1, 0.9, 0.4]), num_thresholds=11)

    events = written(write)
    # The mesh page's numbers for kinds: 1 is corners, 2 is faces.
    assert (tensor_of(events, "shape_1") == corners.numpy()).all()
    assert tensor_of(events, "shape_2").tolist() == [[[0, 1, 2]]]
    curve = tensor_of(events, "curve")  # rows: TP, FP, TN, FN, precision, recall
    assert curve.shape == (6, 11)
    assert curve[:, 5].tolist() == [1, 0, 1, 1, 1, 0.5]  # at the threshold 0.5


def test_embedding(written, tmp_path):
    x = dtorch.tensor([[1.0, 2], [3, 4]])
    images = dtorch.zeros(2, 3, 4, 4)
    written(lambda w: w.add_embedding(x, ["a", "b"], images, global_step=7, tag="points"))
    folder = tmp_path / "00007" / "points"
    assert [line.split("\t") for line in (folder / "tensors.tsv").read_text().split("\n")[:2]] == [
        ["1.0", "2.0"],
        ["3.0", "4.0"],
    ]
    assert (folder / "metadata.tsv").read_text() == "a\nb\n"
    with Image.open(folder / "sprite.png") as sprite:
        assert sprite.size == (8, 8)
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert 'tensor_path: "00007/points/tensors.tsv"' in config


def test_hparams(written):
    def write(writer):
        writer.add_hparams(
            {"lr": 0.1, "name": "a"}, {"accuracy": dtorch.tensor(0.5)}, run_name="one"
        )

    events = written(write, part="one")
    assert events.Scalars("accuracy")[0].value == 0.5
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = HParamsPluginData.FromString(content).session_start_info
    assert started.hparams["lr"].number_value == 0.1
    assert started.hparams["name"].string_value == "a"


def test_custom_scalars(written):
    layout = {"category": {"chart": ["Multiline", ["loss/.*"]]}}
    events = written(lambda writer: writer.add_custom_scalars(layout))
    found = Layout.FromString(tensor_of(events, "custom_scalars__config__").item())
    assert found.category[0].chart[0].multiline.tag == ["loss/.*"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x) + self.body(2 * x))


def test_graph(written):
    model = Net()

    def write(writer):
        with dtorch.no_grad():
            writer.add_graph(model, dtorch.zeros(5, 3))
        with pytest.raises(ValueError, match="input_to_model"):
            writer.add_graph(model)
        with pytest.raises(RuntimeError, match="no output"):
            writer.add_graph(nn.Flatten(), dtorch.zeros(2, 2, dtype=dtorch.int64))

    graph = written(write).Graph()
    assert isinstance(graph, GraphDef)
    nodes = {node.name: (node.op, list(node.input)) for node in graph.node}
    assert len(nodes) == len(graph.node)
    body, weights = "Net/Sequential[body]/", ("weight", "bias")
    first = [body + f"Linear[0]/{name}" for name in weights]
    head = [f"Net/Linear[head]/{name}" for name in weights]
    assert nodes == {
        "input/0": ("Input", []),
        **{name: ("Parameter", []) for name in first + head},
        body + "Linear[0]/Linear": ("Linear", ["input/0", *first]),
        body + "ReLU[1]/Relu": ("Relu", [body + "Linear[0]/Linear"]),
        "Net/Mul": ("Mul", ["input/0"]),
        body + "Linear[0]/Linear_1": ("Linear", ["Net/Mul", *first]),
        body + "ReLU[1]/Relu_1": ("Relu", [body + "Linear[0]/Linear_1"]),
        "Net/Add": ("Add", [body + "ReLU[1]/Relu", body + "ReLU[1]/Relu_1"]),
        "Net/Linear[head]/Linear": ("Linear", ["Net/Add", *head]),
        "output/0": ("Output", ["Net/Linear[head]/Linear"]),
    }
    shapes = {n.name: n.attr["_output_shapes"].list.shape for n in graph.node}
    assert [d.size for d in shapes["output/0"][0].dim] == [5, 2]
    assert model.body[2].training
    assert not model._forward_hooks
    assert all(p.grad is None for p in model.parameters())


def test_purged_steps_are_hidden(tmp_path):
    for i, (purge, values) in enumerate([(None, (1, 2, 3)), (2, (20, 30))]):
        with SummaryWriter(log_dir=tmp_path, purge_step=purge, filename_suffix=f".{i}") as writer:
            for step, value in enumerate(values, purge or 1):
                writer.add_scalar("loss", value, step)
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1), (2, 20), (3, 30)]


def test_the_default_folder_and_torchs_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SummaryWriter(comment="-run") as writer:
        assert writer.get_logdir() == writer.log_dir
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-run")
    assert folder == tmp_path / writer.log_dir


SCRIPT = """
import sys
import torch
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import SummaryWriter as Same
import tensorboardX
assert Same is SummaryWriter and SummaryWriter.__module__.startswith("dtorch.")
model = torch.nn.Linear(3, 2)
with SummaryWriter(sys.argv[1] + "/ours") as ours:
    ours.add_graph(model, torch.zeros(1, 3))
with tensorboardX.SummaryWriter(sys.argv[1] + "/theirs") as theirs:
    for writer in (ours, theirs):
        writer.add_scalar("loss", torch.tensor(0.5), 1)
        writer.add_histogram("weight", model.weight, 1)
        writer.add_images("list", [torch.zeros(3, 4, 4)] * 2, dataformats="CHW")
ours.close()
"""


def test_scripts_that_were_written_for_torch(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    subprocess.run(
        [sys.executable, "-m", "dtorch.as_torch", tmp_path / "script.py", tmp_path],
        check=True,
        timeout=60,
    )
    for name in ("ours", "theirs"):
        events = accumulator.EventAccumulator(str(tmp_path / name)).Reload()
        assert events.Scalars("loss")[0].value == 0.5
        assert events.Histograms("weight")[0].histogram_value.num == 6
        assert len(events.Images("list")) == 1


def test_without_tensorboardx_the_error_says_what_to_install():
    script = "import sys; sys.modules['tensorboardX'] = None; import dtorch.utils.tensorboard"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "pip install 'dtorch[tensorboard]'" in out.stderr
