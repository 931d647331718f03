"""Pictures to tensors, as torchvision does it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo import registry
from zoo.data.preprocess import ImageError
from zoo.spec import ImageInput

SPEC = registry.spec("mobilenetv2_100")


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    smooth = Image.fromarray(values.squeeze(), mode if channels > 1 else None).resize(
        (width, height), box=(0, 0, width / 4, height / 4)
    )
    return smooth.convert(mode)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (231, 1000), (100, 60), (225, 224)])
@pytest.mark.parametrize(("interpolation", "crop"), [("bicubic", 0.875), ("bilinear", 0.9), ("bicubic", 1.0)])
def test_equal_to_torchvision(size: tuple[int, int], interpolation: str, crop: float) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    spec = SPEC.replace(input=ImageInput(interpolation=interpolation, crop=crop))
    mode = transforms.InterpolationMode(interpolation)
    theirs = transforms.Compose([
        transforms.Resize(int(224 / crop), interpolation=mode, antialias=True),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(spec.input.mean, spec.input.std),
    ])  # fmt: skip
    ours = zoo.preprocess(spec)(picture(*size))
    assert ours.shape == (1, 3, 224, 224) and ours.dtype == torch.float32
    torch.testing.assert_close(ours[0], theirs(picture(*size)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(500, 375), (100, 60)])
@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_squashed_to_the_size(size: tuple[int, int], crop: float) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    spec = SPEC.replace(input=ImageInput(crop=crop, squash=True))
    sides, mode = [int(224 / crop)] * 2, transforms.InterpolationMode.BICUBIC
    theirs = transforms.Compose([transforms.Resize(sides, interpolation=mode), transforms.CenterCrop(224)])
    expected = torch.from_numpy(np.asarray(theirs(picture(*size))).copy())
    assert torch.equal(torch.from_numpy(zoo.preprocess(spec).cut(picture(*size))), expected)
    assert "squash" not in SPEC.to_json()["input"] and spec.to_json()["input"]["squash"] is True


def test_the_right_size_is_left_alone() -> None:
    array = np.asarray(picture(224, 224))
    expected = (torch.from_numpy(array.copy()).permute(2, 0, 1) / 255 - torch.tensor(SPEC.input.mean).view(3, 1, 1)) / (
        torch.tensor(SPEC.input.std).view(3, 1, 1)
    )
    torch.testing.assert_close(zoo.preprocess(SPEC)(array)[0], expected, rtol=0, atol=1e-6)


def test_many_kinds_of_pictures_at_once(tmp_path: Path) -> None:
    picture(80, 60).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", str(tmp_path / "a.png"), picture(80, 60), np.asarray(picture(80, 60))]
    prepared = zoo.preprocess(SPEC)(given)
    assert prepared.shape == (4, 3, 224, 224)
    assert all(torch.equal(one, prepared[0]) for one in prepared)
    assert zoo.preprocess(SPEC)(np.zeros((5, 30, 30, 3), np.uint8)).shape == (5, 3, 224, 224)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_other_modes_become_rgb(mode: str) -> None:
    other = picture(90, 90).convert(mode)
    assert torch.equal(zoo.preprocess(SPEC)(other), zoo.preprocess(SPEC)(other.convert("RGB")))


def test_sixteen_bit_grey_keeps_its_greys() -> None:
    grey = np.linspace(0, 65535, 224 * 224).reshape(224, 224).astype(np.uint16)
    expected = np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, 2)
    assert torch.equal(zoo.preprocess(SPEC)(Image.fromarray(grey)), zoo.preprocess(SPEC)(expected))


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    lying = picture(100, 60)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    lying.save(tmp_path / "turned.png", exif=exif)
    upright = lying.transpose(Image.Transpose.ROTATE_270)
    assert torch.equal(zoo.preprocess(SPEC)(tmp_path / "turned.png"), zoo.preprocess(SPEC)(upright))


def test_an_oblong_input_is_covered() -> None:
    spec = SPEC.replace(input=replace(SPEC.input, size=(96, 160)))
    for size in ((300, 100), (100, 300), (160, 96), (97, 97)):
        assert zoo.preprocess(spec)(picture(*size)).shape == (1, 3, 96, 160)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text.png", "text.png is not a picture of a format"),
        ("cut.png", "cut.png is a damaged picture"),
        (".", "is a folder"),
        (np.zeros((3, 3, 3), np.float32), "uint8 of shape"),
        (np.zeros((3, 3, 2), np.uint8), "uint8 of shape"),
        (np.zeros((0, 3, 3), np.uint8), "uint8 of shape"),
        (7, "not int"),
        ([], "No pictures"),
        ([None], "not NoneType"),
    ],
)
def test_no_pictures_give_one_clear_error(tmp_path: Path, given: object, message: str) -> None:
    (tmp_path / "text.png").write_text("hello")
    picture(90, 90).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    with pytest.raises(ImageError, match=message):
        zoo.preprocess(SPEC)(tmp_path / given if isinstance(given, str) else given)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_line_is_refused_before_it_fills_the_memory(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size).save(tmp_path / "line.png")
    with pytest.raises(ImageError, match=r"line\.png is \d+x\d+, too long and narrow.*15,360,000.*Cut out"):
        zoo.preprocess(SPEC)(tmp_path / "line.png")
    with pytest.raises(ImageError, match="The image given is"):
        zoo.preprocess(SPEC)(Image.new("L", size))


def test_a_path_to_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such picture"):
        zoo.preprocess(SPEC)(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="a model or a ModelSpec"):
        zoo.preprocess("mobilenet")  # type: ignore[arg-type]
