"""Large tables are mapped from their file: neither loading nor scoring nor saving copies them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo
from networks import small
from zoo import registry
from zoo.inputs import Feature
from zoo.model.build import Model, from_state
from zoo.spec import TableInput
from zoo.tabular import model as tabular

ROWS, WIDTH = 400_000, 64  # 102 MB in float32
ALLOWED = 10  # MB

# Each step says by how much the memory that is no file's grew, at its peak and at its end.
STEPS = """
import json, sys, threading, time
import torch, zoo, zoo.passes.compress
from zoo.inputs import Feature
from zoo.spec import TableInput

def anonymous():
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1000

def grown(step):
    before, seen, done = anonymous(), [], threading.Event()
    def watch():
        while not done.wait(0.002):
            seen.append(anonymous())
    thread = threading.Thread(target=watch)
    thread.start()
    result = step()
    done.set()
    thread.join()
    return max(seen + [anonymous()]) - before, result

*folders, out = sys.argv[1:]
warm = zoo.create("deepfm", schema=TableInput((Feature("a", num_embeddings=9, hashed=True),)))
calls = warm.spec.input.example(8)
zoo.save(zoo.compress(warm, "int8", calibration=calls), out)  # imports, and torch's own memory
warm = zoo.load(out)
warm(calls)
found = {}
for folder in folders:
    found[folder, "load"], model = grown(lambda: zoo.load(folder))
    x = model.spec.input.example(64)
    found[folder, "score"], y = grown(lambda: model(x))
    found[folder, "save"], _ = grown(lambda: zoo.save(model, out))
    assert torch.equal(zoo.load(out)(x), y)
print(json.dumps({f"{step} {folder}": mb for (folder, step), mb in found.items()}))
"""


def large(hashed: bool = True) -> Model:
    schema = TableInput((Feature("id", num_embeddings=ROWS, hashed=hashed),))
    spec = registry.spec("deepfm", schema=schema, dim=WIDTH, hidden=(8,))
    state = zoo.build(spec, device="meta").state_dict()
    return from_state(spec, {key: torch.ones(one.shape, dtype=one.dtype) for key, one in state.items()})


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says what memory is no file's")
def test_a_large_table_is_not_copied(tmp_path: Path) -> None:
    dense = large()
    x = dense.spec.input.example(8)
    made = {held: zoo.compress(dense, "int8", calibration=x, tables=held) for held in ("int8", "int4")}
    for held, model in {"float32": dense, **made}.items():
        zoo.save(model, tmp_path / held)
    folders = [str(tmp_path / one) for one in ("float32", *made, "again")]
    command = [sys.executable, "-W", "ignore", "-c", STEPS, *folders]
    grown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert len(grown) == 9 and all(one < ALLOWED for one in grown.values()), grown


def test_training_a_mapped_network_leaves_its_file_alone(tmp_path: Path) -> None:
    zoo.save(small("deepfm"), tmp_path)
    file = tmp_path / "model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    model = zoo.load(tmp_path).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(model.spec.input.example(64)).square().sum().backward()
    optimizer.step()
    assert not model.embed.tables[0].weight.equal(before["embed.tables.0.weight"])
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    assert zoo.load(tmp_path).state_dict()["embed.tables.0.weight"].equal(before["embed.tables.0.weight"])


def test_a_file_that_is_replaced_goes_on_to_be_read(tmp_path: Path) -> None:
    first, second = small("deepfm"), zoo.create(small("deepfm").spec)
    x = first.spec.input.example(8)
    zoo.save(first, tmp_path)
    loaded = zoo.load(tmp_path)
    y = loaded(x)
    zoo.save(second, tmp_path)
    assert torch.equal(loaded(x), y) and torch.equal(zoo.load(tmp_path)(x), second(x))


@pytest.mark.parametrize("name", ["deepfm", "resnet20"])
def test_a_copy_needs_its_file_no_more(name: str, tmp_path: Path) -> None:
    model = small(name)
    x = model.spec.input.example(4)
    zoo.save(model, tmp_path)
    copied = zoo.load(tmp_path, mmap=False)
    mapped = zoo.load(tmp_path)
    assert all(torch.equal(one, mapped.state_dict()[key]) for key, one in copied.state_dict().items())
    del mapped
    file = tmp_path / "model.safetensors"
    with file.open("r+b") as opened:
        opened.truncate(100)
    assert torch.equal(copied(x), model(x))
    with pytest.raises(ValueError, match="mmap= takes True or False"):
        zoo.load(tmp_path, mmap="r")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [1, 8])
def test_rows_of_a_large_table_are_looked_at_when_they_are_asked_for(
    given: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tabular, "LARGE", 1)
    model = small("deepfm")
    x = torch.zeros(given, model.spec.input.width, dtype=torch.float64)
    zoo.save(model, tmp_path)
    file = tmp_path / "model.safetensors"
    start = file.read_bytes().index(model.embed.tables[0].weight.detach().numpy().tobytes())
    with file.open("r+b") as opened:  # the row of a missing value, and another
        for row in (0, 3):
            opened.seek(start + 4 * row * model.embed.tables[0].weight.shape[1])
            opened.write(torch.full((1,), torch.nan).numpy().tobytes())
    loaded = zoo.load(tmp_path)
    ask = x.clone()
    ask[:, :] = 1.0
    loaded(ask)
    with pytest.raises(ValueError, match=r"The table 'embed.tables.0' of deepfm has rows that are not finite"):
        loaded(x)
    with pytest.raises(ValueError, match="not finite"):
        zoo.save(loaded, tmp_path / "other")
