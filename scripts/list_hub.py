"""Write zoo/weights/hub.toml: which of timm's published weights are of architectures that the zoo has.

    python scripts/list_hub.py

Read from the installed timm, without network. timm's default weights of an architecture come first. Revisions and
hashes that stand in the file already are kept.
"""

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import typer

import zoo
from zoo import registry

TABLE = Path(zoo.__file__).parent / "weights" / "hub.toml"
HEADING = (
    f"# Written by scripts/list_hub.py from timm {timm.__version__}; `revision` and `sha256` may be added by hand.\n"
)
KEPT = ("revision", "sha256")


def main() -> None:
    before = tomllib.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    tables = dict(_published())
    for name, table in tables.items():
        table |= {key: value for key, value in before.get(name, {}).items() if key in KEPT}
    text = HEADING + "".join(f'\n["{name}"]\n{_lines(table)}' for name, table in tables.items())
    unfinished = TABLE.with_suffix(".tmp")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, TABLE)
    print(f"{TABLE.name}: {len(tables)} networks")


def _published() -> Iterator[tuple[str, dict[str, Any]]]:
    for arch in registry.MODELS:
        if not timm.is_model(arch):
            continue
        default = timm.get_pretrained_cfg(arch).tag
        names = timm.list_pretrained(f"{arch}.*")
        for name in sorted(names, key=lambda name: (name != f"{arch}.{default}", name)):
            config = timm.get_pretrained_cfg(name)
            if config.hf_hub_id and config.num_classes:  # 0: a trunk that gives no answers
                yield name, {"repo": config.hf_hub_id, "classes": config.num_classes, "licence": config.license or ""}


def _lines(table: dict[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


if __name__ == "__main__":
    typer.run(main)
