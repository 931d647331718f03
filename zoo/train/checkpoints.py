"""Checkpoints of a run. A file is written whole or not at all and ends with its SHA-256; the last two are kept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from zoo.files import FileError, make_folder, write_whole
from zoo.model.build import Model

KEPT = 2
DIGEST = hashlib.sha256().digest_size


class Checkpoints:
    """The checkpoints of one run in a folder. `run_id` (JSON-like): another run's files are refused."""

    def __init__(self, folder: Path, run_id: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.folder, self.run_id, self.say = folder, dict(run_id), say

    def write(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the `state` at `step`. Raises FileError if it cannot be written; earlier checkpoints then stay."""
        content = io.BytesIO()
        torch.save({"whose": self.run_id, "step": step, "state": dict(state)}, content)
        payload = content.getbuffer()
        try:
            make_folder(self.folder)
            write_whole(self.folder / f"step-{step:09d}.pt", (payload, hashlib.sha256(payload).digest()))
        except FileError as error:
            raise FileError(
                f"The checkpoint of step {step} was not written; earlier ones are whole. Make room and run the same "
                f"command again. {error}"
            ) from error
        for old in self._files()[:-KEPT]:
            old.unlink(missing_ok=True)

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """(step, state) of the newest undamaged checkpoint; None if there is none.

        A damaged checkpoint is skipped with a message. Raises ValueError for a checkpoint of another run.
        """
        if any(one.is_dir() for one in self.folder.glob("step-*")):
            raise ValueError(
                f"{self.folder} holds checkpoints that several processes wrote in parts: go on with the same "
                "parallel=, or choose another folder."
            )
        for path in reversed(self._files()):
            saved = self._read(path)
            if saved is None:
                continue
            if saved["whose"] != self.run_id:
                others = differing(saved["whose"], self.run_id)
                raise ValueError(
                    f"{self.folder} belongs to another run, which differs in {others}; "
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
            path.replace(path.with_suffix(".damaged"))  # a damaged file must not count among the files that are kept
            return None
        saved: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return saved


def digest(model: Model) -> str:
    """The SHA-256 of the spec and all tensors."""
    found = hashlib.sha256(model.spec.dumps().encode())
    for key, tensor in model.state_dict().items():
        found.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The names in which two runs differ; empty for one run."""
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
