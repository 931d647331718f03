"""Read folders of sentence-transformers: modules.json lists the modules after the network, each in its own folder.

No torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.spec import SpecError
from zoo.weights.settings import Table, read_json, read_settings, short, switch

MODULES, SENTENCES, PROMPTS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
SISTERS = tuple(f"sentence_{kind}_config.json" for kind in
                ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"))  # fmt: skip
CONFIG = "config.json"  # the file of each module
READ = ("Transformer", "Pooling", "Normalize")  # in this order; Normalize may be missing
# sentence-transformers' pooling -> `pool` of a token_pool
MODES = {
    "cls": "first",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_TRANSFORMER = Table(
    SENTENCES,
    used=frozenset({"max_seq_length", "do_lower_case"}),
    harmless=frozenset({"unpad_inputs", "tokenizer_name_or_path"}),
    allowed={
        "transformer_task": ("feature-extraction", None),
        "module_output_name": ("token_embeddings", None),
        "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}}, None),
    },
)
_SCORER = Table(  # a cross-encoder
    SENTENCES,
    _TRANSFORMER.used,
    _TRANSFORMER.harmless,
    {
        "transformer_task": ("sequence-classification", "feature-extraction", None),
        "module_output_name": ("scores", None),
        "modality_config": ({"text": {"method": "forward", "method_output_name": "logits"}}, None),
    },
)
_POOLING = Table(
    "Pooling",
    used=frozenset({"pooling_mode", *_OLD_MODES}),
    # Prompts are refused, so there is no prompt to leave out of the pooling.
    harmless=frozenset({"word_embedding_dimension", "embedding_dimension", "include_prompt"}),
)
_NORMALIZE = Table(
    "Normalize",
    allowed=dict.fromkeys(("module_input_name", "module_output_name"), ("sentence_embedding", None)),
)
_MODEL = Table(
    PROMPTS,
    used=frozenset({"prompts", "default_prompt_name", "activation_fn"}),
    harmless=frozenset({"similarity_fn_name"}),
    allowed={"model_type": ("SentenceTransformer", "CrossEncoder", None)},
)


@dataclass(frozen=True)
class Sentences:
    """How a folder makes one vector of a text: the pool, whether the vector is normalised, and how texts are prepared.

    `pool` is empty for a network with a head of its own. `length` is the largest number of tokens, None if the folder
    does not state one. `lower`: texts are lowercased first.
    """

    pool: str
    normalize: bool
    length: int | None
    lower: bool


def read_sentences(folder: Path) -> Sentences | None:
    """Read the folder's modules.json; None if there is none. Raises SpecError for modules that the zoo lacks."""
    modules = read_json(folder / MODULES)
    if modules is None:
        return None
    found = _modules(modules)
    kinds = [kind for kind, _ in found]
    if not kinds or kinds != list(READ)[: len(kinds)]:
        odd = next((kind for kind in kinds if kind not in READ), None)
        what = f"a {short(odd)} module" if odd else f"the modules {kinds}"
        raise SpecError(
            f"{MODULES} names {what}, and the zoo's sentence embeddings are of {' and '.join(READ[:2])}, with or "
            f"without {READ[2]} behind them"
        )
    if found[0][1]:
        raise SpecError(
            f"{MODULES} says that the Transformer lies in {short(found[0][1])}, not in the folder itself: move its "
            'files up, and write "path": "" there'
        )
    file = next((name for name in (SENTENCES, *SISTERS) if read_settings(folder / name)), SENTENCES)
    settings = read_settings(folder / file)
    replace(_TRANSFORMER if len(found) > 1 else _SCORER, file=file).check(settings)
    _check_prompts(read_settings(folder / PROMPTS))
    if len(found) > 2:
        _NORMALIZE.check(read_settings(folder / found[2][1] / CONFIG))
    length = settings.get("max_seq_length")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise SpecError(f"{file} says max_seq_length: {short(length)}, which is no number of tokens")
    pool = _pool(folder, found[1][1]) if len(found) > 1 else ""
    return Sentences(pool, len(found) > 2, length, switch(settings, "do_lower_case", file))


def module_files(folder: Path) -> list[str]:
    """The settings files of the modules in modules.json; modules outside of the folder are left out."""
    found = _modules(read_json(folder / MODULES) or [])
    sisters = SISTERS if found and not (folder / SENTENCES).is_file() else ()
    return [*sisters, *(f"{path}/{CONFIG}" for _, path in found if path)]


def _modules(found: Any) -> list[tuple[str, str]]:
    """The kind and the folder of each module."""
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise SpecError(f"{MODULES} is no list of modules")
    return [(_kind(one.get("type")), _path(one.get("path", ""))) for one in found]


def _kind(name: Any) -> str:
    """The name of a class of sentence_transformers without its package; the full name of any other class."""
    name = str(name)
    return name.rpartition(".")[2] if name.startswith("sentence_transformers.") else name


def _path(path: Any) -> str:
    if not isinstance(path, str) or (path and not _FOLDER.fullmatch(path)):
        raise SpecError(f"{MODULES} names the folder {short(path)}, which is none beside it")
    return path


def _pool(folder: Path, path: str) -> str:
    name = f"{path}/{CONFIG}"
    settings = read_json(folder / path / CONFIG)
    if not isinstance(settings, dict) or not path:
        raise SpecError(f"{MODULES} names a Pooling module, but {name} is missing or no object")
    _POOLING.check(settings)
    modes = settings.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _OLD_MODES.items() if switch(settings, key, name)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in MODES:
        raise SpecError(f"{name} says pooling_mode: {short(modes)}, and the zoo has one of {list(MODES)}")
    return MODES[modes[0]]


def _check_prompts(settings: Mapping[str, Any]) -> None:
    _MODEL.check(settings)
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts") or {}
    if name is not None and (not isinstance(prompts, Mapping) or prompts.get(name) != ""):
        raise SpecError(
            f"{PROMPTS} says default_prompt_name: {short(name)}, a text that stands before every other one: write it "
            "there yourself, and take the setting out"
        )
