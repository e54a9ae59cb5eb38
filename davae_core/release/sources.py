"""Where published files come from: a folder that `davae card` laid out, or a repository on Hugging Face."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..reading.plain_text import SentenceError, plain
from .manifest import LARGEST, MANIFEST, PublishedFile

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_LAID_OUT = "lay it out with `davae card`, or get the files by hand"


class Source(Protocol):
    """What `davae fetch` takes files from; `name` stands for it in sentences."""

    @property
    def name(self) -> str: ...

    def manifest(self, staging: Path) -> Path:
        """The manifest's file, perhaps in `staging`. Raises SentenceError."""

    def bring(self, file: PublishedFile, staging: Path) -> Path:
        """A file's path, perhaps in `staging`, where a part of it may lie already. Raises SentenceError."""


@dataclass(frozen=True)
class LocalFolder:
    """A folder on this computer."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def manifest(self, staging: Path) -> Path:
        """Raises SentenceError for a folder without one."""
        found = self.path / MANIFEST
        if not found.is_file():
            raise SentenceError(f"{self.path} holds no {MANIFEST}: {_LAID_OUT}.")
        return found

    def bring(self, file: PublishedFile, staging: Path) -> Path:
        """Raises SentenceError where it is missing."""
        found = self.path / file.name
        if not found.is_file():
            raise SentenceError(
                f"{self.path} lacks {file.name}, which its {MANIFEST} names: copy it again."
            )
        return found


@dataclass(frozen=True)
class HubRepository:
    """A repository on Hugging Face, at a revision: a branch, a tag or a commit."""

    name: str
    revision: str

    def manifest(self, staging: Path) -> Path:
        """Downloaded. Raises SentenceError, one for each reason that there can be."""
        return self._download(MANIFEST, LARGEST, staging)

    def bring(self, file: PublishedFile, staging: Path) -> Path:
        """Downloaded, from where an earlier call was stopped; not begun where it has another size than told."""
        return self._download(file.name, file.bytes, staging)

    def _download(self, file: str, most: int, staging: Path) -> Path:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        with _one_sentence(self.name, self.revision, file):
            told = get_hf_file_metadata(hf_hub_url(self.name, file, revision=self.revision))
            if told.size is None or told.size > most:
                raise SentenceError(
                    f"{file} of {self.name} has {told.size} bytes, where at most {most} may be: ask whoever published "
                    "it."
                )
            # What is looked at and what is downloaded are one commit's, whatever is pushed meanwhile.
            commit = told.commit_hash or self.revision
            return Path(hf_hub_download(self.name, file, revision=commit, local_dir=staging))


def source_of(text: str, revision: str | None) -> Source:
    """A folder that is there, else the repository `owner/name`. Raises SentenceError for anything else."""
    path = Path(text).expanduser()
    if path.is_dir():
        if revision is not None:
            raise SentenceError(
                f"{path} is a folder, which has no revisions: leave --revision out."
            )
        return LocalFolder(path)
    if not _REPOSITORY.fullmatch(text):
        raise SentenceError(
            f"{text} is no folder that is there, and no Hugging Face repository such as owner/name: correct it."
        )
    return HubRepository(text, revision or "main")


def remove_staging(staging: Path) -> None:
    """Remove what was staged, and the folder around it if nothing else is in it."""
    shutil.rmtree(staging, ignore_errors=True)
    if staging.parent.is_dir() and not any(staging.parent.iterdir()):
        staging.parent.rmdir()


@contextmanager
def _one_sentence(repository: str, revision: str, file: str) -> Iterator[None]:
    """Turn whatever Hugging Face's client raises into one sentence."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The base of its errors is that of the library it speaks HTTP with, which differs from version to version.
    transport: tuple[Any, ...] = (*HfHubHTTPError.__bases__, OSError)
    try:
        yield
    except GatedRepoError as error:
        raise SentenceError(
            f"{repository} is gated: accept its terms on https://huggingface.co/{repository}, log in with `hf auth "
            "login`, and run this again."
        ) from error
    except RepositoryNotFoundError as error:
        raise SentenceError(
            f"There is no repository {repository} on Hugging Face that you may read: check its name, or log in with "
            "`hf auth login` if it is private."
        ) from error
    except RevisionNotFoundError as error:
        raise SentenceError(
            f"{repository} has no revision {plain(revision)}: name a branch, a tag or a commit of it with --revision."
        ) from error
    except OfflineModeIsEnabled as error:
        raise SentenceError(
            f"{repository} cannot be asked for while HF_HUB_OFFLINE is set: unset it, or name a local folder."
        ) from error
    except LocalEntryNotFoundError as error:
        raise _unreachable(repository) from error
    except EntryNotFoundError as error:
        raise SentenceError(
            f"{repository} holds no {file} at {plain(revision)}: {_LAID_OUT}."
        ) from error
    except HFValidationError as error:
        raise SentenceError(f"{repository} is no name of a repository: correct it.") from error
    except HfHubHTTPError as error:
        said = plain(str(error).split("\n")[0])
        raise SentenceError(
            f"Hugging Face refused {file} of {repository} ({said}): try again later."
        ) from error
    except transport as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename:
            raise
        raise _unreachable(repository) from error


def _unreachable(repository: str) -> SentenceError:
    return SentenceError(
        f"Hugging Face cannot be reached for {repository}: check the network, then run this again; what was fetched "
        "stays."
    )
