"""The README.md beside a saved model: what the Hub shows of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from zoo import kinds
from zoo.spec import ModelSpec


def card(spec: ModelSpec, labels: tuple[str, ...], made: Mapping[str, Any]) -> str:
    """Markdown with the Hub's front matter. Figures are counted from the spec, nothing is claimed of accuracy."""
    cost = kinds.cost(spec)
    height, width = spec.input.size
    classes = f"{len(labels)} classes" if labels else f"{kinds.layer_widths(spec.rows[-1]).get('out', 0)} outputs"
    precisions = " and ".join(sorted({row.precision for row in spec}))
    lines = [
        "---",
        "library_name: zoo",
        f"pipeline_tag: {json.dumps(spec.task)}",
        "tags:",
        f"- {json.dumps(spec.task)}",
        f"- {json.dumps(spec.name)}",
        "---",
        "",
        f"# {spec.name}",
        "",
        f"For {spec.task}: {classes}, pictures of {height}x{width}.",
        "",
        "| | |",
        "|---|---|",
        f"| multiply-accumulates for one picture | {cost.macs:,} |",
        f"| parameters | {cost.parameters:,} |",
        f"| precision | {precisions} |",
        "",
        "```python",
        "import zoo",
        "",
        'model = zoo.load("path/of/this/folder")',
        "```",
    ]
    if labels:
        shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
        lines += ["", f"Labels: {shown}."]
    if made:
        lines += ["", "How it was made:", "", "```json", json.dumps(dict(made), indent=2), "```"]
    return "\n".join(lines) + "\n"
