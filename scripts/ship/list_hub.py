"""Write zoo/catalog/hub.toml: which published weights, of timm and of transformers, are of architectures of the zoo.

    python scripts/ship/list_hub.py

timm's are read from the installed timm, without network, its default weights of an architecture first; transformers'
stand here. Revisions and
hashes that stand in the file already are kept.
"""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import typer

import zoo
from zoo import registry
from zoo.files import write_whole

TABLE = Path(zoo.__file__).parent / "catalog" / "hub.toml"
HEADING = (
    f"# Written by scripts/ship/list_hub.py from timm {timm.__version__}; "
    "`revision` and `sha256` may be added by hand.\n"
)
KEPT = ("revision", "sha256")
APACHE, MIT = "apache-2.0", "mit"
SANH = "by Hugging Face (Sanh et al., 2019)"
CLASSES = {"distilbert_base_uncased.sst2": 2}  # of those that classify
# name -> repository, licence; of the distilled ones also their architecture and who taught them
TRANSFORMERS: dict[str, tuple[str, ...]] = {
    "bert_base_uncased": ("google-bert/bert-base-uncased", APACHE),
    "bert_base_cased": ("google-bert/bert-base-cased", APACHE),
    "bert_large_uncased": ("google-bert/bert-large-uncased", APACHE),
    "bert_large_cased": ("google-bert/bert-large-cased", APACHE),
    "distilbert_base_uncased": ("distilbert/distilbert-base-uncased", APACHE),
    "distilbert_base_uncased.sst2": ("distilbert/distilbert-base-uncased-finetuned-sst-2-english", APACHE),
    "distilbert_base_cased": ("distilbert/distilbert-base-cased", APACHE),
    "roberta_base": ("FacebookAI/roberta-base", MIT),
    "roberta_large": ("FacebookAI/roberta-large", MIT),
    "distilroberta_base": ("distilbert/distilroberta-base", APACHE),
    "all_minilm_l6_v2": ("sentence-transformers/all-MiniLM-L6-v2", APACHE),
    "all_minilm_l12_v2": ("sentence-transformers/all-MiniLM-L12-v2", APACHE),
    "minilm_l6_h384_uncased": ("nreimers/MiniLM-L6-H384-uncased", MIT),
    "minilm_l12_h384_uncased": ("microsoft/MiniLM-L12-H384-uncased", MIT),
    "electra_small": ("google/electra-small-discriminator", APACHE),
    "electra_base": ("google/electra-base-discriminator", APACHE),
    "electra_large": ("google/electra-large-discriminator", APACHE),
    "mpnet_base": ("microsoft/mpnet-base", MIT),
    "all_mpnet_base_v2": ("sentence-transformers/all-mpnet-base-v2", APACHE),
    "albert_base_v2": ("albert/albert-base-v2", APACHE),
    "albert_large_v2": ("albert/albert-large-v2", APACHE),
    "gpt2": ("openai-community/gpt2", MIT),
    "gpt2_medium": ("openai-community/gpt2-medium", MIT),
    "gpt2_large": ("openai-community/gpt2-large", MIT),
    "gpt2_xl": ("openai-community/gpt2-xl", MIT),
    "distilgpt2": ("distilbert/distilgpt2", APACHE),
    "smollm2_135m": ("HuggingFaceTB/SmolLM2-135M", APACHE),
    "smollm2_360m": ("HuggingFaceTB/SmolLM2-360M", APACHE),
    "smollm2_1_7b": ("HuggingFaceTB/SmolLM2-1.7B", APACHE),
    "qwen2_0_5b": ("Qwen/Qwen2-0.5B", APACHE),
    "llama3_2_1b": ("meta-llama/Llama-3.2-1B", "llama3.2"),
    "bert_base_uncased-distilled": (
        "distilbert/distilbert-base-uncased", APACHE, "distilbert_base_uncased", f"bert_base_uncased, {SANH}"
    ),
    "bert_base_cased-distilled": (
        "distilbert/distilbert-base-cased", APACHE, "distilbert_base_cased", f"bert_base_cased, {SANH}"
    ),
    "roberta_base-distilled": ("distilbert/distilroberta-base", APACHE, "distilroberta_base", f"roberta_base, {SANH}"),
    "gpt2-distilled": ("distilbert/distilgpt2", APACHE, "distilgpt2", f"gpt2, {SANH}"),
}  # fmt: skip


def main() -> None:
    before = tomllib.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    tables = dict(_published())
    for name, (repo, licence, *distilled) in TRANSFORMERS.items():
        tables[name] = {"repo": repo, "classes": CLASSES.get(name, 0), "licence": licence}
        tables[name] |= dict(zip(("arch", "teacher"), distilled, strict=False))
    for name, table in tables.items():
        table |= {key: value for key, value in before.get(name, {}).items() if key in KEPT}
    text = HEADING + "".join(f'\n["{name}"]\n{_lines(table)}' for name, table in tables.items())
    write_whole(TABLE, (text.encode(),))
    print(f"{TABLE.name}: {len(tables)} networks")


def _published() -> Iterator[tuple[str, dict[str, Any]]]:
    for arch in registry.MODELS:
        if not timm.is_model(arch):
            continue
        default = timm.get_pretrained_cfg(arch).tag
        names = timm.list_pretrained(f"{arch}.*")
        for name in sorted(names, key=lambda name: (name != f"{arch}.{default}", name)):
            config = timm.get_pretrained_cfg(name)
            if config.hf_hub_id and config.num_classes:  # 0: a trunk that gives no answers
                yield name, {"repo": config.hf_hub_id, "classes": config.num_classes, "licence": config.license or ""}


def _lines(table: dict[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


if __name__ == "__main__":
    typer.run(main)
