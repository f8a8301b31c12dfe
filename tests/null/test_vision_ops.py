"""Boxes and regions against loops over pixels and closed forms; pictures; files of images."""

import math

import numpy as np
import pytest
from PIL import Image

import dtorch
from dtorch.vision import io, ops, utils

RNG = np.random.default_rng(0)


def random_boxes(n, size=20):
    low = RNG.uniform(0, size / 2, (n, 2))
    return np.concatenate([low, low + RNG.uniform(1, size / 2, (n, 2))], 1).astype("float32")


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return inter / (sum(areas) - inter)


def test_overlaps():
    a, b = random_boxes(7), random_boxes(5)
    got = ops.box_iou(dtorch.from_numpy(a), dtorch.from_numpy(b)).numpy()
    assert np.allclose(got, [[iou(x, y) for y in b] for x in a], atol=1e-6)
    # Beside each other, with a gap as large as they are: a third of the common box is not covered.
    pair = dtorch.tensor([[0.0, 0, 1, 1]]), dtorch.tensor([[2.0, 0, 3, 1]])
    assert math.isclose(float(ops.generalized_box_iou(*pair)), -1 / 3, rel_tol=1e-6)
    assert ops.box_area(dtorch.tensor([[1.0, 2, 4, 7]])).tolist() == [15]
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        ops.box_iou(dtorch.zeros(3), dtorch.zeros(1, 4))


def test_box_formats():
    boxes = dtorch.tensor([[1.0, 2, 5, 10]])
    assert ops.box_convert(boxes, "xyxy", "xywh").tolist() == [[1, 2, 4, 8]]
    assert ops.box_convert(boxes, "xyxy", "cxcywh").tolist() == [[3, 6, 4, 8]]
    for fmt in ("xywh", "cxcywh"):
        there = ops.box_convert(boxes, "xyxy", fmt)
        assert ops.box_convert(there, fmt, "xyxy").tolist() == boxes.tolist()
    assert ops.clip_boxes_to_image(boxes - 3, (5, 3)).tolist() == [[0, 0, 2, 5]]
    assert ops.remove_small_boxes(dtorch.tensor([[0.0, 0, 1, 9], [0, 0, 3, 3]]), 2).tolist() == [1]
    with pytest.raises(ValueError, match="Unsupported formats"):
        ops.box_convert(boxes, "xyxy", "yxyx")


def greedy(boxes, scores, threshold):
    left, kept = sorted(range(len(boxes)), key=lambda i: -scores[i]), []
    while left:
        best, *left = left
        kept.append(best)
        left = [i for i in left if iou(boxes[best], boxes[i]) <= threshold]
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5])
def test_nms(threshold):
    boxes, scores = random_boxes(40), RNG.random(40).astype("float32")
    expected = greedy(boxes, scores, threshold)
    assert 1 < len(expected) < 40
    tensors = dtorch.from_numpy(boxes), dtorch.from_numpy(scores)
    assert ops.nms(*tensors, threshold).tolist() == expected
    groups = RNG.integers(0, 3, 40)
    kept = []
    for group in range(3):
        (members,) = np.nonzero(groups == group)
        kept += [members[i] for i in greedy(boxes[members], scores[members], threshold)]
    got = ops.batched_nms(*tensors, dtorch.from_numpy(groups), threshold).tolist()
    assert got == sorted(kept, key=lambda i: -scores[i])
    empty = ops.nms(dtorch.zeros(0, 4), dtorch.zeros(0), 0.5)
    assert tuple(empty.shape) == (0,)


def bilinear(plane, y, x):
    h, w = plane.shape
    if y < -1 or y > h or x < -1 or x > w:
        return 0.0
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    i, j = int(y), int(x)
    down, right = min(i + 1, h - 1), min(j + 1, w - 1)
    v, u = y - i, x - j
    top = (1 - u) * plane[i, j] + u * plane[i, right]
    return (1 - v) * top + v * ((1 - u) * plane[down, j] + u * plane[down, right])


def aligned_means(x, rois, size, scale, ratio, aligned):
    out = np.zeros((len(rois), x.shape[1], *size))
    for k, (number, *box) in enumerate(rois):
        x1, y1, x2, y2 = (v * scale - 0.5 * aligned for v in box)
        w, h = x2 - x1, y2 - y1
        if not aligned:
            w, h = max(w, 1), max(h, 1)
        step_y, step_x = h / size[0], w / size[1]
        ny, nx = (
            ratio if ratio > 0 else math.ceil(step_y),
            ratio if ratio > 0 else math.ceil(step_x),
        )
        for c, i, j in np.ndindex(out.shape[1:]):
            values = [
                bilinear(x[int(number), c], y1 + (i + (a + 0.5) / ny) * step_y,
                         x1 + (j + (b + 0.5) / nx) * step_x)
                for a in range(ny) for b in range(nx)
            ]  # fmt: skip
            out[k, c, i, j] = np.mean(values)
    return out


@pytest.mark.parametrize(("ratio", "aligned"), [(-1, False), (2, False), (-1, True), (2, True)])
def test_roi_align(ratio, aligned):
    x = RNG.random((2, 3, 9, 11))
    rois = [[0, 1, 2, 14, 15], [1, 0.5, -3, 22.2, 9], [1, 15, 15, 30, 30], [0, 4, 4, 4.3, 4.3]]
    tensor = dtorch.from_numpy(x).requires_grad_()
    boxes = dtorch.tensor(rois, dtype=dtorch.float64)
    got = ops.roi_align(tensor, boxes, (3, 2), 0.5, ratio, aligned)
    assert np.allclose(got.detach().numpy(), aligned_means(x, rois, (3, 2), 0.5, ratio, aligned))
    # A mean's gradient: a direction's change of the output is its product with the gradient.
    got.square().sum().backward()
    step = RNG.random(x.shape)
    ends = [
        float(ops.roi_align(dtorch.from_numpy(x + e * step), boxes, (3, 2), 0.5, ratio, aligned)
              .square().sum())
        for e in (-1e-4, 1e-4)
    ]  # fmt: skip
    assert math.isclose(
        (tensor.grad.numpy() * step).sum(), (ends[1] - ends[0]) / 2e-4, rel_tol=1e-6
    )
    listed = [boxes[[0, 3], 1:], boxes[[1, 2], 1:]]
    again = ops.RoIAlign((3, 2), 0.5, ratio, aligned)(tensor, listed)
    assert np.allclose(again[[0, 2, 3, 1]].detach().numpy(), got.detach().numpy())


def test_roi_pool():
    x = RNG.random((1, 2, 6, 7)).astype("float32")
    rois = dtorch.tensor([[0.0, 2, 1, 5, 4], [0, 5, 5, 20, 20]])
    got = ops.roi_pool(dtorch.from_numpy(x), rois, (2, 2)).numpy()
    # The first box has columns 2 to 5 and rows 1 to 4.
    expected = x[0, :, 1:5, 2:6].reshape(2, 2, 2, 2, 2).max((2, 4))
    assert np.array_equal(got[0], expected)
    assert np.array_equal(got[1, :, 0, 0], x[0, :, 5, 5:7].max(1))
    assert not got[1, :, 1, 1].any()
    assert ops.RoIPool(2, 1.0)(dtorch.from_numpy(x), [dtorch.zeros(0, 4)]).shape == (0, 2, 2, 2)
    with pytest.raises(ValueError, match=r"\(K, 5\)"):
        ops.roi_pool(dtorch.from_numpy(x), dtorch.zeros(1, 4), 2)


def test_frozen_batch_norm_is_batch_norm():
    norm, frozen = dtorch.nn.BatchNorm2d(3).eval(), ops.FrozenBatchNorm2d(3)
    state = {k: dtorch.rand_like(v) + 0.5 if v.ndim else v for k, v in norm.state_dict().items()}
    norm.load_state_dict(state)
    frozen.load_state_dict(state)
    x = dtorch.randn(2, 3, 4, 4)
    assert np.allclose(frozen(x).numpy(), norm(x).detach().numpy(), atol=1e-5)
    assert not list(frozen.parameters())


def test_stochastic_depth():
    dtorch.manual_seed(0)
    x = dtorch.ones(2000, 3)
    rows = ops.stochastic_depth(x, 0.25, "row")
    assert set(rows[:, 0].tolist()) == {0.0, float(dtorch.tensor(1 / 0.75))}
    assert abs(float(rows.mean()) - 1) < 0.05
    assert ops.stochastic_depth(x, 1.0, "batch").sum() == 0
    assert ops.StochasticDepth(0.5, "row").eval()(x) is x
    with pytest.raises(ValueError, match="mode"):
        ops.stochastic_depth(x, 0.5, "column")


# ---- pictures and files ------------------------------------------------------------------------


def test_boxes_are_drawn():
    image = dtorch.full((3, 12, 16), 100, dtype=dtorch.uint8)
    boxes = dtorch.tensor([[2, 3, 9, 8], [1, 1, 3, 2]])
    out = utils.draw_bounding_boxes(image, boxes, colors=["red", (0, 0, 255)]).numpy()
    expected = np.full((12, 16, 3), 100)
    for (x1, y1, x2, y2), color in zip(boxes.tolist(), [(255, 0, 0), (0, 0, 255)]):
        for row in (y1, y2):
            expected[row, x1 : x2 + 1] = color
        for column in (x1, x2):
            expected[y1 : y2 + 1, column] = color
    assert np.array_equal(out, expected.transpose(2, 0, 1))
    assert int(image.max()) == 100
    floats = utils.draw_bounding_boxes(image[:1] / 255, boxes, ["a", None], fill=True, width=2)
    assert floats.dtype is dtorch.float32
    assert tuple(floats.shape) == (3, 12, 16)
    with pytest.raises(ValueError, match="min below max"):
        utils.draw_bounding_boxes(image, dtorch.tensor([[5, 5, 1, 1]]))


def test_masks_are_drawn():
    image = dtorch.full((3, 2, 3), 100, dtype=dtorch.uint8)
    masks = dtorch.tensor([[[1, 1, 0]] * 2, [[0, 1, 0]] * 2]).bool()
    colors = [(200, 0, 0), (0, 200, 0)]
    out = utils.draw_segmentation_masks(image, masks, alpha=0.5, colors=colors)
    assert out[:, 0].T.tolist() == [[150, 50, 50], [100, 100, 50], [100, 100, 100]]
    with pytest.raises(ValueError, match="dtype bool"):
        utils.draw_segmentation_masks(image, masks.int())
    with pytest.raises(ValueError, match="same height and width"):
        utils.draw_segmentation_masks(image, masks[:, :1])


def test_images_from_files(tmp_path):
    pixels = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    image = io.read_image(path)
    assert np.array_equal(image.numpy(), pixels.transpose(2, 0, 1))
    assert np.array_equal(io.decode_image(io.read_file(path)).numpy(), image.numpy())
    assert io.read_image(path, io.ImageReadMode.GRAY).shape == (1, 5, 7)
    assert io.decode_image(io.encode_png(image)).tolist() == image.tolist()
    io.write_jpeg(image, str(tmp_path / "b.jpg"), quality=95)
    assert io.read_image(tmp_path / "b.jpg", "RGB").shape == (3, 5, 7)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RuntimeError, match=r"a.png is no whole image"):
        io.read_image(path)
    with pytest.raises(FileNotFoundError):
        io.read_image(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="uint8 image"):
        io.encode_png(image.float())
