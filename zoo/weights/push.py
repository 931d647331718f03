"""`push_to_hub`: upload a model to a repository that `zoo.load` can open."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.checks import check_flag, check_told
from zoo.model.build import Model
from zoo.printable import one_line
from zoo.weights.card import Figure, Publication, card
from zoo.weights.container import INDEX
from zoo.weights.file import encoded
from zoo.weights.folder_writer import README, write_folder, written_by_hand
from zoo.weights.for_timm import is_timm, timm_config
from zoo.weights.header import source_of
from zoo.weights.hub import SCHEMES, Address, read_address
from zoo.weights.hub_errors import HubError, http_answer
from zoo.weights.patience import patient

if TYPE_CHECKING:
    from zoo.catalog.manifest import Metric
    from zoo.report.evaluate import Evaluation

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
    """Upload a network to the Hugging Face Hub: model.safetensors, config.json and a model card.

    The repository is created if it is missing. A dense network that timm has is written under timm's names, so that
    `timm.create_model("hf-hub:...")` reads it too. A README.md that somebody wrote or edited there is kept, with a
    warning.

    Args:
        model (Model): the network.
        repo_id (str): the repository, "organisation/name".
        measured (Evaluation | Metric | Sequence): figures for the card: what `zoo.evaluate` returns, or
            `zoo.info(name).metric`. Default: none.
        licence (str): the licence in the card. Default: "", that of the weights that the network came from.
        base_model (str): the repository of the base model in the card. Default: "", as for `licence`.
        private (bool | None): whether a new repository is private; an existing one must agree. Default: None, as it
            is, or as the account makes new ones.
        commit_message (str): the commit's message. Default: "", one with the network's name.
        create_pr (bool): propose the change as a pull request, instead of writing. Default: False.
        revision (str | None): the branch to write to. Default: None, the main branch.
        token (str | None): a token that may write. Default: None, HF_TOKEN or that of `hf auth login`.
        max_shard_size (int): bytes from which the weights are split over several files. Default: 5,000,000,000.

    Returns:
        The address of the commit, or of the pull request.

    Raises:
        FileError: the model was changed by hand, so that its spec does not rebuild it.
        HubError: the Hub cannot be reached, or refuses.
        ValueError: an argument is of another type, or empty.

    Example::

        model = zoo.create("resnet20-int8")
        zoo.push_to_hub(model, "my-name/resnet20-int8", measured=zoo.info("resnet20-int8").metric, private=True)
    """
    if not isinstance(repo_id, str):
        raise ValueError(f'repo_id= takes "organisation/name", not {repo_id!r}.')
    for name, flag in (("private", private), ("create_pr", create_pr)):
        if flag is not None:
            check_flag(name, flag)
    check_told(repo_id=repo_id, revision=revision, token=token)
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
        timm=is_timm(model.spec),
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
            config=timm_config(model) if publication.timm else {},
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
        with patient():
            _check_private(api, address, private)
            api.create_repo(address.repo, private=private, exist_ok=True)
            if _has_own_readme(address, revision, token):
                (folder / README).unlink()
                warnings.warn(
                    f"{address}: its {README} was written or edited by hand, so it stays as it is, without the "
                    "figures, licence and base model of this call. Delete it there for a new one.",
                    UserWarning,
                    stacklevel=3,
                )
            done = api.upload_folder(
                repo_id=address.repo,
                folder_path=folder,
                commit_message=message,
                create_pr=create_pr,
                revision=revision,
                delete_patterns=["model*.safetensors", INDEX],  # weights of an earlier push, in one file or several
            )
    except HubError:
        raise
    except Exception as error:
        raise _refused(error, address) from error
    return done.pr_url or done.commit_url


def _check_private(api: Any, address: Address, private: bool | None) -> None:
    """Raise HubError if the repository exists and is private although `private` is not, or the other way round."""
    from huggingface_hub.errors import RepositoryNotFoundError

    if private is None:
        return
    try:
        found = bool(api.repo_info(address.repo).private)
    except RepositoryNotFoundError:
        return
    if found != private:
        raise HubError(
            f"{address}: is there already, and {'private' if found else 'public'}; private= is for a new repository. "
            "Leave it out, or change the repository in its settings."
        )


def _has_own_readme(address: Address, revision: str | None, token: str | None) -> bool:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

    with tempfile.TemporaryDirectory() as folder:
        try:
            found = hf_hub_download(address.repo, README, revision=revision, token=token, local_dir=folder)
        except (EntryNotFoundError, RevisionNotFoundError):
            return False
        return written_by_hand(Path(found))


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
