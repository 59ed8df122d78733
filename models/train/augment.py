"""Turns clean drawings into pictures as they come.

They are moved, cropped, recoloured, outlined, put on any background, blurred and compressed. Every function takes a
batch of float tensors in 0…1, `[n, channels, side, side]`, and gives one back; all randomness comes from the generator.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional
from towers import MEAN, STD


def _uniform(n: int, low: float, high: float, dice: Generator) -> Tensor:
    return torch.rand(n, generator=dice) * (high - low) + low


def _chosen(n: int, share: float, dice: Generator) -> Tensor:
    return torch.nonzero(torch.rand(n, generator=dice) < share)[:, 0]


def _moved(drawings: Tensor, may_flip: Tensor, side: int, dice: Generator) -> Tensor:
    n = len(drawings)
    usual = torch.rand(n, generator=dice) < 0.6
    size = torch.where(usual, _uniform(n, 0.8, 1.08, dice), _uniform(n, 0.45, 1.35, dice))
    angle = torch.randn(n, generator=dice) * 0.12
    stretch = torch.exp(torch.randn(n, generator=dice) * 0.06)
    free = (1.15 - size).abs() * 0.5 + 0.04
    across, down = (_uniform(n, -1, 1, dice) * free for _ in range(2))
    mirror = torch.where(may_flip & (torch.rand(n, generator=dice) < 0.4), -1.0, 1.0)
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    theta = torch.stack(
        [
            torch.stack([cosine * mirror * stretch, -sine * stretch, across], 1),
            torch.stack([sine / stretch * mirror, cosine / stretch, down], 1),
        ],
        1,
    )
    grid = functional.affine_grid(theta, [n, 4, side, side], align_corners=False)
    return functional.grid_sample(drawings, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _outlined(moved: Tensor, dice: Generator) -> Tensor:
    """Draws dark lines along some drawings' edges, and flattens their colours, as outlined styles do."""
    rows = _chosen(len(moved), 0.3, dice)
    part = moved[rows]
    grey = part[:, :3].mean(1, keepdim=True) + 1 - part[:, 3:]
    local = functional.max_pool2d(grey, 3, 1, 1) + functional.max_pool2d(-grey, 3, 1, 1)
    lines = (local * _uniform(len(rows), 1.5, 5.0, dice)[:, None, None, None] - 0.25).clamp(0, 1)
    alpha = torch.maximum(part[:, 3:], lines)
    steps = torch.where(torch.rand(len(rows), generator=dice) < 0.5, 4.0, 24.0)[:, None, None, None]
    paint = (part[:, :3] * steps).round() / steps
    fade = torch.where(torch.rand(len(rows), generator=dice) < 0.12, 1.0, 0.0)[:, None, None, None]
    paint = paint * (1 - fade) + alpha * fade
    result = moved.clone()
    result[rows] = torch.cat([paint * (1 - lines), alpha], 1)
    return result


def _background(moved: Tensor, dice: Generator) -> Tensor:
    """White for four in ten; else one colour, a ramp, soft noise, or other drawings seen large and pale."""
    n, _, side, _ = moved.shape
    kind = torch.rand(n, generator=dice)
    colours = torch.rand(n, 3, 2, generator=dice)
    colours = torch.where((torch.rand(n, generator=dice) < 0.4)[:, None, None], 0.75 + colours * 0.25, colours)
    ramp = torch.linspace(0, 1, side)
    ramp = torch.where((torch.rand(n, generator=dice) < 0.5)[:, None, None], ramp[:, None], ramp[None, :])[:, None]
    ground = torch.ones(n, 3, side, side)
    solid = kind > 0.4
    ground[solid] = colours[solid, :, 0, None, None].expand(-1, -1, side, side)
    ramped = (kind > 0.6) & (kind <= 0.7)
    ground[ramped] = ground[ramped] * (1 - ramp[ramped]) + colours[ramped, :, 1, None, None] * ramp[ramped]
    for cells, low, high in ((3, 0.7, 0.76), (7, 0.76, 0.82), (20, 0.82, 0.86)):
        rows = torch.nonzero((kind > low) & (kind <= high))[:, 0]
        noise = functional.interpolate(
            torch.rand(len(rows), 3, cells, cells, generator=dice), (side, side), mode="bilinear"
        )
        ground[rows] = noise * 0.8 + ground[rows] * 0.2
    rows = torch.nonzero(kind > 0.86)[:, 0]
    others = moved[(rows + 1 + int(torch.randint(n - 1, (1,), generator=dice))) % n]
    crop = side // 2
    others = functional.interpolate(others[:, :, :crop, crop // 2 : crop // 2 + crop], (side, side), mode="bilinear")
    pale = _uniform(len(rows), 0.15, 0.7, dice)[:, None, None, None]
    ground[rows] = ground[rows] * (1 - others[:, 3:] * pale) + others[:, :3] * pale
    return ground


def _recoloured(pictures: Tensor, dice: Generator) -> Tensor:
    """Hue, saturation, contrast and brightness in one 3×3 matrix and one offset for each picture; some turn grey."""
    n, _, side, _ = pictures.shape
    turn = torch.randn(n, generator=dice) * 0.10
    strength = torch.exp(torch.randn(n, generator=dice) * 0.3)
    strength = torch.where(torch.rand(n, generator=dice) < 0.06, 0.0, strength)
    cosine, sine = torch.cos(turn) * strength, torch.sin(turn) * strength
    # rotation about the grey axis (Rodrigues); the grey part itself is left alone
    grey = torch.full((3, 3), 1 / 3)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    matrix = (
        grey
        + cosine[:, None, None] * (torch.eye(3) - grey)
        + sine[:, None, None] * across
    )  # fmt: skip
    contrast = torch.exp(torch.randn(n, generator=dice) * 0.18)[:, None, None]
    light = torch.randn(n, generator=dice)[:, None, None] * 0.06
    flat = torch.baddbmm(((1 - contrast) * 0.6 + light).expand(n, 3, 1), matrix * contrast, pictures.reshape(n, 3, -1))
    return flat.reshape(n, 3, side, side).clamp(0, 1)


def _blurred(pictures: Tensor, dice: Generator) -> Tensor:
    n, _, side, _ = pictures.shape
    rows = _chosen(n, 0.15, dice)
    pictures[rows] = functional.avg_pool2d(pictures[rows], 3, 1, 1, count_include_pad=False)
    rows = _chosen(n, 0.1, dice)
    small = functional.interpolate(pictures[rows], (side // 2, side // 2), mode="area")
    pictures[rows] = functional.interpolate(small, (side, side), mode="bilinear")
    rows = _chosen(n, 0.15, dice)
    level = _uniform(len(rows), 0.0, 0.08, dice)[:, None, None, None]
    pictures[rows] += torch.randn(len(rows), 3, side, side, generator=dice) * level
    return pictures


def _compressed(pictures: Tensor, dice: Generator) -> Tensor:
    """What JPEG does, nearly: 8×8 cosine blocks, rounded more coarsely the higher the frequency."""
    rows = _chosen(len(pictures), 0.15, dice)
    part = pictures[rows]
    n, _, side, _ = part.shape
    k = torch.arange(8.0)
    cosines = torch.cos((2 * k[None, :] + 1) * k[:, None] * math.pi / 16) * math.sqrt(0.25)
    cosines[0] *= math.sqrt(0.5)
    blocks = part.reshape(n, 3, side // 8, 8, side // 8, 8).transpose(3, 4)
    step = (1 + k[:, None] + k[None, :]) * _uniform(n, 0.01, 0.06, dice)[:, None, None, None, None, None]
    coded = (cosines @ blocks @ cosines.T / step).round() * step
    pictures[rows] = (cosines.T @ coded @ cosines).transpose(3, 4).reshape(n, 3, side, side)
    return pictures


def _erased(pictures: Tensor, dice: Generator) -> Tensor:
    n, _, side, _ = pictures.shape
    for row in _chosen(n, 0.12, dice).tolist():
        height, width = (torch.randint(side // 8, side // 3, (2,), generator=dice)).tolist()
        top, left = (
            int(torch.randint(side - height, (1,), generator=dice)),
            int(torch.randint(side - width, (1,), generator=dice)),
        )
        pictures[row, :, top : top + height, left : left + width] = torch.rand(3, 1, 1, generator=dice)
    return pictures


def normalised(pictures: Tensor) -> Tensor:
    """CLIP's channel statistics applied."""
    return (pictures - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def augmented(drawings: Tensor, may_flip: Tensor, side: int, dice: Generator) -> Tensor:
    """uint8 premultiplied RGBA `[n, 4, h, w]` to normalised pictures `[n, 3, side, side]`.

    *side* is a multiple of 8.
    """
    moved = _outlined(_moved(drawings.float() / 255, may_flip, side, dice), dice)
    pictures = moved[:, :3] + (1 - moved[:, 3:]) * _background(moved, dice)
    pictures = _compressed(_blurred(_recoloured(pictures, dice), dice), dice)
    return normalised(_erased(pictures, dice).clamp(0, 1))


def plain(drawings: Tensor, side: int) -> Tensor:
    """The same on white, untouched: how a transparent drawing is embedded."""
    clean = drawings.float() / 255
    pictures = clean[:, :3] + 1 - clean[:, 3:]
    if pictures.shape[-1] != side:
        pictures = functional.interpolate(pictures, (side, side), mode="bilinear", antialias=True)
    return normalised(pictures)
