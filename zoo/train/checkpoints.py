"""Where a run goes on from: whole files or none, the last two kept, each with its own SHA-256 behind it."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

KEPT = 2
DIGEST = hashlib.sha256().digest_size


class Checkpoints:
    """The checkpoints of one run in a folder. `whose` (JSON-like) tells runs apart; another run's are refused."""

    def __init__(self, folder: Path, whose: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.folder, self.whose, self.say = folder, dict(whose), say

    def write(self, step: int, state: Mapping[str, Any]) -> None:
        """Keep `state` as that of `step`; a full disk leaves the earlier ones as they are."""
        content = io.BytesIO()
        torch.save({"whose": self.whose, "step": step, "state": dict(state)}, content)
        payload = content.getbuffer()
        path = self.folder / f"step-{step:09d}.pt"
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(payload)
                file.write(hashlib.sha256(payload).digest())
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise OSError(
                f"The checkpoint of step {step} could not be written to {self.folder} ({error.strerror or error}); "
                "earlier ones are untouched. Make room and run the same command again."
            ) from error
        for old in self._files()[:-KEPT]:
            old.unlink(missing_ok=True)

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """(step, state) of the newest checkpoint that is whole; None where there is none to go on from.

        A damaged one is passed over, and said so. Raises ValueError for one of another run.
        """
        for path in reversed(self._files()):
            saved = self._read(path)
            if saved is None:
                continue
            if saved["whose"] != self.whose:
                raise ValueError(
                    f"{self.folder} belongs to another run, which differs in {_differing(saved['whose'], self.whose)}; "
                    "choose another folder, or delete this one."
                )
            return saved["step"], saved["state"]
        return None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))

    def _read(self, path: Path) -> dict[str, Any] | None:
        content = path.read_bytes()
        payload, digest = content[:-DIGEST], content[-DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            self.say(f"{path} is damaged; going on from the checkpoint before it, or from the start.")
            path.replace(path.with_suffix(".damaged"))  # else it would count among those that are kept
            return None
        saved: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return saved


def _differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    different = []
    for key in sorted({*theirs, *ours}):
        old, new = theirs.get(key), ours.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            different += [f"{key}.{k}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
        else:
            different.append(key)
    return ", ".join(different)
