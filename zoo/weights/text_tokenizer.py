"""Read the tokenizer of a transformers folder, as the text of a tokenizer.json. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.spec import SpecError
from zoo.weights import json_text
from zoo.weights.added_tokens import SETTINGS, add_tokens, content, merged
from zoo.weights.piece_tokenizers import KIND, compact, made_of_pieces
from zoo.weights.settings import Table, read_settings, short, switch
from zoo.weights.translation_names import TRANSLATORS
from zoo.weights.vocabularies import MAX_TOKENIZER, made_of_vocabulary

TOKENIZER = "tokenizer.json"
UNLIMITED = 10**6  # tokens; transformers writes a huge number for a tokenizer without limit
# tokenizer.json describes the whole tokenizer. Only these settings override it; all other settings repeat its content.
_TABLE = Table(
    SETTINGS,
    allowed={"truncation_side": ("right", None), "split_special_tokens": (False, None), "add_eos_token": (False, None)},
)
_MADE = _TABLE.more(allowed={"add_bos_token": (False, None)})  # of a vocabulary alone; tokenizer.json says it itself
# Of the classes of transformers that make a tokenizer anew of its settings: the special tokens that are usual.
_CLASSES = {
    "BertTokenizer": {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
                      "mask_token": "[MASK]"},
    "RobertaTokenizer": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
                         "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"},
    "GPT2Tokenizer": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
}  # fmt: skip
_CLASSES["DistilBertTokenizer"] = _CLASSES["ElectraTokenizer"] = _CLASSES["BertTokenizer"]
_MODELS = {name: "WordPiece" if _CLASSES[name] is _CLASSES["BertTokenizer"] else "BPE" for name in _CLASSES}
_USUAL = {
    "bert": "BertTokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "roberta": "RobertaTokenizer",
    "gpt2": "GPT2Tokenizer",
}
# Of the model of those classes: the part of tokenizer.json, its type, and setting -> its key and its usual value.
_ABOVE: dict[str, tuple[str, str, dict[str, tuple[str, bool | None]]]] = {
    "WordPiece": ("normalizer", "BertNormalizer", {
        "do_lower_case": ("lowercase", True),
        "strip_accents": ("strip_accents", None),
        "tokenize_chinese_chars": ("handle_chinese_chars", True),
    }),
    "BPE": ("pre_tokenizer", "ByteLevel", {"add_prefix_space": ("add_prefix_space", False)}),
}  # fmt: skip


def tokenizer_of(folder: Path, kind: str, config: Mapping[str, Any], *, lower: bool = False) -> str:
    """The folder's tokenizer.json, compact; made of its vocabulary where there is only that; else empty.

    `config` is the network's config.json. `lower`: texts are lowered first. Raises ValueError for a tokenizer that is
    too large or no JSON, or one with a setting that the zoo's has not.
    """
    settings, file = merged(folder), folder / TOKENIZER
    named = content(settings.get("tokenizer_class") or config.get("tokenizer_class")).removesuffix("Fast")
    explicit, named = bool(named), named or _USUAL.get(kind, "")
    table = _TABLE
    if file.is_file():
        found = json_text.read_json(file, MAX_TOKENIZER)
    elif kind in TRANSLATORS:
        found = made_of_pieces(folder, kind, settings)
        if found is None or found.get("type") == KIND:
            return "" if found is None else compact(found)
    elif (found := made_of_vocabulary(folder, kind, settings)) is None:
        return ""
    elif _MODELS.get(named) != _MODELS[_USUAL[kind]]:
        raise SpecError(
            f"its tokenizer_class is {short(named)}, and of a vocabulary alone the zoo makes a {_USUAL[kind]}: write "
            f"the {TOKENIZER} of that class with transformers"
        )
    else:
        table = _MADE
    if not isinstance(found, dict):
        return json.dumps(found)
    table.check({key: value for key, value in settings.items() if key in table.allowed})
    longest(folder)
    model = found.get("model")
    if isinstance(model, dict) and isinstance(model.get("vocab"), (dict, list)):
        kind_of_model = model.get("type", _MODELS.get(named))
        ours = _MODELS.get(named) == kind_of_model is not None
        if explicit and named in _MODELS and not ours:
            raise SpecError(
                f"its tokenizer_class is {short(named)}, which reads {_MODELS[named]} vocabularies, and {TOKENIZER} "
                f"holds {short(kind_of_model)}: write there the tokenizer that the network was trained with, and name "
                "its class, or PreTrainedTokenizerFast"
            )
        if ours:
            _set_above(found, settings, _ABOVE[_MODELS[named]])
            _check_marks(found, settings, _CLASSES[named])
        add_tokens(found, settings, _CLASSES[named] if ours else {}, folder, config.get("vocab_size", 0))
    if lower:
        rest = [] if found.get("normalizer") is None else [found["normalizer"]]
        found["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *rest]}
    return compact(found)


def longest(folder: Path) -> int | None:
    """The largest number of tokens that the tokenizer's settings allow; None if there is no limit. Raises SpecError."""
    most = read_settings(folder / SETTINGS).get("model_max_length")
    if most is None:
        return None
    if isinstance(most, bool) or not isinstance(most, (int, float)) or most < 1:
        raise SpecError(f"{SETTINGS} says model_max_length: {short(most)}, which is no number of tokens")
    return int(most) if most <= UNLIMITED else None


def _set_above(
    found: dict[str, Any], settings: Mapping[str, Any], above: tuple[str, str, dict[str, tuple[str, bool | None]]]
) -> None:
    """Set what stands above a part of tokenizer.json; refuse what does not fit a part of another type."""
    part, kind, names = above
    place = found.get(part)
    for key, (name, usual) in names.items():
        switch(settings, key, SETTINGS)
        value = settings.get(key, usual)
        if isinstance(place, dict) and place.get("type") == kind:
            place[name] = value
        elif key in settings and bool(value) != _inside(place, kind, name):
            raise SpecError(
                f"{SETTINGS} says {key}: {short(value)}, and the {part} of {TOKENIZER} does not: write there what the "
                "network was trained with, and take the setting out"
            )


def _inside(place: Any, kind: str, name: str) -> bool:
    """Whether a part of another type does, in one of its own parts, what a setting asks for."""
    kinds = list(_parts(place))
    lower = name == "lowercase" and any(one.get("type") == "Lowercase" for one in kinds)
    accents = name == "strip_accents" and any(one.get("type") == "StripAccents" for one in kinds)
    return lower or accents or any(one.get("type") == kind and bool(one.get(name)) for one in kinds)


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """A part of a tokenizer.json, and the parts that a sequence has."""
    if isinstance(part, dict):
        yield part
        for one in part.values():
            if isinstance(one, list):
                for inner in one:
                    yield from _parts(inner)


def _check_marks(found: Mapping[str, Any], settings: Mapping[str, Any], usual: Mapping[str, str]) -> None:
    """Refuse other marks around a text, or another token for unknown words, than tokenizer.json has."""
    has = {"unk_token": {found["model"].get("unk_token")} - {None}}
    has |= dict.fromkeys(("cls_token", "sep_token"), _marks(found))
    for key, tokens in has.items():
        if tokens and key in usual and (said := content(settings.get(key))) and said not in tokens:
            raise SpecError(
                f"its settings say {key}: {short(said)}, and {TOKENIZER} has {short(sorted(tokens))}: write the same "
                "there"
            )


def _marks(found: Mapping[str, Any]) -> set[str]:
    """The special tokens that stand around a text alone."""
    marks = set()
    for part in _parts(found.get("post_processor")):
        if part.get("type") == "TemplateProcessing":
            single = [one for one in part.get("single") or [] if isinstance(one, dict)]
            marks |= {str(one["SpecialToken"]["id"]) for one in single if "SpecialToken" in one}
        marks |= {str(part[end][0]) for end in ("cls", "sep") if isinstance(part.get(end), list)}
    return marks
