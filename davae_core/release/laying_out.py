"""`davae card`: a folder that is ready for upload, with weights, card, manifest, curves, pictures and recipes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..codec.latent_files import encoding_hash
from ..files import file_hash, write_atomically, write_text
from ..format import KIND_CODEC
from ..images import read_image, write_image
from ..inspection import inspect_file
from ..reading.plain_text import SentenceError
from .card_text import Described, RunShown, card_text
from .curves import draw_curves
from .evaluation_report import results_of
from .front_matter import Terms, check_repository, check_terms, with_front_matter
from .manifest import published, write_manifest
from .run_record import LOG, RunRecord, log_text, read_run, run_of

CARD = "README.md"
PICTURES = "pictures"
MOST_PICTURES = 8
"""Of a run; the first of what it drew last."""


@dataclass(frozen=True)
class Publication:
    """What is published: files, runs (None: those whose folders the files lie in), statements, report, and names."""

    files: tuple[Path, ...]
    runs: tuple[Path, ...] | None
    terms: Terms
    data: str
    evaluation: Path | None
    repository: str
    title: str


def lay_out(publication: Publication, folder: Path) -> None:
    """Write everything into `folder`, which must be new or empty. Nothing is written elsewhere, nothing uploaded.

    Raises SentenceError or CheckpointError, before anything is written where that can be known; then, and when it is
    interrupted, the folder goes again.
    """
    check_terms(publication.terms)
    check_repository(publication.repository)
    _require_empty(folder)
    described = _described(publication.files)
    records = [read_run(path) for path in _runs(publication)]
    _require_other_names([record.name for record in records], "runs")
    hashes = [each.file.sha256 for each in described]
    report = None
    if publication.evaluation is not None:
        report = results_of(publication.evaluation, hashes)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _write(publication, described, records, report, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write(
    publication: Publication,
    described: Sequence[Described],
    records: Sequence[RunRecord],
    report: dict[str, Any] | None,
    folder: Path,
) -> None:
    shown = [_write_run(record, folder) for record in records]
    if report is not None:
        write_text(folder / "evaluation.json", json.dumps(report, indent=2) + "\n")
    others = {
        path.relative_to(folder).as_posix(): file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    card = _card(publication, described, shown, report, others)
    private = _private_places(publication, folder)
    _refuse_leaks(card, CARD, private)
    for name in others:
        if not name.endswith(".png"):
            _refuse_leaks((folder / name).read_text(encoding="utf-8"), name, private)
    for path, each in zip(publication.files, described, strict=True):
        _copy(path, folder / each.file.name, each.file.sha256)
    write_manifest(folder, [each.file for each in described])
    write_text(folder / CARD, card)


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SentenceError(f"{folder} is there already and not empty: name a new folder with -o.")


def _described(files: Sequence[Path]) -> list[Described]:
    _require_other_names([path.name for path in files], "files")
    found = []
    for path in files:
        file, inspected = published(path), inspect_file(path)
        parents = inspected.data["metadata"].get("parents", {})
        encoding = encoding_hash(path) if file.kind == KIND_CODEC else None
        found.append(Described(file, inspected.lines, parents, encoding))
    _require_pairs(found)
    return found


def _require_pairs(files: Sequence[Described]) -> None:
    """Raise SentenceError where none of the DA-VAEs is the one that a model was trained with."""
    codecs = {each.encoding for each in files if each.encoding is not None}
    for each in files:
        wanted = each.parents.get("vae")
        if each.encoding is None and codecs and wanted is not None and wanted not in codecs:
            raise SentenceError(
                f"{each.file.name} was trained with another DA-VAE than those that are published with it: give that "
                "one."
            )


def _require_other_names(names: Sequence[str], what: str) -> None:
    lowered = [name.lower() for name in names]
    for name in names:
        if lowered.count(name.lower()) > 1:
            raise SentenceError(f"Two {what} are called {name}: rename one.")


def _runs(publication: Publication) -> Iterable[Path]:
    if publication.runs is not None:
        return publication.runs
    return dict.fromkeys(run for path in publication.files if (run := run_of(path)) is not None)


def _write_run(record: RunRecord, folder: Path) -> RunShown:
    """Put a run's recipe, log, curves and pictures into the folder."""
    stem = re.sub(r"[^\w.-]", "_", record.name)
    recipe = {"settings": record.settings, "state": record.state}
    write_text(folder / f"recipe_{stem}.json", json.dumps(recipe, indent=1) + "\n")
    write_text(folder / f"{Path(LOG).stem}_{stem}.jsonl", log_text(record))
    curves = f"curves_{stem}.png"
    drawn = draw_curves(record, folder / curves)
    pictures = []
    for path in record.pictures[:MOST_PICTURES]:
        name = f"{PICTURES}/{stem}_{path.stem}.png"
        (folder / PICTURES).mkdir(exist_ok=True)
        # Read and written anew: what a file says beside its pixels stays here.
        write_image(folder / name, read_image(path))
        pictures.append(name)
    return RunShown(record, curves if drawn else None, tuple(pictures))


def _card(
    publication: Publication,
    described: Sequence[Described],
    shown: Sequence[RunShown],
    report: dict[str, Any] | None,
    others: dict[str, str],
) -> str:
    text = card_text(
        publication.title,
        publication.repository,
        described,
        publication.data,
        shown,
        report,
        others,
    )
    return with_front_matter(publication.terms, [each.file.kind for each in described], text)


def _private_places(publication: Publication, folder: Path) -> list[str]:
    """Folders of this computer that nobody else need know."""
    given = [*publication.files, *(publication.runs or ()), publication.evaluation, folder]
    places = {path.resolve().parent for path in given if path is not None}
    places |= {Path.home().resolve(), Path.cwd()}
    return sorted(str(place) for place in places if len(place.parts) > 1)


def _refuse_leaks(text: str, name: str, places: Sequence[str]) -> None:
    for place in places:
        if re.search(re.escape(place) + r"(?![\w.-])", text) or place.replace("\\", "\\\\") in text:
            raise SentenceError(
                f"{name} would tell of the folder {place} on this computer: take it out of --data, or out of the name "
                "of a file or setting."
            )


def _copy(source: Path, target: Path, sha256: str) -> None:
    def fill(part: Path) -> None:
        shutil.copyfile(source, part)
        if file_hash(part) != sha256:
            raise SentenceError(f"{source} changed while it was copied: wait until it is finished.")

    write_atomically(target, fill)
