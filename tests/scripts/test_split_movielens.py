"""The split of the ratings that the shipped recommenders learn: each user's last ten are tested."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pq = pytest.importorskip("pyarrow.parquet")
SCRIPT = Path(__file__).parents[2] / "scripts" / "ship" / "split_movielens.py"
USERS = {1: 10, 2: 12, 3: 20, 4: 35}  # user -> ratings


def ratings() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    user = rng.permutation(np.repeat(list(USERS), list(USERS.values())))
    count = len(user)
    return pd.DataFrame(
        {
            "user_id": user, "item_id": np.arange(count), "rating": rng.integers(1, 6, count),
            "timestamp": rng.integers(0, 20, count), "age": 30, "gender": "M", "occupation": "writer",
            "title": "Toy Story (1995)", "year": 1995, "genres": [["Drama"]] * count,
        }
    )  # fmt: skip


def test_the_last_ten_of_each_user_are_tested(tmp_path: Path) -> None:
    given = ratings()
    given.to_parquet(tmp_path / "all.parquet")
    runpy.run_path(str(SCRIPT))["main"](tmp_path / "all.parquet", tmp_path / "out")
    parts = {
        name: pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pandas()
        for name in ("train", "test", "choose/train", "choose/validation")
    }
    tied = 0
    for user, count in USERS.items():
        own = given[given.user_id == user]
        # sorted by time, then by place in the file
        order = sorted(range(count), key=lambda place: (own.timestamp.iloc[place], place))
        items = own.item_id.iloc[order].tolist()
        left = items[:-10]
        times = own.timestamp.iloc[order].tolist()
        tied += bool(left) and times[-10] == times[-11]
        held = left[-10:] if len(left) >= 20 else []
        found = {name: part[part.user_id == user].item_id.tolist() for name, part in parts.items()}
        expected = {"train": left, "test": items[-10:], "choose/validation": held}
        assert found == {**expected, "choose/train": left[: len(left) - len(held)]}
    stars = given.set_index("item_id").rating
    shares = {1: 0.0, 2: 0.1, 3: 0.3, 4: 0.8, 5: 1.0}
    for name, part in parts.items():
        own = stars[part.item_id]
        assert part.label.tolist() == (own.map(shares) if name.endswith("train") else own >= 4).tolist()
    for name in parts:
        assert not {"title", "rating", "timestamp"} & set(pq.read_schema(tmp_path / "out" / f"{name}.parquet").names)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "77 ratings by 4 users of 77 films" in readme and "| test | 40 |" in readme and "random split" in readme
    assert f"of {tied} users, such ratings are on both sides" in " ".join(readme.split())
