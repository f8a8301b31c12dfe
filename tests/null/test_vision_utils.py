"""Grids of images and image files."""

import io

import numpy as np
import pytest
from PIL import Image

import dtorch
from dtorch.vision.utils import make_grid, save_image


def test_a_grid_has_the_images_row_by_row():
    images = dtorch.arange(1.0, 6).reshape(5, 1, 1, 1).expand(5, 1, 2, 3)
    grid = make_grid(images, nrow=3, padding=1, pad_value=9)
    rows = [[9] * 13] + 2 * [[9] + 3 * [1] + [9] + 3 * [2] + [9] + 3 * [3] + [9]]
    rows += [[9] * 13] + 2 * [[9] + 3 * [4] + [9] + 3 * [5] + [9] + 3 * [0] + [9]] + [[9] * 13]
    want = np.array(rows, dtype=np.float32)
    want[4:6, 9:12] = 9  # no sixth image
    assert grid.shape == (3, 7, 13)
    for channel in grid:
        np.testing.assert_array_equal(channel.numpy(), want)


def test_values_are_mapped_to_0_and_1():
    pair = dtorch.tensor([[0.0, 2.0], [4.0, 8.0]]).reshape(2, 1, 1, 2)
    whole = make_grid(pair, nrow=1, padding=0, normalize=True)[0]
    assert whole.tolist() == [[0, 0.25], [0.5, 1]]
    each = make_grid(pair, nrow=1, padding=0, normalize=True, scale_each=True)[0]
    assert each.tolist() == [[0, 1], [0, 1]]
    given = make_grid(pair, nrow=1, padding=0, normalize=True, value_range=(1, 5))[0]
    assert given.tolist() == [[0, 0.25], [0.75, 1]]
    assert pair.max() == 8  # the images stay as they were


def test_one_image_and_lists():
    image = dtorch.rand(3, 4, 5)
    assert (make_grid(image) == image).all()
    assert make_grid(dtorch.rand(4, 5)).shape == (3, 4, 5)
    assert (make_grid([image, image]) == make_grid(dtorch.stack([image, image]))).all()
    with pytest.raises(TypeError, match="tensor or list of tensors"):
        make_grid([[1]])


def test_saved_images_are_rounded():
    file = io.BytesIO()
    save_image(dtorch.tensor([[[-1.0, 0.1, 0.5, 2.0]]]), file, "png")
    pixels = np.asarray(Image.open(file))
    assert pixels.shape == (1, 4, 3)
    assert pixels[0, :, 0].tolist() == [0, 26, 128, 255]
