"""The README.md beside a saved model: the page that the Hub shows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from zoo import kinds, tasks
from zoo.printable import printable
from zoo.spec import ModelSpec
from zoo.tasks.answers import usual_task

_MARKS = re.compile(r"[\\`*\[\]()#!|~$:@]|(?<![a-z0-9])_|_(?![a-z0-9])|(?<=www)\.", re.IGNORECASE)


def markdown(text: object, limit: int = 500) -> str:
    """Escape text from outside: a page shows no Markdown, HTML or link of it."""
    return _MARKS.sub(r"\\\g<0>", escape(printable(text, limit), quote=False))


@dataclass(frozen=True)
class Figure:
    """One measured figure, in percent, and the data that it was measured on."""

    name: str
    value: float
    data: str
    examples: int
    sha256: str


@dataclass(frozen=True)
class Publication:
    """Facts that only the publisher knows: the repository, the licence, the base model and the figures."""

    repo: str
    licence: str = ""
    base_model: str = ""
    timm: bool = False
    figures: tuple[Figure, ...] = ()


def card(
    spec: ModelSpec, labels: tuple[str, ...], made: Mapping[str, Any], publication: Publication | None = None
) -> str:
    """Markdown with the Hub's front matter. Sizes are counted from the spec; accuracy is stated only if measured."""
    cost = kinds.cost(spec)
    unit = spec.input.unit
    classes = f"{len(labels)} classes" if labels else f"{kinds.row_shapes(spec)[-1][0]:,} outputs"
    precisions = " and ".join(sorted({row.precision for row in spec}))
    lines = [
        "---",
        *_front_matter(spec, publication),
        "---",
        "",
        f"# {markdown(publication.repo.partition('/')[2] if publication else spec.name)}",
        "",
        f"{markdown(spec.name)} for {markdown(spec.task)}: {classes}, {unit} of {spec.input.brief}.",
        "",
        "| | |",
        "|---|---|",
        f"| multiply-accumulates for one {spec.input.usual_one} | {cost.macs:,} |",
        f"| parameters | {cost.parameters:,} |",
        f"| precision | {precisions} |",
    ]
    figures = publication.figures if publication else ()
    lines += [
        f"| {markdown(one.name)}, {markdown(one.data)}, {one.examples:,} {unit} | {one.value:.2f}% |" for one in figures
    ]
    lines += ["", "```python", "import zoo", ""]
    if publication is None:
        lines += ['model = zoo.load("path/of/this/folder")', "```"]
    else:
        lines += [f'model = zoo.load("{publication.repo}")', "```"]
    if publication and publication.timm:
        lines += ["", "timm reads it too:", "", "```python", "import timm", ""]
        lines += [f'model = timm.create_model("hf-hub:{publication.repo}", pretrained=True)', "```"]
    if labels:
        shown = ", ".join(map(markdown, labels[:20])) + (", ..." if len(labels) > 20 else "")
        lines += ["", f"Labels: {shown}."]
    if made:
        lines += ["", "How it was made:", "", "```json", json.dumps(dict(made), indent=2), "```"]
    return "\n".join(lines) + "\n"


def _front_matter(spec: ModelSpec, publication: Publication | None) -> list[str]:
    """The front matter as YAML; strings and lists are written as JSON, which is valid YAML."""
    tags = [usual_task(spec.task), spec.name, *sorted({row.precision for row in spec} - {"float32"})]
    lines = ["library_name: zoo", f"pipeline_tag: {json.dumps(usual_task(spec.task))}", f"tags: {json.dumps(tags)}"]
    if publication is None:
        return lines
    if publication.licence:
        lines.append(f"license: {json.dumps(publication.licence)}")
    if publication.base_model:
        lines.append(f"base_model: {json.dumps(publication.base_model)}")
        if any(row.precision.startswith(("int8", "w")) for row in spec):
            # The Hub has no relation that means pruned.
            lines.append("base_model_relation: quantized")
    if publication.figures:
        hub_names = {metric.name: metric.hub for metric in tasks.of(spec).metrics}
        results = [
            {
                "task": {"type": usual_task(spec.task)},
                "dataset": {
                    "type": "other",
                    "name": one.data,
                    "args": {"sha256": one.sha256, "examples": one.examples},
                },
                "metrics": [{"type": hub_names.get(one.name, "accuracy"), "name": one.name, "value": one.value}],
            }
            for one in publication.figures
        ]
        lines.append(f"model-index: {json.dumps([{'name': publication.repo.partition('/')[2], 'results': results}])}")
    return lines
