"""Fresh heads on an encoder that has learned."""

from __future__ import annotations

from zoo import kinds, tasks
from zoo.model.build import Model, copy_metadata, fresh_rows, from_state
from zoo.model.editing import edit
from zoo.models.bert import tail_rows
from zoo.spec import Block, ModelSpec


def with_outputs(model: Model, count: int) -> Model:
    """The encoder with so many classes: for each token where it scores tokens, else for the whole text.

    0 leaves the head out. Rows that the model has keep their tensors. Raises ValueError for a decoder.
    """
    spec, head = model.spec, model.spec.rows[-1]
    if tasks.of(spec).continues or spec.input.translates:
        does = "translates" if spec.input.translates else "continues"
        raise ValueError(f"{spec.name} {does} texts; it takes no num_classes.")
    if count and kinds.outputs(spec) and not kinds.classes(spec):  # it answers for each token
        return model if kinds.outputs(spec) == count else edit(model, head.name, **{kinds.width_argument(head): count})
    rows = [row for row in spec if kinds.role(row) in ("stem", "trunk") or _has_learned_to_pool(row)]
    task = "feature-extraction"
    if count:
        tail = tail_rows("classifier", rows[-1].args["dim"], count)
        rows, task = [row for row in rows if kinds.role(row) != "pool"], "text-classification"
        rows += [spec[row.name] if row.name in [r.name for r in spec] else row for row in tail]
    return _rebuilt(model, spec.replace(rows=tuple(rows), task=task))


def _rebuilt(model: Model, spec: ModelSpec) -> Model:
    """The rows that the model has, and fresh ones for the rest, without labels."""
    kinds.check(spec)
    old = model.state_dict()
    missing = {key.split(".")[0] for key in kinds.model_state(spec) if key not in old}
    old |= fresh_rows(spec, missing, old)
    made = copy_metadata(from_state(spec, {key: old[key] for key in kinds.model_state(spec)}), model)
    made.labels = ()
    return made


HEADS = {"question-answering": "answers", "token-classification": "tokens"}  # task -> the tail of `zoo.models.bert`


def with_task(model: Model, task: str) -> Model:
    """The encoder with a fresh head for a task of `HEADS`; of two outputs, which labels may change.

    The model itself where it is for that task. Raises ValueError for a decoder and for another task.
    """
    spec = model.spec
    if spec.task == task:
        return model
    if task not in HEADS:
        raise ValueError(f"A fresh head is for one of {sorted(HEADS)}, not for {task!r}.")
    if tasks.of(spec).continues or not spec.input.ids:
        raise ValueError(f"{spec.name} is for {spec.task}, and only an encoder of texts gets a head for {task}.")
    rows = [row for row in spec if kinds.role(row) in ("stem", "trunk")]
    rows += tail_rows(HEADS[task], rows[-1].args["dim"], 2)
    return _rebuilt(model, spec.replace(rows=tuple(rows), task=task))


def _has_learned_to_pool(row: Block) -> bool:
    return kinds.role(row) == "pool" and bool(kinds.state(row))
