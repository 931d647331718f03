"""The README.md beside a saved model: what the Hub shows of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo import kinds
from zoo.spec import ModelSpec, TextInput


@dataclass(frozen=True)
class Figure:
    """One measured figure, in percent, and what it was measured on."""

    name: str
    value: float
    data: str
    examples: int
    sha256: str


@dataclass(frozen=True)
class Publication:
    """What only the one who publishes knows: where, under which licence, made of what, and how good."""

    repo: str
    licence: str = ""
    base_model: str = ""
    timm: bool = False
    figures: tuple[Figure, ...] = ()


def card(
    spec: ModelSpec, labels: tuple[str, ...], made: Mapping[str, Any], publication: Publication | None = None
) -> str:
    """Markdown with the Hub's front matter. Sizes are counted from the spec; of accuracy only what was measured."""
    cost = kinds.cost(spec)
    size, text = kinds.usual_size(spec), isinstance(spec.input, TextInput)
    takes = f"texts of up to {spec.texts.length:,} tokens" if text else f"pictures of {size[0]}x{size[1]}"
    one_of = f"text of {size[0]} tokens" if text else "picture"
    classes = f"{len(labels)} classes" if labels else f"{kinds.row_shapes(spec)[-1][0]:,} outputs"
    precisions = " and ".join(sorted({row.precision for row in spec}))
    lines = [
        "---",
        *_front_matter(spec, publication),
        "---",
        "",
        f"# {publication.repo.partition('/')[2] if publication else spec.name}",
        "",
        f"{spec.name} for {spec.task}: {classes}, {takes}.",
        "",
        "| | |",
        "|---|---|",
        f"| multiply-accumulates for one {one_of} | {cost.macs:,} |",
        f"| parameters | {cost.parameters:,} |",
        f"| precision | {precisions} |",
    ]
    figures = publication.figures if publication else ()
    lines += [
        f"| {one.name}, {one.data}, {one.examples:,} {'texts' if text else 'pictures'} | {one.value:.2f}% |"
        for one in figures
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
        shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
        lines += ["", f"Labels: {shown}."]
    if made:
        lines += ["", "How it was made:", "", "```json", json.dumps(dict(made), indent=2), "```"]
    return "\n".join(lines) + "\n"


def _front_matter(spec: ModelSpec, publication: Publication | None) -> list[str]:
    """YAML, of which JSON's strings and lists are a part."""
    tags = [spec.task, spec.name, *sorted({row.precision for row in spec} - {"float32"})]
    lines = ["library_name: zoo", f"pipeline_tag: {json.dumps(spec.task)}", f"tags: {json.dumps(tags)}"]
    if publication is None:
        return lines
    if publication.licence:
        lines.append(f"license: {json.dumps(publication.licence)}")
    if publication.base_model:
        lines.append(f"base_model: {json.dumps(publication.base_model)}")
        if any(row.precision.startswith("int8") for row in spec):
            # Of the Hub's relations none means pruned, and others nothing.
            lines.append("base_model_relation: quantized")
    if publication.figures:
        results = [
            {
                "task": {"type": spec.task},
                "dataset": {
                    "type": "other",
                    "name": one.data,
                    "args": {"sha256": one.sha256, "examples": one.examples},
                },
                "metrics": [{"type": "accuracy", "name": one.name, "value": one.value}],
            }
            for one in publication.figures
        ]
        lines.append(f"model-index: {json.dumps([{'name': publication.repo.partition('/')[2], 'results': results}])}")
    return lines
