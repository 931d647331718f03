"""How long a network of the Hub takes from a warm cache: zoo against timm, each in fresh processes, taking turns.

    python benchmarks/load.py

The cache is made here, with random weights and no network. Needs timm.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import timm
import typer
from rich.console import Console
from rich.table import Table

COMMIT = "0" * 40
CHILD = """
import json, sys, time
from pathlib import Path
begin = time.perf_counter()
{imports}
imported = time.perf_counter()
Path("/proc/self/clear_refs").write_text("5")
status = lambda key: int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) * 1024
before = status("VmRSS")
model = {create}
created = time.perf_counter()
with torch.inference_mode():
    sum(float(tensor.sum()) for tensor in model.state_dict().values())  # touch every page
print(json.dumps([imported - begin, created - imported, status("VmHWM") - before]))
"""


def main(
    name: Annotated[str, typer.Argument()] = "resnet50.a1_in1k", rounds: Annotated[int, typer.Option()] = 7
) -> None:
    contenders = {
        "zoo": CHILD.format(imports="import torch, zoo\nzoo.create", create=f"zoo.create({name!r})"),
        "timm": CHILD.format(imports="import torch, timm", create=f"timm.create_model({name!r}, pretrained=True)"),
    }
    taken: dict[str, list[list[float]]] = {who: [] for who in contenders}
    with tempfile.TemporaryDirectory() as home:
        size = _fill_cache(Path(home), name)
        environment = {**os.environ, "HF_HOME": home, "HF_HUB_CACHE": f"{home}/hub", "HF_HUB_OFFLINE": "1"}
        for turn in range(rounds + 1):
            for who, code in contenders.items():
                done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
                if turn:  # the first fills the page cache, and checks the hash
                    taken[who].append(json.loads(done.stdout.splitlines()[-1]))
    median = {who: [statistics.median(column) for column in zip(*times, strict=True)] for who, times in taken.items()}
    table = Table("", "imports", "create", "both", "peak memory / file", title=f"{name}, warm cache, {rounds} rounds")
    for who, (imports, create, peak) in median.items():
        table.add_row(who, f"{imports:.2f} s", f"{create:.3f} s", f"{imports + create:.2f} s", f"{peak / size:.2f}")
    (ours, theirs) = median["zoo"], median["timm"]
    table.add_row("ratio", "", f"{ours[1] / theirs[1]:.2f}", f"{sum(ours[:2]) / sum(theirs[:2]):.2f}", "")
    Console().print(table)


def _fill_cache(home: Path, name: str) -> int:
    """huggingface_hub's layout, with links to files named by their SHA-256; the weights' size."""
    repo = home / "hub" / f"models--timm--{name}"
    snapshot, blobs = repo / "snapshots" / COMMIT, repo / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    network = timm.create_model(name, pretrained=False)
    timm.models._hub.save_for_hf(network, str(snapshot), safe_serialization=True)
    weights = snapshot / "model.safetensors"
    blob = blobs / hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.rename(blob)
    weights.symlink_to(blob)
    return blob.stat().st_size


if __name__ == "__main__":
    typer.run(main)
