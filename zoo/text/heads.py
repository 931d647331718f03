"""Fresh heads on an encoder that has learned."""

from __future__ import annotations

from zoo import kinds
from zoo.build import Model, describe, edit, fresh_rows, from_state
from zoo.models.bert import tail_rows

_TRUNK = ("token_embedding", "transformer_block", "token_norm", "pooler")


def with_outputs(model: Model, count: int) -> Model:
    """The encoder with so many classes: for each token where it scores tokens, else for the whole text.

    0 leaves the head out. Rows that the model has keep their tensors. Raises ValueError for a decoder.
    """
    spec, head = model.spec, model.spec.rows[-1]
    if spec.task == "text-generation":
        raise ValueError(f"{spec.name} continues texts; it takes no num_classes.")
    if head.kind == "token_head" and count:
        return model if head.args["outputs"] == count else edit(model, head.name, outputs=count)
    rows = [row for row in spec if row.kind in _TRUNK]
    task = "feature-extraction"
    if count:
        tail = tail_rows("classifier", rows[-1].args["dim"], count)
        rows, task = [row for row in rows if row.kind != "pooler"], "text-classification"
        rows += [spec[row.name] if row.name in [r.name for r in spec] else row for row in tail]
    spec = spec.replace(rows=tuple(rows), task=task)
    kinds.check(spec)
    old = model.state_dict()
    missing = {key.split(".")[0] for key in kinds.model_state(spec) if key not in old}
    old |= fresh_rows(spec, missing, old)
    made = describe(from_state(spec, {key: old[key] for key in kinds.model_state(spec)}), model)
    made.labels = ()
    return made
