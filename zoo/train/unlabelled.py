"""Inputs without labels as examples: calibration tensors of pictures or texts, and random cuts of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.passes.data import Batch, count

LEAST_SHARE = 0.35  # of the area of a picture that a random cut keeps


class Unlabelled:
    """Preprocessed inputs, in batches as calibration gives them; texts are padded to the longest.

    An epoch has `length` examples: every input as often as another, or once more. Default: every input once.
    """

    def __init__(self, batches: Sequence[Batch], length: int | None = None) -> None:
        self.inputs = _together(batches)
        self.length = count(self.inputs) if length is None else length
        digest = sha256()
        for name, tensor in sorted(self.inputs.items()):
            digest.update(
                f"{name}{tuple(tensor.shape)}".encode() + tensor.detach().cpu().contiguous().numpy().tobytes()
            )
        self.sha256 = digest.hexdigest()

    def __len__(self) -> int:
        return self.length

    def stream(self, batches: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """A batch for each of the index tensors."""
        for index in batches:
            part = {name: tensor[index % count(self.inputs)] for name, tensor in self.inputs.items()}
            yield part.get("", part)


def cut_at_random(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W) in floats, each cut to a random share of its area, resized back, and mirrored or not."""
    batch = len(x)
    share = torch.empty(batch).uniform_(LEAST_SHARE, 1.0)
    ratio = torch.empty(batch).uniform_(-0.288, 0.288).exp()  # of the sides, 3/4 to 4/3, as torchvision has it
    wide, high = ((share * one).sqrt().clamp(max=1.0) for one in (ratio, 1 / ratio))
    mirrored = torch.where(torch.rand(batch) < 0.5, -1.0, 1.0)
    place_x, place_y = (torch.empty(batch).uniform_(-1.0, 1.0) * (1 - side) for side in (wide, high))
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = wide * mirrored, place_x
    theta[:, 1, 1], theta[:, 1, 2] = high, place_y
    grid = F.affine_grid(theta.to(x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _together(batches: Sequence[Batch]) -> dict[str, Tensor]:
    """All batches as one; the name of a single tensor is ""."""
    named: list[dict[str, Tensor]] = [dict(one) if isinstance(one, Mapping) else {"": one} for one in batches]
    if any(one.keys() != named[0].keys() for one in named):
        raise ValueError(f"The batches hold different tensors: {sorted({key for one in named for key in one})}.")
    if any("attention_mask" not in one for one in named) and len({_trailing(one) for one in named}) > 1:
        raise ValueError("The batches differ in size or length; give all inputs one size, or texts an attention_mask.")
    return {name: _padded([one[name] for one in named]) for name in named[0]}


def _trailing(batch: Mapping[str, Tensor]) -> Any:
    """Of a translation, which has a mask of its own, nothing."""
    return tuple(tuple(tensor.shape[1:]) for name, tensor in sorted(batch.items()) if not name.startswith("decoder"))


def _padded(tensors: list[Tensor]) -> Tensor:
    longest = max(tensor.shape[-1] for tensor in tensors)
    return torch.cat([F.pad(tensor, (0, longest - tensor.shape[-1])) for tensor in tensors])
