"""The two towers: pictures `[n, 3, s, s]` and token ids `[n, l]`, both to rows of 512."""

from __future__ import annotations

import math

import torch
from phrases import PAD
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 512
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own channel statistics (openai/CLIP, `clip.py`, `_transform`)."""


class Residual(nn.Module):
    """Two 3×3 convolutions beside a shortcut; `stride` 2 halves the side."""

    def __init__(self, wide_in: int, wide_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(wide_in, wide_out, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(wide_out)
        self.second = nn.Conv2d(wide_out, wide_out, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(wide_out)
        self.shortcut: nn.Module = nn.Identity()
        if wide_in != wide_out or stride != 1:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity(),
                nn.Conv2d(wide_in, wide_out, 1, bias=False),
                nn.BatchNorm2d(wide_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(x)), inplace=True)
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(x), inplace=True)


class Vision(nn.Module):
    """A plain convolutional tower. It takes any side; it was trained at 64 to 112."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256), depths: tuple[int, ...] = (1, 1, 2, 2)) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, widths[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        wide = widths[0]
        for width, depth in zip(widths, depths, strict=True):
            for index in range(depth):
                layers.append(Residual(wide, width, 2 if index == 0 else 1))
                wide = width
        self.body = nn.Sequential(*layers)
        self.lift = nn.Linear(2 * wide, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        rows: Tensor = self.lift(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))
        return rows


class Mixer(nn.Module):
    """One text layer: neighbours by a convolution, which tells the order; all tokens by attention; a hidden layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.near = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.attend_norm = nn.LayerNorm(width)
        self.queries = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.hidden_norm = nn.LayerNorm(width)
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        n, length, width = x.shape
        x = x + self.near((x * real[..., None]).transpose(1, 2)).transpose(1, 2)
        parts = self.queries(self.attend_norm(x)).reshape(n, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)
        scores = scores + (1 - real[:, None, None, :]) * -1e4
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(n, length, width)
        x = x + self.out(mixed)
        rows: Tensor = x + self.hidden(self.hidden_norm(x))
        return rows


class Text(nn.Module):
    """Token ids, padded with `PAD`, of any length. An all-padding row is defined, and means nothing."""

    def __init__(self, vocabulary: int, width: int = 192, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.pieces = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.pieces.weight, std=0.05)
        self.layers = nn.ModuleList(Mixer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.weigh = nn.Linear(width, 1)
        self.lift = nn.Linear(width, WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        real = (ids != PAD).float()
        x = self.pieces(ids)
        for layer in self.layers:
            x = layer(x, real)
        x = self.norm(x)
        share = (self.weigh(x)[..., 0] + (1 - real) * -1e4).softmax(-1)
        rows: Tensor = self.lift((x * share[..., None]).sum(1))
        return rows


class Both(nn.Module):
    """The towers with what only training needs: the temperature, and one learnt direction for each concept."""

    def __init__(self, vocabulary: int, concepts: int) -> None:
        super().__init__()
        self.vision = Vision()
        self.text = Text(vocabulary)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.directions = nn.Embedding(concepts, WIDTH)
        nn.init.normal_(self.directions.weight, std=0.04)

    @property
    def scale(self) -> Tensor:
        """The inverse temperature, at most 100 as in CLIP."""
        return self.log_scale.clamp(max=math.log(100.0)).exp()
