"""Cut an encoder's vocabulary to what a data set uses, its embeddings' rank and its depth; the tokenizer stays in step.

python scripts/ship/cut_vocabulary.py FOLDER --data data/sst2 --columns sentence --size 3000 --rank 128 --out runs/start

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
from zoo import kinds
from zoo.model.build import Model, from_state
from zoo.spec import Block


def main(
    model: Annotated[Path, typer.Argument(help="Folder of the network, with a WordPiece tokenizer.")],
    data: Annotated[Path, typer.Option(help="Folder that holds train.parquet.")],
    columns: Annotated[list[str], typer.Option(help="The columns with texts; repeat the option.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    size: Annotated[int, typer.Option(help="Tokens to keep.")] = 6000,
    layers: Annotated[int, typer.Option(help="Blocks to keep, evenly spread. 0: all.")] = 0,
    length: Annotated[int, typer.Option(help="Positions to keep. 0: all.")] = 0,
    rank: Annotated[int, typer.Option(help="Width of the embeddings, which a row projects back. 0: as it is.")] = 0,
) -> None:
    dense = zoo.load(model)
    table = pq.read_table(data / "train.parquet", columns=columns)
    texts = [text for name in columns for text in table.column(name).to_pylist()]
    made = cut(dense, texts, size, layers, length)
    zoo.save(factorized(made, rank) if rank else made, out)


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


def factorized(model: Model, rank: int) -> Model:
    """The network with embeddings of `rank` numbers and a projection (ALBERT: Lan et al., 2020), close to its own.

    The rows of all tables have no mean, so that their length is what the norm divides by. It is the length of their
    coordinates too, along the singular vectors that are kept. The coordinates have no mean either: they are turned
    until the mean's direction holds nothing, at the cost of one singular vector.
    """
    embed, state = model.spec.rows[0], model.state_dict()
    dim, norm = embed.args["dim"], "embed.norm."
    names = [key for key in state if key.startswith("embed.") and not key.startswith(norm)]
    tables = [state[name] - state[name].mean(1, keepdim=True) for name in names]
    means = [table.mean(0) for table in tables]
    spread = [table - mean for table, mean in zip(tables, means, strict=True)]
    spread.append(sum(means).expand(len(tables[0]), -1))  # what every token has, as heavy as the words together
    basis = torch.linalg.svd(torch.cat(spread), full_matrices=False).Vh[: rank - 1]
    turn = torch.linalg.qr(torch.cat([torch.ones(rank, 1), torch.eye(rank)[:, : rank - 1]], 1)).Q[:, 1:].T
    into = basis.T @ turn  # (dim, rank)
    state |= {name: table @ into for name, table in zip(names, tables, strict=True)}
    scale = (dim / rank) ** 0.5 * state[f"{norm}weight"]
    state |= {"project.fc.weight": scale[:, None] * into, "project.fc.bias": state[f"{norm}bias"].clone()}
    state |= {f"{norm}weight": torch.ones(rank), f"{norm}bias": torch.zeros(rank)}
    rows = (embed.replace(dim=rank), Block("token_projection", "project", dim=rank, width=dim), *model.spec.rows[1:])
    made = from_state(kinds.check(model.spec.replace(rows=tuple(rows))), state)
    made.tokenizer, made.made, made.labels = model.tokenizer, model.made, model.labels
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
