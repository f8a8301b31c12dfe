"""Convolutions, unfold and fold."""

from tests.samples import arr, call

LINE, IMAGE, VOLUME = arr(2, 4, 7), arr(2, 4, 6, 5), arr(1, 2, 4, 3, 4)
B3, B4 = arr(3, seed=1), arr(4, seed=1)

SAMPLES = {
    "nn.functional.conv1d": [
        call(LINE, arr(3, 4, 3), B3), call(LINE, arr(4, 2, 3), B4, stride=2, padding=1, groups=2),
        call(arr(4, 7), arr(3, 4, 2), padding="same", dilation=2),
    ],
    "nn.functional.conv2d": [
        call(IMAGE, arr(3, 4, 3, 2), B3), call(IMAGE, arr(3, 4, 1, 1)),
        call(IMAGE, arr(4, 2, 3, 3), B4, (2, 1), (1, 2), (1, 2), 2),
        call(IMAGE, arr(3, 4, 3, 3), padding="same"), call(IMAGE, arr(3, 4, 2, 3), padding="valid"),
        call(arr(4, 6, 5), arr(8, 1, 3, 3), padding=1, groups=4),
    ],
    "nn.functional.conv3d": [
        call(VOLUME, arr(3, 2, 2, 3, 2), B3, padding=1),
        call(VOLUME, arr(2, 1, 2, 2, 2), stride=2, groups=2),
    ],
    "nn.functional.conv_transpose1d": [
        call(LINE, arr(4, 3, 3), B3), call(LINE, arr(4, 2, 3), B4, 2, 1, 1, 2),
    ],
    "nn.functional.conv_transpose2d": [
        call(IMAGE, arr(4, 3, 2, 3), B3), call(IMAGE, arr(4, 2, 3, 2), B4, (2, 3), 1, (1, 2), 2),
        call(arr(4, 3, 2), arr(4, 3, 3, 2), dilation=2),
    ],
    "nn.functional.conv_transpose3d": [call(arr(1, 2, 2, 3, 2), arr(2, 3, 2, 2, 2), B3, stride=2)],
    "nn.functional.unfold": [call(IMAGE, (2, 3)), call(IMAGE, 2, 2, 1, 2)],
    "nn.functional.fold": [call(arr(2, 12, 6), (4, 3), (2, 2)), call(arr(2, 4, 9), 5, 2, 1, 1, 2)],
}  # fmt: skip
