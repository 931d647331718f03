"""Sequence-level distillation: a student learns the translations that its teacher makes (Kim and Rush, 2016)."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from zoo.files import FileError, make_folder, write_whole
from zoo.text.translate import BEAMS, MOST
from zoo.train.checkpoints import differing, digest
from zoo.train.log import TrainingLog
from zoo.train.ragged import Ragged
from zoo.train.recipe import Recipe
from zoo.train.translations import TranslationSet

FILE, NOTES = "targets.jsonl", "targets.json"
PART = 2048  # texts that are sorted by length, translated and written together
BATCH = 64


def taught(train: TranslationSet, teachers: Sequence[Any], recipe: Recipe, log: TrainingLog) -> TranslationSet:
    """The texts with the teacher's translations, or with both where the recipe says so.

    They are made once, and kept in the folder of `log` as a table of the columns source and target; a run that goes on
    reads them there, and one that was stopped makes the rest. Translations that do not end are left out.

    Raises ValueError where the folder has the translations of another teacher or of other texts.
    """
    teacher, most = teachers[0], min(MOST, train.length)
    texts = sha256(json.dumps(train.examples).encode()).hexdigest()
    asked = {"teacher": digest(teacher), "texts": texts, "beams": BEAMS, "max_tokens": most}
    with _shown(len(train), log) as told:
        found = _translated(teacher.eval(), train.examples, most, _Kept(log.folder, asked, train.examples), told)
    rows = [one.ids for one in teacher.prepare().encoded(found, target=True)]
    ended = [at for at, text in enumerate(found) if text.strip() and len(rows[at]) < most]
    if not ended:
        raise ValueError(f"No translation of the teacher ends within {most} tokens: there is nothing to learn.")
    if gone := len(found) - len(ended):
        log.say(f"{gone:,} of {len(found):,} translations of the teacher do not end within {most} tokens: left out.")
    made = replace(
        train.take(torch.tensor(ended)),
        targets=Ragged.of([rows[at] for at in ended]),
        references=tuple(found[at] for at in ended),
    )
    if recipe.targets == "both":
        made = made.behind(train)
    own = sha256(f"{train.sha256} {recipe.targets} {json.dumps(found)}".encode()).hexdigest()
    return replace(made, labels=torch.arange(len(made)), sha256=own)


class _Kept:
    """The translations that are made so far, in a file that grows by whole parts."""

    def __init__(self, folder: Path, asked: Mapping[str, Any], texts: Sequence[str]) -> None:
        self.file = folder / FILE
        make_folder(folder)
        notes = folder / NOTES
        if notes.is_file() and self.file.is_file():
            if others := differing(_read(notes), asked):
                raise ValueError(
                    f"{self.file} belongs to another run, which differs in {others}; choose another folder, or delete "
                    "this one."
                )
        else:
            write_whole(self.file, ())
        write_whole(notes, (json.dumps(dict(asked)).encode(),))
        self.found = self._earlier(texts)

    def add(self, texts: Sequence[str], found: Sequence[str]) -> None:
        """One part."""
        rows = ({"source": text, "target": one} for text, one in zip(texts, found, strict=True))
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            with self.file.open("ab") as opened:
                opened.write(lines.encode())
                opened.flush()
                os.fsync(opened.fileno())
        except OSError as error:
            raise FileError(f"{self.file}: cannot be written: {error.strerror or error}.") from None
        self.found += found

    def _earlier(self, texts: Sequence[str]) -> list[str]:
        """Those of whole parts; what a killed process left behind them is cut off."""
        lines = self.file.read_bytes().splitlines(keepends=True)
        found: list[str] = []
        for line, text in zip(lines, texts, strict=False):
            try:
                row = json.loads(line) if line.endswith(b"\n") else {}
            except ValueError:
                row = {}
            if not isinstance(row, dict) or row.get("source") != text or not isinstance(row.get("target"), str):
                break
            found.append(row["target"])
        whole = len(found) if len(found) == len(texts) else len(found) // PART * PART
        if whole < len(lines):
            write_whole(self.file, lines[:whole])
        return found[:whole]


def _translated(
    teacher: Any, texts: Sequence[str], most: int, kept: _Kept, told: Callable[[int], None]
) -> Sequence[str]:
    options = {"beams": BEAMS, "max_tokens": most, "batch_size": BATCH}
    for start in range(len(kept.found), len(texts), PART):
        part = list(texts[start : start + PART])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ translations reach")  # they are left out, and counted
            kept.add(part, teacher.translate(part, **options, progress=lambda done, start=start: told(start + done)))
    return kept.found


def _read(notes: Path) -> dict[str, Any]:
    try:
        found = json.loads(notes.read_text())
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _shown(count: int, log: TrainingLog) -> Iterator[Callable[[int], None]]:
    """How many of `count` texts are translated: a bar on a terminal, else two lines."""
    log.say(f"The teacher translates {count:,} texts; {log.folder / FILE} keeps what is done.")
    if log.quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Translating", total=count)
        yield lambda done: bar.update(task, completed=done)
