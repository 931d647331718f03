"""Split MovieLens-100k for the shipped recommenders: the last ten ratings of each user are the test part.

    python scripts/ship/split_movielens.py movielens-100k/train.parquet --out data/ml100k

`--out` gets train.parquet and test.parquet, and in its folder choose/ the same with the last ten ratings that each
user has in train.parquet as validation.parquet: choose on these, then train on the whole. What is judged has label 1
for four stars and more, else 0. What is trained on has the share of yes that the stars stand for: 0, .1, .3, .8 and 1.
The title, the stars and the time are left out: a network would know the film by its title once more, the stars are the
label, and the time says which part a rating is in. `--out` also gets a README.md that says all this.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

LAST = 10
POSITIVE = 4
SHARES = {1: 0.0, 2: 0.1, 3: 0.3, 4: 0.8, 5: 1.0}  # of yes, to train on
COLUMNS = ["user_id", "item_id", "age", "gender", "occupation", "year", "genres", "label"]
README = """# MovieLens-100k, split by time

{rows:,} ratings by {users:,} users of {items:,} films (Harper and Konstan, 2015), of the file with the SHA-256
{sha256}. MovieLens is for research: its licence
allows no redistribution without permission, and no commercial use. No row of it, and no title, is part of the zoo.

| part | ratings | mean label |
|---|---|---|
{parts}

- What is judged has label 1 for a rating of four or five stars, else 0. What is trained on has a share of yes: 0, .1,
  .3, .8 and 1 for one to five stars. Three stars are nearer to a yes than one star, and a network learns from that.
- Test: the last {last} ratings of each user, by time. Train: the rest. Ratings of one second stay in the order of the
  file; of {tied:,} users, such ratings are on both sides of the split.
- choose/: the same again with the training part, to choose settings on. A user with fewer than {twice} ratings left
  has all of them in choose/train.parquet.

## Why the AUC is lower than the .90 of some papers

Those papers drop the ratings of three stars, which are the hard ones, call four and five a yes and one and two a no,
and split the rest at random. A random split shows the network the user's later ratings, and what others said of the
film in the same weeks as the ratings that it is tested on. Here three stars are a no, and what is tested comes after
all that the network knows of the user. The two numbers answer different questions: do not compare them.
"""


def main(
    data: Annotated[Path, typer.Argument(help="The Parquet file of all ratings, with the columns of MovieLens-100k.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
) -> None:
    from zoo.files import sha256_of

    ratings = read(data)
    train, test = split(ratings)
    shown = {"train": train, "test": test}
    choose, validation = split(train, least=2 * LAST)
    for folder, parts in ((out, shown), (out / "choose", {"train": choose, "validation": validation})):
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            write(shared(part) if name == "train" else part, folder / f"{name}.parquet")
    rows = [f"| {name} | {len(part):,} | {part.label.mean():.1%} |" for name, part in shown.items()]
    users, items = ratings.user_id.nunique(), ratings.item_id.nunique()
    first, before = test.groupby("user_id").timestamp.min(), train.groupby("user_id").timestamp.max()
    tied = int(first.eq(before.reindex(first.index)).sum())
    counts = {"rows": len(ratings), "users": users, "items": items, "tied": tied, "sha256": sha256_of(data)}
    (out / "README.md").write_text(README.format(parts="\n".join(rows), last=LAST, twice=2 * LAST, **counts))
    print(f"{out}: {len(train):,} ratings to train on, {len(test):,} to test on")


def read(data: Path) -> Any:
    """The ratings as a data frame, each user's in the order of time, with labels."""
    import pyarrow.parquet as pq

    frame = pq.read_table(data).to_pandas()
    frame["label"] = (frame.rating >= POSITIVE).astype("int8")
    return frame.sort_values(["user_id", "timestamp"], kind="stable")


def split(frame: Any, least: int = 0) -> tuple[Any, Any]:
    """(train, test): the last ten of each user are the test part, of users who have `least` ratings or more."""
    from_end = frame.groupby("user_id").cumcount(ascending=False)
    counts = frame.groupby("user_id").user_id.transform("size")
    last = (from_end < LAST) & (counts >= least)
    return frame[~last], frame[last]


def shared(frame: Any) -> Any:
    """The ratings with shares of yes for labels."""
    return frame.assign(label=frame.rating.map(SHARES))


def write(frame: Any, file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame[COLUMNS], preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, file, compression="zstd")


if __name__ == "__main__":
    typer.run(main)
