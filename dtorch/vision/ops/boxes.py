"""Boxes (x1, y1, x2, y2): areas, overlaps, and which of many that overlap to keep."""

from __future__ import annotations

import numpy as np

import dtorch
from dtorch import Tensor


def _check(boxes: Tensor, name: str = "boxes") -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} should be of shape (N, 4), got {tuple(boxes.shape)}")


def box_area(boxes: Tensor) -> Tensor:
    """(N, 4) -> (N,)"""
    _check(boxes)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _overlap(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersections and of unions: (N, M) each."""
    _check(boxes1, "boxes1")
    _check(boxes2, "boxes2")
    low = dtorch.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    high = dtorch.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    return inter, box_area(boxes1)[:, None] + box_area(boxes2)[None] - inter


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of each pair: (N, 4) and (M, 4) -> (N, M)"""
    inter, union = _overlap(boxes1, boxes2)
    return inter / union


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """box_iou less the part of the least common box that neither covers (Rezatofighi et al., 2019)."""
    inter, union = _overlap(boxes1, boxes2)
    low = dtorch.minimum(boxes1[:, None, :2], boxes2[None, :, :2])
    high = dtorch.maximum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    around = (high - low).clamp(min=0).prod(-1)
    return inter / union - (around - union) / around


def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Between "xyxy" (two corners), "xywh" (corner and size) and "cxcywh" (center and size)."""
    formats = ("xyxy", "xywh", "cxcywh")
    if in_fmt not in formats or out_fmt not in formats:
        raise ValueError(f"Unsupported formats {in_fmt!r} and {out_fmt!r}: {formats} expected")
    if in_fmt == out_fmt:
        return boxes.clone()
    a, b = boxes[..., :2], boxes[..., 2:]
    if in_fmt != "xyxy":
        low = a if in_fmt == "xywh" else a - b / 2
        a, b = low, low + b
    if out_fmt == "xywh":
        b = b - a
    elif out_fmt == "cxcywh":
        a, b = (a + b) / 2, b - a
    return dtorch.cat([a, b], -1)


def clip_boxes_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut off at the edges of an image (height, width)."""
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return dtorch.stack([x, y], -1).reshape(boxes.shape)


def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """The indices of those with both sides at least min_size."""
    _check(boxes)
    return (boxes[:, 2:] - boxes[:, :2] >= min_size).all(-1).nonzero().squeeze(1)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """The boxes left when each, from the highest score down, removes those that overlap it too much.

    boxes: (N, 4); scores: (N,); iou_threshold: a larger intersection over union is too much

    Returns: indices, int64, by falling score
    """
    _check(boxes)
    if scores.shape != boxes.shape[:1]:
        raise ValueError(f"expected {len(boxes)} scores, got {tuple(scores.shape)}")
    overlap = (box_iou(boxes, boxes) > iou_threshold).cpu().numpy()
    order = np.argsort(-scores.detach().cpu().numpy(), kind="stable")
    removed, kept = np.zeros(len(order), dtype=bool), []
    for i in order:
        if not removed[i]:
            kept.append(i)
            removed |= overlap[i]
    return dtorch.tensor(np.array(kept, dtype=np.int64), device=boxes.device)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` within each category.  idxs: (N,), the boxes' categories"""
    kept = []
    for category in idxs.unique():
        (members,) = (idxs == category).nonzero(as_tuple=True)
        kept.append(members[nms(boxes[members], scores[members], iou_threshold)])
    if not kept:
        return dtorch.empty(0, dtype=dtorch.int64, device=boxes.device)
    found = dtorch.cat(kept)
    return found[scores[found].argsort(descending=True, stable=True)]
