"""`push_to_hub`: a model becomes a repository that needs nothing but itself."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import kinds, registry
from zoo.build import Model
from zoo.spec import ModelSpec
from zoo.weights.card import Figure, Publication, card
from zoo.weights.file import encoded, write_folder
from zoo.weights.header import INDEX, FileError, one_line, source_of
from zoo.weights.hub import SCHEMES, Address, HubError, http_answer, read_address
from zoo.weights.keys import names_in

if TYPE_CHECKING:
    from zoo.evaluate import Evaluation
    from zoo.weights.manifest import Metric

MAX_SHARD = 5_000_000_000  # bytes


def push_to_hub(
    model: Model,
    repo_id: str,
    *,
    measured: Evaluation | Metric | Sequence[Evaluation | Metric] = (),
    licence: str = "",
    base_model: str = "",
    private: bool | None = None,
    commit_message: str = "",
    create_pr: bool = False,
    revision: str | None = None,
    token: str | None = None,
    max_shard_size: int = MAX_SHARD,
) -> str:
    """Upload model.safetensors, config.json and a card to `repo_id`, "organisation/name"; returns the commit's address.

    The repository is created where there is none, `private` or not. A dense network that timm has is written under
    timm's names too, so that `timm.create_model("hf-hub:...")` reads it. The card has the `measured` figures (what
    `zoo.evaluate` returns, or `zoo.info(name).metric`), the licence and the base model, by default those that the
    weights came with. Above `max_shard_size` bytes the weights are split. `create_pr` proposes instead of writing.
    The token is HF_TOKEN's or `hf auth login`'s by default.

    Raises FileError for a model that its spec does not rebuild, HubError for what the Hub refuses.
    """
    address = read_address(repo_id if repo_id.startswith(SCHEMES) else f"hf-hub:{repo_id}")
    assert address is not None
    if address.revision:
        raise HubError(f"{repo_id!r}: give the branch as revision=.")
    figures = tuple(map(_figure, measured if isinstance(measured, Sequence) else (measured,)))
    origin = source_of(model.made)
    publication = Publication(
        repo=address.repo,
        licence=licence or str(origin.get("license", "")),
        base_model=base_model or str(origin.get("repo", "")),
        timm=_is_timm(model.spec),
        figures=figures,
    )
    files = encoded(model, max_shard_size, library="timm" if publication.timm else "")
    with tempfile.TemporaryDirectory() as folder:
        write_folder(
            folder,
            files,
            model.spec,
            model.labels,
            model.made,
            config=_timm_config(model) if publication.timm else {},
            readme=card(model.spec, model.labels, model.made, publication),
        )
        message = commit_message or f"{model.spec.name}, by zoo.push_to_hub"
        return _upload(Path(folder), address, message, private, create_pr, revision, token)


def _upload(
    folder: Path,
    address: Address,
    message: str,
    private: bool | None,
    create_pr: bool,
    revision: str | None,
    token: str | None,
) -> str:
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        api.create_repo(address.repo, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=address.repo,
            folder_path=folder,
            commit_message=message,
            create_pr=create_pr,
            revision=revision,
            delete_patterns=["model*.safetensors", INDEX],  # an earlier push's, in one file or several
        )
    except Exception as error:
        raise _refused(error, address) from error
    return done.pr_url or done.commit_url


def _refused(error: Exception, address: Address) -> HubError:
    status, _ = http_answer(error)
    if status in (401, 403):
        return HubError(
            f"{address}: may not be written ({status}): give a token that may, by HF_TOKEN or `hf auth login`."
        )
    reason = one_line(str(error)) or type(error).__name__
    if status:
        return HubError(f"{address}: the upload was refused ({status}): {reason}")
    return HubError(f"{address}: the upload broke off, and nothing was changed there; call again. {reason}")


def _figure(one: Any) -> Figure:
    if hasattr(one, "metric"):  # an Evaluation
        return Figure(one.metric, one.value, one.source, one.examples, one.sha256)
    return Figure(one.name, one.value, f"{one.dataset} {one.split}", one.examples, one.sha256)


def _is_timm(spec: ModelSpec) -> bool:
    """Whether timm has this very network: dense, of full width, with a classifier of any size."""
    try:
        names_in(spec, "timm")
    except FileError:
        return False
    usual = registry.spec(spec.name, spec.rows[-1].args.get("num_classes"))
    return usual.rows == spec.rows


def _timm_config(model: Model) -> dict[str, Any]:
    """What timm reads of a config.json."""
    spec, names = model.spec, names_in(model.spec, "timm")
    head = spec.rows[-1]
    classes, features = head.args["num_classes"], kinds.layer_widths(head)["in"]
    stem = next(one.name for key, one in names.items() if key.endswith("weight"))
    config = {
        "input_size": [spec.pictures.channels, *spec.pictures.size],
        "interpolation": spec.pictures.interpolation,
        "crop_pct": spec.pictures.crop,
        "crop_mode": "squash" if spec.pictures.squash else "center",
        "mean": list(spec.pictures.mean),
        "std": list(spec.pictures.std),
        "num_classes": classes,
        "first_conv": stem.removesuffix(".weight"),
        "classifier": names[f"{head.name}.fc.weight"].name.removesuffix(".weight"),
    }
    labels = {"label_names": list(model.labels)} if model.labels else {}
    return {"num_classes": classes, "num_features": features, **labels, "pretrained_cfg": {**config, **labels}}
