"""Which tokens a decoder writes: the likeliest one at each step, or those of the likeliest of several texts at once.

Both choose the very tokens that transformers chooses (generation/utils.py, 5.x). Shapes: T texts, K beams, V the
vocabulary of targets, N tokens so far, the start left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from zoo.spec import TextInput

NEVER = -1e9  # the score of what cannot be chosen

# (last tokens (rows,), rows of the step before that go on (rows,) or None, texts that go on (texts,) or None)
Step = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]  # -> scores of the next token (rows, V)


@dataclass(frozen=True)
class Search:
    """How targets are searched for.

    `beams` texts at once, of `most` tokens at most. A finished text's score is divided by its length to the power of
    `length_penalty`. `early_stopping`: True, a search ends with as many finished texts as there are beams; False, when
    the best running text scores less than all of them at its length; "never", when it would at the largest length.
    """

    takes: TextInput
    most: int
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False

    def run(self, step: Step, texts: int, device: torch.device) -> list[list[int]]:
        """The tokens of each text, its end included, the start left out."""
        return (_Beams(self, step, texts, device) if self.beams > 1 else _Greedy(self, step, texts, device)).tokens()

    def allowed(self, scores: Tensor, place: int) -> Tensor:
        """The scores (rows, V) of the token at `place`, with those that cannot stand there at -inf."""
        if self.takes.banned:
            scores.index_fill_(1, _numbers(self.takes.banned, scores.device), -torch.inf)
        if self.takes.first >= 0 and place == 0:
            scores = _only(scores, self.takes.first)
        if self.takes.last >= 0 and place == self.most - 1:
            scores = _only(scores, self.takes.last)
        return scores.log_softmax(-1) if self.takes.renormalized else scores


def likeliest(scores: Tensor) -> Tensor:
    """The first of the largest scores in each row (rows, V), (rows,): numpy looks at several at once, torch at each."""
    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        return scores.argmax(-1)
    return torch.from_numpy(scores.numpy().argmax(-1))


@lru_cache(maxsize=8)
def _numbers(tokens: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(tokens, device=device)


def _only(scores: Tensor, token: int) -> Tensor:
    alone = torch.full_like(scores, -torch.inf)
    alone[:, token] = 0
    return alone


class _Greedy:
    def __init__(self, search: Search, step: Step, texts: int, device: torch.device) -> None:
        self._search, self._step = search, step
        self._found: list[list[int]] = [[] for _ in range(texts)]
        self._device = device

    def tokens(self) -> list[list[int]]:
        takes, ends = self._search.takes, set(self._search.takes.ends)
        running = list(range(len(self._found)))
        last = torch.full((len(running),), takes.start, device=self._device)
        rows: Tensor | None = None
        for place in range(self._search.most):
            scores = self._search.allowed(self._step(last, rows, rows).float(), place)
            last = likeliest(scores)
            chosen = last.tolist()
            for text, token in zip(running, chosen, strict=True):
                self._found[text].append(token)
            left = [at for at, token in enumerate(chosen) if token not in ends]
            rows = None
            if len(left) < len(running):
                if not left:
                    break
                rows = torch.tensor(left, device=self._device)
                last, running = last[rows], [running[at] for at in left]
        return self._found


class _Beams:
    """A search as transformers' `_beam_search`, with texts that are done left out of further steps."""

    def __init__(self, search: Search, step: Step, texts: int, device: torch.device) -> None:
        self._search, self._step, self._device = search, step, device
        beams = search.beams
        self._kept = max(2, 1 + len(search.takes.ends)) * beams  # candidates: enough go on if all beams end
        self._ends = torch.tensor(search.takes.ends, dtype=torch.long, device=device)
        self._found: list[list[int]] = [[] for _ in range(texts)]
        self._running = torch.arange(texts, device=device)  # texts whose search goes on
        self._tokens = torch.zeros(texts, beams, 0, dtype=torch.long, device=device)  # of running beams, (T, K, N)
        self._scores = torch.full((texts, beams), NEVER, device=device)
        self._scores[:, 0] = 0  # else all beams would take the same tokens
        self._finished = torch.zeros(texts, beams, search.most, dtype=torch.long, device=device)
        self._lengths = torch.zeros(texts, beams, dtype=torch.long, device=device)
        self._best = torch.full((texts, beams), NEVER, device=device)  # scores of finished texts
        self._ended = torch.zeros(texts, beams, dtype=torch.bool, device=device)
        self._hopeful = torch.ones(texts, 1, dtype=torch.bool, device=device)  # whether a running beam may still win

    def tokens(self) -> list[list[int]]:
        beams = self._search.beams
        last = torch.full((len(self._found) * beams,), self._search.takes.start, device=self._device)
        rows: Tensor | None = None
        texts: Tensor | None = None
        for place in range(self._search.most):
            scores = self._search.allowed(self._step(last, rows, texts).float().log_softmax(-1), place)
            before, hit = self._advance(scores.view(len(self._running), beams, -1), place)
            texts = self._settle(place + 1, hit.all(1))
            if not len(self._running):
                break
            kept = torch.arange(len(before), device=self._device) if texts is None else texts
            rows = (before[kept] + beams * kept[:, None]).flatten()
            last = self._tokens[:, :, -1].flatten()
        return self._found

    def _advance(self, scores: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Take one token: (the beams (T, K) that those of now were before it, whether candidates ended)."""
        beams, vocabulary = self._search.beams, scores.shape[-1]
        every = (scores + self._scores[:, :, None]).flatten(1)
        ranked, at = every.topk(min(self._kept, every.shape[1]))
        before, token = at // vocabulary, at % vocabulary
        tokens = torch.cat([_take(self._tokens, before), token[:, :, None]], 2)
        hit = torch.isin(token, self._ends)
        if place == self._search.most - 1:
            hit = torch.ones_like(hit)
        going, chosen = (ranked + hit * NEVER).topk(beams)
        self._keep(tokens, ranked, hit, place + 1)
        self._tokens, self._scores = _take(tokens, chosen), going
        return before.gather(1, chosen), hit

    def _keep(self, tokens: Tensor, ranked: Tensor, hit: Tensor, length: int) -> None:
        """Put the best of the candidates that ended among the finished texts."""
        search, most = self._search, self._search.most
        top = torch.arange(ranked.shape[1], device=self._device) < search.beams
        ended = hit & top
        ranked = ranked / length**search.length_penalty
        if search.early_stopping is True:
            ranked = ranked + self._ended.all(1, keepdim=True) * NEVER
        ranked = ranked + ~self._hopeful * NEVER + ~ended * NEVER
        padded = torch.nn.functional.pad(tokens, (0, most - length))
        best, at = torch.cat([self._best, ranked], 1).topk(search.beams)
        self._finished = _take(torch.cat([self._finished, padded], 1), at)
        lengths = torch.cat([self._lengths, torch.full_like(hit, length, dtype=torch.long)], 1)
        self._lengths, self._best = lengths.gather(1, at), best
        self._ended = torch.cat([self._ended, ended], 1).gather(1, at)

    def _settle(self, length: int, over: Tensor) -> Tensor | None:
        """Take out the texts that are done, those that are `over` too; the places of the others, None for all."""
        search = self._search
        reached = search.most if search.early_stopping == "never" and search.length_penalty > 0 else length
        possible = self._scores[:, :1] / reached**search.length_penalty
        worst = torch.where(self._ended, self._best.amin(1, keepdim=True), NEVER)
        self._hopeful = self._hopeful & (possible > worst).any(1, keepdim=True)
        done = ~self._hopeful[:, 0] | over
        if search.early_stopping is True:
            done = done | self._ended.all(1)
        if not bool(done.any()):
            return None
        for at in done.nonzero()[:, 0].tolist():
            tokens = self._finished[at, 0, : int(self._lengths[at, 0])]
            self._found[int(self._running[at])] = tokens.tolist()
        left = (~done).nonzero()[:, 0]
        for name in ("_running", "_tokens", "_scores", "_finished", "_lengths", "_best", "_ended", "_hopeful"):
            setattr(self, name, getattr(self, name)[left])
        return left


def _take(tokens: Tensor, at: Tensor) -> Tensor:
    """Rows (T, K, N) of `tokens` (T, J, N) by their places (T, K)."""
    return tokens.gather(1, at[:, :, None].expand(-1, -1, tokens.shape[2]))
