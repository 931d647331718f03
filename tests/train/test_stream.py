"""Pictures decoded as they are asked for: the same ones for the same seed, whoever decodes them."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from zoo.data.preprocess import Preprocess
from zoo.spec import ImageInput
from zoo.train.images import ImageSet
from zoo.train.stream import ImageStream

INPUT = ImageInput(size=(16, 12), crop=0.9)
GREY = ImageInput(size=(16, 12), channels=1, mean=(0.5,), std=(0.25,))


def photograph(number: int, width: int = 40, height: int = 30) -> Image.Image:
    noise = np.random.RandomState(number).randint(0, 256, (height // 5, width // 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height))


def coded(picture: Image.Image, style: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, style, **options)
    return buffer.getvalue()


def stream_of(contents: Sequence[bytes | None], **changes: object) -> ImageStream:
    count = len(contents)
    names = [f"row {row}" for row in range(count)]
    cells = [{"image": {"bytes": content, "path": None}} for content in contents]
    settings = {"classes": ("a", "b", "c"), "workers": 0, **changes}
    return ImageStream(cells, names, torch.arange(count), torch.arange(count) % 3, "these", "f00", INPUT, **settings)


def photographs(count: int, **changes: object) -> ImageStream:
    return stream_of([coded(photograph(number)) for number in range(count)], **changes)


def shown(data: ImageStream | ImageSet, batches: Sequence[Tensor], seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    return list(data.stream(batches, seed))


def same(first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(x, other) and torch.equal(y, labels) for (x, y), (other, labels) in pairs)


def test_untrained_pictures_are_cut_as_the_network_asks() -> None:
    data = photographs(7)
    (images, labels), (more, _) = shown(data, [torch.tensor([5, 0, 3]), torch.tensor([1])])
    assert (images.shape, images.dtype) == ((3, 16, 12, 3), torch.uint8)
    assert (labels.tolist(), labels.dtype) == ([2, 0, 0], torch.int64)
    expected = [Preprocess(INPUT).cut(photograph(number)) for number in (5, 0, 3, 1)]
    assert np.array_equal(torch.cat([images, more]).numpy(), np.stack(expected))
    assert not data.cut_at_random


def test_training_pictures_are_torchvisions_random_resized_crop() -> None:
    data = photographs(1, train=True, scale=(0.3, 0.7), ratio=(0.5, 2.0))
    assert data.cut_at_random
    ((image, _),) = shown(data, [torch.tensor([0])], seed=11)
    crop = v2.RandomResizedCrop((16, 12), (0.3, 0.7), (0.5, 2.0), interpolation=InterpolationMode.BICUBIC)
    torch.manual_seed(int(np.random.SeedSequence((11, 0)).generate_state(1)[0]))
    assert np.array_equal(image[0].numpy(), np.asarray(crop(photograph(0))))


def test_a_crop_hangs_on_seed_and_picture_alone() -> None:
    data = photographs(12, train=True)
    order = torch.randperm(12)
    whole = shown(data, order.split(4), seed=3)
    assert same(whole, shown(data, order.split(4), seed=3))
    assert same(whole[1:], shown(data, order.split(4)[1:], seed=3)), "a resumed run"
    assert not same(whole, shown(data, order.split(4), seed=4))
    assert same(whole, shown(data.take(order), torch.arange(12).split(4), seed=3)), "what was taken kept its chance"
    twice = photographs(1, train=True).stream([torch.tensor([0])] * 2, 3)
    assert torch.equal(next(twice)[0], next(twice)[0])
    alike = stream_of([coded(photograph(0))] * 8, train=True)
    assert len({image.numpy().tobytes() for image in shown(alike, [torch.arange(8)])[0][0]}) == 8


def test_streaming_leaves_everyones_chance_alone() -> None:
    before = torch.random.get_rng_state()
    shown(photographs(3, train=True), [torch.arange(3)])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.multiprocess
def test_workers_change_nothing() -> None:
    contents: list[bytes | None] = [coded(photograph(number)) for number in range(20)]
    contents[6] = b"no picture"
    for train in (True, False):
        alone, helped = (stream_of(contents, train=train, workers=workers) for workers in (0, 2))
        order = torch.randperm(20).split(3)
        before = torch.random.get_rng_state()
        assert same(shown(alone, order, 5), shown(helped, order, 5))
        assert alone.skipped == helped.skipped == ("row 6",)
        assert torch.equal(torch.random.get_rng_state(), before)


@pytest.fixture
def spawning() -> Iterator[None]:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.usefixtures("spawning")
def test_workers_may_be_spawned() -> None:
    data = photographs(4, train=True)
    order = torch.arange(4).split(2)
    assert same(shown(data, order), shown(replace(data, workers=1), order))


def test_what_is_damaged_is_left_out_counted_and_named() -> None:
    good = coded(photograph(0))
    data = stream_of([good, b"no picture", coded(photograph(1), "JPEG")[:400], None, b"", good], train=True)
    assert data.skipped == ()
    for _ in range(2):
        ((images, labels),) = shown(data, [torch.tensor([5, 4, 3, 2, 1, 0])])
        assert (len(images), labels.tolist()) == (2, [2, 0])
    assert data.skipped == ("row 1", "row 2", "row 3", "row 4")
    assert data.take(torch.tensor([0, 2])).skipped == ("row 2",)
    with pytest.raises(ValueError, match=r"None of the 2 pictures of a batch of these can be read: row 1, row 4\."):
        shown(data, [torch.tensor([0, 1]), torch.tensor([1, 4])])
    still = replace(data, train=False)  # as the last few pictures of a validation split may come out
    assert [labels.tolist() for _, labels in shown(still, [torch.tensor([0, 1]), torch.tensor([1])])] == [[0]]
    with pytest.raises(ValueError, match="None of the 3 pictures"):
        shown(still, [torch.tensor([2, 3]), torch.tensor([1])])


def test_a_row_without_a_picture_is_skipped() -> None:
    data = replace(
        stream_of([coded(photograph(0))] * 2),
        pictures=[{"image": None}, {"image": {"bytes": None, "path": "gone.png"}}],
    )
    with pytest.raises(ValueError, match="None of the 2"):
        shown(data, [torch.arange(2)])


def test_cached_pictures_are_those_of_the_stream() -> None:
    contents: list[bytes | None] = [coded(photograph(number)) for number in range(300)]  # more than go in one part
    contents[2] = contents[270] = b"no picture"
    data = stream_of(contents)
    cached = data.cached()
    assert isinstance(cached, ImageSet)
    ((images, labels),) = shown(data, [torch.arange(300)])
    assert torch.equal(cached.images, images)
    assert torch.equal(cached.labels, labels)
    assert (cached.skipped, cached.classes) == (("row 2", "row 270"), ("a", "b", "c"))
    assert (cached.source, cached.sha256) == ("these", "f00")
    index = torch.tensor([7, 3])
    assert cached.take(index).skipped == cached.skipped
    assert same(shown(cached, [index]), [(images[index], labels[index])])
    assert not cached.cut_at_random
    with pytest.raises(ValueError, match=r"None of the 1 pictures of these can be read; row 0 is one\."):
        stream_of([b""]).cached()


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("wanted", [INPUT, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "LA", "I;16"])
def test_every_mode_is_read(mode: str, wanted: ImageInput, train: bool) -> None:
    flat = Image.new("RGB", (40, 30), (204, 204, 204))
    if mode == "I;16":
        flat = Image.fromarray(np.full((30, 40), 204 * 257, dtype=np.uint16))
    content = coded(flat if mode == "I;16" else flat.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    ((images, _),) = shown(replace(stream_of([content], train=train), input=wanted), [torch.tensor([0])])
    assert images.shape == (1, 16, 12, wanted.channels)
    if mode != "1":  # which dithers
        assert (images.int() - 204).abs().max() <= 1


@pytest.mark.parametrize("train", [False, True])
def test_photographs_are_turned_upright(train: bool) -> None:
    lying = Image.new("RGB", (30, 40), (0, 0, 0))
    lying.paste((255, 255, 255), (0, 0, 30, 20))  # white above, so at the right where it stands
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    data = stream_of([coded(lying, exif=exif)], train=train, scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3))
    ((images, _),) = shown(data, [torch.tensor([0])])
    assert images[0, :, -1].min() == 255
    assert images[0, :, 0].max() == 0


@pytest.mark.parametrize("changes", [{"workers": -1}, {"workers": True}, {"scale": (0.5, 0.1)}, {"scale": (0.5, 2.0)}])
def test_settings_are_checked(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        photographs(1, **changes)
