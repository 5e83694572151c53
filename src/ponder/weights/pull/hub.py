"""What a repository on the Hugging Face Hub, or on a mirror of it, offers."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder.core.errors import PullError
from ponder.weights.pull.choice import choose_files
from ponder.weights.pull.download import RemoteFile, reason

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

HUB = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The files of a repository at one commit that are to be fetched."""

    source: str
    revision: str
    licence: str | None
    files: tuple[RemoteFile, ...]


def hub_endpoint() -> str:
    """`HF_ENDPOINT`, or the Hub itself."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def look_up(hub_id: str, revision: str | None = None, pattern: str | None = None) -> Repository:
    """Ask the Hub for a repository's files with their sizes and hashes. `pattern` chooses weights by name.

    Raises `PullError` for an unknown or closed repository, an unknown revision, and a Hub that cannot be reached.
    """
    from huggingface_hub import HfApi, get_token, hf_hub_url  # takes a second, which other commands need not wait for

    endpoint = hub_endpoint()
    where = f"{endpoint}/{hub_id}"
    info = _model_info(HfApi(endpoint=endpoint, library_name="ponder"), hub_id, revision, endpoint)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    names = choose_files({name: sibling.size for name, sibling in siblings.items()}, where, pattern)
    if info.sha is None:
        raise PullError(
            f"{where}: the answer names no commit; check that HF_ENDPOINT = {endpoint} is a mirror of the Hub"
        )
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    files = []
    for name in names:
        sibling = siblings[name]
        files.append(
            RemoteFile(
                name=name,
                url=hf_hub_url(hub_id, name, revision=info.sha, endpoint=endpoint),
                size=sibling.size,
                sha256=sibling.lfs.sha256 if sibling.lfs else None,
                git_sha1=None if sibling.lfs else sibling.blob_id,
                headers=headers,
            )
        )
    licence = getattr(info.card_data, "license", None) if info.card_data else None
    return Repository(
        source=where,
        revision=info.sha,
        licence=", ".join(licence) if isinstance(licence, list) else licence,
        files=tuple(files),
    )


def _model_info(api: "HfApi", hub_id: str, revision: str | None, endpoint: str) -> "ModelInfo":
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{endpoint}/{hub_id}"
    try:
        return api.model_info(hub_id, revision=revision, files_metadata=True, timeout=30.0)
    except GatedRepoError:
        problem = (
            f"{where} is gated: accept its terms on that page, make a token under {endpoint}/settings/tokens, and set "
            "it with: export HF_TOKEN=…"
        )
    except RepositoryNotFoundError:
        problem = (
            f"{endpoint} has no model {hub_id!r}, or it is private; check the name (owner/name), or set HF_TOKEN if "
            "it is yours. Models with a short name: ponder models"
        )
    except RevisionNotFoundError:
        problem = f"{where} has no revision {revision!r}; expected a branch, a tag or a commit, such as main"
    except OfflineModeIsEnabled:
        problem = f"HF_HUB_OFFLINE is set, so {endpoint} is not asked; unset it to pull {hub_id}"
    except HFValidationError as error:
        problem = f"{hub_id!r} is no Hub id: {error}"
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = "set a valid HF_TOKEN" if status in (401, 403) else "try again later"
        problem = f"{endpoint} answers {status} for {hub_id}; {advice}, or choose a mirror with HF_ENDPOINT"
    except Exception as error:  # noqa: BLE001  # errors of the Hub's HTTP client, which differs between its versions
        problem = (
            f"{endpoint} cannot be reached ({reason(error)}). Check the network and the proxy; a mirror is chosen with "
            "HF_ENDPOINT=https://…, and a folder or file that is here already is pulled by its path. "
            "smollm2-135m-instruct comes from the Python package index instead"
        )
    raise PullError(problem)
