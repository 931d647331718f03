"""Make a small data set to try fine-tuning on: scikit-learn's handwritten digits, 1,437 to train and 360 to test.

python scripts/make_digits.py --out digits

8x8 grey pictures from the UCI repository (Alpaydin and Kaynak, 1998), as Parquet files in the Hub's column style.
"""

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from datasets import ClassLabel, Features, Image
from PIL import Image as Pillow
from sklearn.datasets import load_digits

TRAIN = 1437
CLASSES = [str(digit) for digit in range(10)]
BRIGHTEST = 16  # of scikit-learn's grey values, which begin at 0


def main(out: Annotated[Path, typer.Option(help="Folder to write.")]) -> None:
    digits = load_digits()
    grey = np.round(digits.images * (255 / BRIGHTEST)).astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(grey))  # unlike default_rng, the same in every numpy
    schema = Features({"image": Image(), "label": ClassLabel(names=CLASSES)}).arrow_schema
    schema = schema.with_metadata({**schema.metadata, b"class_names": ",".join(CLASSES).encode()})
    out.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", order[:TRAIN]), ("test", order[TRAIN:])):
        cells = [{"bytes": png(grey[row]), "path": None} for row in rows]
        pq.write_table(pa.table([cells, digits.target[rows].astype(np.int64)], schema=schema), out / f"{split}.parquet")
        print(f"{out / split}.parquet: {len(rows):,} pictures")


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    typer.run(main)
