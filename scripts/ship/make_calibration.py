"""Cut the pictures that the package calibrates int8 networks with out of photographs in the public domain.

    pip install --no-deps scikit-image
    python scripts/ship/make_calibration.py --out zoo/data/samples

Random crops, as for training, of each photograph in turn, so that any first few hold all of them. labels.json also says
whose the photographs are; what it says stands in the docstrings of skimage/data/_fetchers.py.
"""

import io
import json
import math
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from PIL import Image

COUNT, SIDE, QUALITY = 48, 256, 80
AREA, ASPECT = (0.3, 1.0), (3 / 4, 4 / 3)
PHOTOGRAPHS = {
    "astronaut.png": {
        "title": "Eileen Collins",
        "author": "NASA",
        "licence": "public domain: no known copyright restrictions",
        "source": "NASA Great Images, https://flic.kr/p/r9qvLn",
    },
    "chelsea.png": {
        "title": "Chelsea the cat",
        "author": "Stefan van der Walt",
        "licence": "CC0, by the photographer",
        "source": "scikit-image",
    },
    "coffee.png": {
        "title": "Coffee cup",
        "author": "Rachel Michetti, courtesy of Pikolo Espresso Bar",
        "licence": "CC0, by the photographer",
        "source": "scikit-image",
    },
    "rocket.jpg": {
        "title": "Launch of DSCOVR on a Falcon 9",
        "author": "SpaceX",
        "licence": "public domain, released by SpaceX in 2015",
        "source": "https://www.flickr.com/photos/spacexphotos/16511594820",
    },
}


def main(out: Annotated[Path, typer.Option()]) -> None:
    package = distribution("scikit-image")
    folder = Path(str(package.locate_file("skimage/data")))
    photographs = {name: Image.open(folder / name).convert("RGB") for name in PHOTOGRAPHS}
    names, random = list(PHOTOGRAPHS), Random(0)
    pictures = {f"{number:04d}.jpg": names[number % len(names)] for number in range(COUNT)}
    facts = {
        "classes": [],
        "labels": dict.fromkeys(pictures, -1),
        "pictures": pictures,
        "photographs": PHOTOGRAPHS,
        "package": f"scikit-image {package.version}, skimage/data",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for picture, name in pictures.items():
            archive.writestr(zipfile.ZipInfo(picture), _crop(photographs[name], random))
        archive.writestr(zipfile.ZipInfo("labels.json"), json.dumps(facts))
    path = out / "photographs-calibration.zip"
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {len(pictures)} pictures, {len(buffer.getvalue()):,} bytes")


def _crop(photograph: Image.Image, random: Random) -> bytes:
    """A random part of it, mirrored half of the time, as a JPEG of SIDE x SIDE."""
    while True:
        area = random.uniform(*AREA) * photograph.width * photograph.height
        aspect = math.exp(random.uniform(*map(math.log, ASPECT)))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if width <= photograph.width and height <= photograph.height:
            break
    left, top = random.randint(0, photograph.width - width), random.randint(0, photograph.height - height)
    box = (left, top, left + width, top + height)
    cut = photograph.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    if random.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    buffer = io.BytesIO()
    cut.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    typer.run(main)
