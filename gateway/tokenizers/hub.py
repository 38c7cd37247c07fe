"""A model's tokenizer files from the HuggingFace hub, by its client: its cache, its token, its offline mode.

Blocking, for threads. Only the few files a tokenizer needs are fetched, and whatever the hub refuses becomes a
sentence that says what to do. A download is cancelled between two files and while bytes come.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.tokenizers.errors import SourceUnusable
from gateway.tokenizers.sources import CONFIG, GENERATION, OLD_TEMPLATE, SPECIALS, TEMPLATE, TOKENIZER

FILES = (TOKENIZER, CONFIG, SPECIALS, GENERATION, TEMPLATE, OLD_TEMPLATE)
"""The first is needed, the others are fetched where they are."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}(/[A-Za-z0-9][\w.\-]{0,95})?(@[\w.\-/]{1,200})?")

Report = Callable[[str], None]
"""Hears what is under way; may raise to end it."""


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Each None: as `huggingface-hub` finds it in its environment (HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE)."""

    token: str | None = None
    cache: Path | None = None
    endpoint: str | None = None
    offline: bool | None = None

    def __repr__(self) -> str:
        token = "None" if self.token is None else "(hidden)"
        return f"HubSettings(token={token}, cache={self.cache}, endpoint={self.endpoint}, offline={self.offline})"


def is_repository(text: str) -> bool:
    """Whether a source has the form of a hub id: `name`, `owner/name`, either with `@revision`."""
    return REPOSITORY.fullmatch(text) is not None and ".." not in text and "--" not in text.split("@")[0]


def fetch(source: str, settings: HubSettings, report: Report) -> Path:
    """The directory with the repository's tokenizer files. Raises SourceUnusable and what `report` raises."""
    repository, _, revision = source.partition("@")
    folder: Path | None = None
    for number, name in enumerate(FILES, 1):
        report(f"{name}, file {number} of {len(FILES)}")
        path = _file(repository, revision or None, name, settings, report)
        if path is None and name == TOKENIZER:
            raise SourceUnusable(
                f"{source}: the repository has no {TOKENIZER}; name one that has, or a directory with one"
            )
        if path is not None and folder is None:
            folder = path.parent
            revision = folder.name  # all files of one commit, even when the branch moves meanwhile
    assert folder is not None
    return folder


def _file(repository: str, revision: str | None, name: str, settings: HubSettings, report: Report) -> Path | None:
    """One file in the cache, fetched if need be; None where the repository has none."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    offline = constants.HF_HUB_OFFLINE if settings.offline is None else settings.offline
    try:
        return Path(
            hf_hub_download(
                repository,
                name,
                revision=revision,
                cache_dir=settings.cache,
                token=settings.token,
                endpoint=settings.endpoint,
                local_files_only=offline,
                tqdm_class=_reporting(report, name),
            )
        )
    except LocalEntryNotFoundError as error:
        if offline and name != TOKENIZER:
            return None
        cause = error.__cause__
        refusal = _refusal(repository, revision, settings, cause) if isinstance(cause, HfHubHTTPError) else None
        raise (refusal or _unreached(repository, name, offline, error)) from None
    except EntryNotFoundError:
        return None
    except Exception as error:
        refusal = _refusal(repository, revision, settings, error)
        if refusal is None:
            raise
        raise refusal from None


def _unreached(repository: str, name: str, offline: bool, error: Exception) -> SourceUnusable:
    if offline:
        return SourceUnusable(
            f"{repository}: {name} is not in the HuggingFace cache and the hub may not be asked (offline mode); "
            "fetch it while online, unset HF_HUB_OFFLINE, or give a local directory"
        )
    return SourceUnusable(
        f"{repository}: the HuggingFace hub could not be reached and {name} is not in its cache "
        f"({_first_line(error.__cause__ or error)}); check the network and HF_ENDPOINT, or give a local directory",
        temporary=True,
    )


def _refusal(repository: str, revision: str | None, settings: HubSettings, error: Exception) -> SourceUnusable | None:
    """What the hub's refusal means for who asked; None for what is no refusal of its."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return SourceUnusable(
                f"{repository}: the repository is gated; accept its terms on the hub with your account and set "
                "HF_TOKEN to a token of it, or give a local directory"
            )
        case errors.RepositoryNotFoundError():
            return SourceUnusable(
                f"{repository}: the hub has no such repository, or it is private; check the spelling, and for a "
                "private one set HF_TOKEN to a token that may read it"
            )
        case errors.RevisionNotFoundError():
            return SourceUnusable(f"{repository}: the repository has no revision {revision!r}")
        case errors.HFValidationError():
            return SourceUnusable(f"{repository}: not the id of a repository: {_first_line(error)}")
        case errors.OfflineModeIsEnabled():
            return _unreached(repository, TOKENIZER, True, error)
        case errors.HfHubHTTPError():
            status = getattr(error.response, "status_code", None)
            if status in (401, 403):
                return SourceUnusable(
                    f"{repository}: the hub refused the token (status {status}); set HF_TOKEN to a valid one"
                )
            return SourceUnusable(
                f"{repository}: the hub answered with status {status}: {_first_line(error)}",
                temporary=status is None or status == 429 or status >= 500,
            )
        case OSError():
            return SourceUnusable(f"{repository}: it could not be fetched: {_first_line(error)}", temporary=True)
        case _ if type(error).__module__.partition(".")[0] in ("httpx", "httpcore", "requests"):
            return SourceUnusable(f"{repository}: it could not be fetched: {_first_line(error)}", temporary=True)
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _reporting(report: Report, name: str) -> type[Any]:
    """A progress bar for the hub's client that draws nothing and reports bytes."""
    from huggingface_hub import utils

    bar: Any = utils.tqdm  # type: ignore[attr-defined]  # untyped there, and named in the documentation only

    class Reporting(bar):  # type: ignore[misc]  # the base is untyped
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)
            self.done = int(kwargs.get("initial") or 0)
            self.whole = kwargs.get("total")

        def update(self, n: float | None = 1) -> bool | None:
            self.done += int(n or 0)
            whole = f" of {self.whole / 1e6:.1f}" if self.whole else ""
            report(f"{name}, {self.done / 1e6:.1f}{whole} MB")
            return None

    return Reporting
