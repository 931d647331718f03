"""Cut a language model's vocabulary to what a data set uses, and its depth: embeddings and tokenizer stay in step.

python scripts/ship/cut_vocabulary.py FOLDER --data data/sst2 --columns sentence --size 6000 --layers 3 --out runs/start

Special tokens and single characters stay, so that any text still has its tokens.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import torch
import typer
from tokenizers import Tokenizer

import zoo
from zoo.model.build import Model, from_state


def main(
    model: Annotated[Path, typer.Argument(help="Folder of the network, with a WordPiece tokenizer.")],
    data: Annotated[Path, typer.Option(help="Folder that holds train.parquet.")],
    columns: Annotated[list[str], typer.Option(help="The columns with texts; repeat the option.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    size: Annotated[int, typer.Option(help="Tokens to keep.")] = 6000,
    layers: Annotated[int, typer.Option(help="Blocks to keep, evenly spread. 0: all.")] = 0,
    length: Annotated[int, typer.Option(help="Positions to keep. 0: all.")] = 0,
) -> None:
    dense = zoo.load(model)
    table = pq.read_table(data / "train.parquet", columns=columns)
    texts = [text for name in columns for text in table.column(name).to_pylist()]
    zoo.save(cut(dense, texts, size, layers, length), out)


def cut(model: Model, texts: list[str], size: int, layers: int = 0, length: int = 0) -> Model:
    """The network with the `size` tokens that `texts` use most, `layers` of its blocks and `length` positions."""
    kept, tokenizer = frequent(model.tokenizer, texts, size)  # type: ignore[arg-type]
    spec, state = model.spec, model.state_dict()
    blocks = [row for row in spec if row.kind == "transformer_block"]
    chosen = {blocks[round(i)].name for i in torch.linspace(0, len(blocks) - 1, layers or len(blocks)).tolist()}
    rows = [row for row in spec if row not in blocks or row.name in chosen]
    positions = min(length or spec.texts.length, spec.texts.length)
    embed = rows[0].replace(vocabulary=len(kept), max_positions=positions)
    state["embed.tokens.weight"] = state["embed.tokens.weight"][kept].clone()
    state["embed.positions.weight"] = state["embed.positions.weight"][:positions].clone()
    given = type(spec.texts)(len(kept), positions, padding=kept.index(spec.texts.padding))
    spec = spec.replace(rows=(embed, *rows[1:]), input=given)
    names = {row.name for row in spec}
    made = from_state(spec, {key: value for key, value in state.items() if key.split(".")[0] in names})
    made.tokenizer, made.made, made.labels = tokenizer, model.made, model.labels  # type: ignore[assignment]
    return made


def frequent(tokenizer: str, texts: list[str], size: int) -> tuple[list[int], str]:
    """(the old numbers of the tokens that stay, in their new order; the tokenizer of the new numbers)."""
    parts: dict[str, Any] = json.loads(tokenizer)
    words: dict[str, int] = parts["model"]["vocab"]
    reader = Tokenizer.from_str(tokenizer)
    reader.no_truncation()
    reader.no_padding()
    counts = Counter(token for one in reader.encode_batch(texts) for token in one.ids)
    special = {one["id"] for one in parts["added_tokens"] if one["content"] in words}
    single = {number for word, number in words.items() if len(word.removeprefix("##")) == 1 and word.isascii()}
    used = [number for number, _ in counts.most_common() if number not in special | single]
    kept = sorted(special) + sorted(single) + used[: max(0, size - len(special) - len(single))]
    new = {old: number for number, old in enumerate(kept)}
    parts["model"]["vocab"] = {word: new[old] for word, old in words.items() if old in new}
    parts["added_tokens"] = [{**one, "id": new[one["id"]]} for one in parts["added_tokens"] if one["id"] in new]
    for one in parts["post_processor"].get("special_tokens", {}).values():
        one["ids"] = [new[old] for old in one["ids"]]
    for name in ("cls", "sep"):  # of BertProcessing
        if name in parts["post_processor"]:
            parts["post_processor"][name][1] = new[parts["post_processor"][name][1]]
    parts["truncation"] = parts["padding"] = None
    return kept, json.dumps(parts, ensure_ascii=False)


if __name__ == "__main__":
    typer.run(main)
