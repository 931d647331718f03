"""How good translations are: BLEU (Papineni et al., 2002) and chrF (Popović, 2015), by sacrebleu (Post, 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoo.data.texts import translation_columns
from zoo.tasks.targets import Targets

if TYPE_CHECKING:
    from zoo.text.translator import Translator


def translated(model: Translator, texts: list[str]) -> list[str]:
    """The network's own translations, as `translate` makes them."""
    return model.translate(texts)  # type: ignore[no-any-return]


class References(Targets):
    """Translations that people have made, one an example."""

    def of_table(self, table: Any, column: str | None) -> list[str]:
        name = column or translation_columns(table.columns, table.where)[1]
        name = table.column("label", name, (), "Value")
        found = [cell for batch in table.cells([name]) for cell in batch.column(name).to_pylist()]
        if (wrong := next((row for row, cell in enumerate(found) if not isinstance(cell, str)), None)) is not None:
            raise ValueError(
                f"{table.where} has no text in {name!r}, row {wrong}: label_column= names the column of translations."
            )
        return found

    def in_memory(self, targets: Any, count: int) -> list[str]:
        found = list(targets) if not isinstance(targets, str) else []
        if len(found) != count or not all(isinstance(one, str) for one in found):
            raise ValueError(f"translations are {count} texts, one an example, and none is missing.")
        return found


class TranslationMetrics:
    """BLEU and chrF of all texts together, each from 0 to 100."""

    def __init__(self, metric: str, source: str) -> None:
        try:
            import sacrebleu
        except ImportError:
            raise ValueError("BLEU and chrF need sacrebleu: pip install 'zoo-efficient[text]'.") from None
        self._library: Any = sacrebleu
        self._found: list[str] = []
        self._wanted: list[str] = []

    def add(self, outputs: Any, targets: Sequence[str]) -> None:
        """Translations, and what people have written."""
        self._found += outputs
        self._wanted += targets

    def seen(self) -> Any:
        return self._found, self._wanted

    def join(self, seen: Any) -> None:
        self._found += seen[0]
        self._wanted += seen[1]

    def figures(self) -> dict[str, float]:
        return {
            "BLEU": float(self._library.corpus_bleu(self._found, [self._wanted]).score),
            "chrF": float(self._library.corpus_chrf(self._found, [self._wanted]).score),
        }

    def per_class(self) -> dict[int, float]:
        return {}
