"""Where published files come from: a folder that `davae card` laid out, or a repository on Hugging Face."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

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
        from huggingface_hub import hf_hub_download

        with _one_sentence(self.name, self.revision, MANIFEST):
            told = self._told(MANIFEST)
            if told.size is None or told.size > LARGEST:
                raise SentenceError(
                    f"{MANIFEST} of {self.name} has {told.size} bytes, where at most {LARGEST} may be: ask whoever "
                    "published it."
                )
            # What was looked at and what is downloaded are one commit's, whatever is pushed meanwhile.
            commit = told.commit_hash or self.revision
            return Path(hf_hub_download(self.name, MANIFEST, revision=commit, local_dir=staging))

    def bring(self, file: PublishedFile, staging: Path) -> Path:
        """Downloaded, from where an earlier call was stopped; not begun where it has another size than told."""
        from huggingface_hub import get_token
        from huggingface_hub.file_download import http_get

        part = staging / f"{file.sha256}.part"
        with _one_sentence(self.name, self.revision, file.name):
            told = self._told(file.name)
            if told.size != file.bytes:
                raise SentenceError(
                    f"{file.name} of {self.name} has {told.size} bytes and its {MANIFEST} says {file.bytes}: ask "
                    "whoever published it."
                )
            staging.mkdir(parents=True, exist_ok=True)
            token = get_token()
            # The token is Hugging Face's business, not that of where it keeps large files.
            at_home = urlsplit(told.location).netloc == urlsplit(self._address(file.name)).netloc
            headers = {"authorization": f"Bearer {token}"} if token and at_home else {}
            with part.open("ab") as held:
                if held.tell() > file.bytes:
                    held.truncate(0)
                # hf_hub_download begins a file anew in every process; this is what it downloads with.
                http_get(
                    told.location,
                    held,
                    resume_size=held.tell(),
                    headers=headers,
                    expected_size=file.bytes,
                )
        return part

    def _address(self, file: str) -> str:
        from huggingface_hub import hf_hub_url

        return str(hf_hub_url(self.name, file, revision=self.revision))

    def _told(self, file: str) -> Any:
        """Size, commit and place of a file, as Hugging Face tells them."""
        from huggingface_hub import get_hf_file_metadata

        return get_hf_file_metadata(self._address(file))


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
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise SentenceError(
                f"The disk is full while {file} of {repository} is fetched: free some room and run this again; what "
                "was fetched stays."
            ) from error
        if isinstance(error, OSError) and error.filename:
            raise
        raise _unreachable(repository) from error


def _unreachable(repository: str) -> SentenceError:
    return SentenceError(
        f"Hugging Face cannot be reached for {repository}: check the network, then run this again; what was fetched "
        "stays."
    )
