"""Augmentation against its plain definition, picture by picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.train.augment import GREY, Augmentation, punched, shifted
from zoo.train.recipe import Recipe

PLAIN = Recipe(shift=0, mirror=False)


def numbered(batch: int = 6, height: int = 9, width: int = 7) -> torch.Tensor:
    """Every pixel of a picture is unlike every other."""
    one = torch.arange(height * width, dtype=torch.uint8).view(1, height, width, 1)
    return one.expand(batch, height, width, 3).contiguous()


@given(seed=st.integers(0, 1000), by=st.integers(0, 4))
def test_shifting_cuts_one_window_of_the_padded_picture(seed: int, by: int) -> None:
    torch.manual_seed(seed)
    images = numbered()
    moved = shifted(images, by, mirror=False)
    padded = torch.nn.functional.pad(images.permute(0, 3, 1, 2).float(), [by] * 4, mode="reflect").permute(0, 2, 3, 1)
    _, height, width, _ = images.shape
    for before, after in zip(padded, moved, strict=True):
        windows = [
            before[top : top + height, left : left + width].to(torch.uint8)
            for top in range(2 * by + 1)
            for left in range(2 * by + 1)
        ]
        assert sum(torch.equal(window, after) for window in windows) == 1


def test_half_of_the_pictures_are_mirrored() -> None:
    images = numbered(400)
    turned = shifted(images, 0)
    mirrored = (turned == images.flip(2)).flatten(1).all(1)
    kept = (turned == images).flatten(1).all(1)
    assert bool((mirrored ^ kept).all())
    assert 150 < int(mirrored.sum()) < 250


@given(seed=st.integers(0, 1000), hole=st.integers(1, 12))
def test_a_hole_is_one_grey_rectangle(seed: int, hole: int) -> None:
    torch.manual_seed(seed)
    images = torch.zeros(20, 9, 7, 3, dtype=torch.uint8)
    for picture in punched(images, hole):
        grey = (picture == GREY).all(2)
        assert 1 <= int(grey.sum()) <= hole * hole
        rows, columns = grey.any(1), grey.any(0)
        assert torch.equal(grey, rows[:, None] & columns[None])
        assert bool((picture[~grey] == 0).all())


def test_nothing_asked_changes_nothing() -> None:
    augmentation = Augmentation(PLAIN, 10)
    images = numbered()
    assert torch.equal(augmentation.pictures(images), images)
    x, labels = torch.randn(6, 3, 9, 7), torch.arange(6)
    assert all(torch.equal(a, b) for a, b in zip(augmentation.mix(x, labels), (x, labels), strict=True))


@pytest.mark.parametrize("which", ["mixup", "cutmix"])
def test_mixed_labels_say_what_the_picture_holds(which: str) -> None:
    """Pictures of one value a class: the value of the mixture is the labels' mean of the values."""
    augmentation = Augmentation(replace(PLAIN, **{which: 1.0}), 4)
    labels = torch.arange(8) % 4
    x = labels.float().view(8, 1, 1, 1).expand(8, 3, 16, 16)
    mixed, shares = augmentation.mix(x, labels)
    assert shares.shape == (8, 4)
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ torch.arange(4.0))
    assert not torch.equal(mixed, x)


def test_every_picture_has_its_own_operations_and_rectangle() -> None:
    augmentation = Augmentation(replace(PLAIN, rand_augment=9, erasing=1.0), 10)
    images = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8).expand(16, 32, 32, 3)
    changed = augmentation.pictures(images)
    assert changed.dtype == torch.uint8 and changed.shape == images.shape
    assert len({tuple(picture.flatten().tolist()) for picture in changed}) > 8
    x = torch.zeros(16, 3, 32, 32)
    erased, _ = augmentation.mix(x, torch.arange(16) % 10)
    assert len({tuple((picture != 0).any(0).flatten().tolist()) for picture in erased}) > 8
    assert bool((erased != 0).flatten(1).any(1).all())
