"""The words of a model card: what the files are, how they are used, what they were made with and of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..evaluation.names import SCORES
from ..reading.plain_text import plain
from .manifest import FOLDERS, MANIFEST, Kind, PublishedFile
from .run_record import RunRecord, last_values

_NODES: dict[Kind, str] = {
    "vae": "Load DA-VAE",
    "adapter": "Load DA-VAE SD3.5 Model, together with the base it was trained on",
    "merged": "Load DA-VAE SD3.5 Model",
}
PACK = "https://github.com/davae/davae-comfyui"
_ROLES = {
    "base": "pretrained transformer (fingerprint)",
    "base_name": "pretrained transformer (file)",
    "vae": "DA-VAE (hash of its encoding weights)",
    "base_encoder": "pretrained VAE's encoder (hash)",
    "adapter": "adapter (hash)",
}
"""What a file's parents are, by their roles (davae_core/format.py)."""


@dataclass(frozen=True)
class Described:
    """A published file, what `davae inspect` says of it, its parents by role, and what its latents are known by."""

    file: PublishedFile
    lines: tuple[str, ...]
    parents: Mapping[str, str]
    encoding: str | None


@dataclass(frozen=True)
class RunShown:
    """A run, and what of it lies in the folder: its curves and its pictures, None and empty where there are none."""

    record: RunRecord
    curves: str | None
    pictures: tuple[str, ...]


def card_text(
    title: str,
    repository: str,
    files: Sequence[Described],
    data: str,
    runs: Sequence[RunShown],
    evaluation: Mapping[str, Any] | None,
    others: Mapping[str, str],
) -> str:
    """The Markdown below the front matter. `others`: the hashes of the files in the folder that are no weights."""
    parts = [
        f"# {title}\n",
        _what_it_is(files),
        _how_to_use(repository, files),
        f"## Data and licences\n\n{data}\n",
        *[_run(run) for run in runs],
        *([] if evaluation is None else [_evaluation(evaluation)]),
        _parents(files),
        _files(files, others),
    ]
    return "\n".join(parts)


def _what_it_is(files: Sequence[Described]) -> str:
    intro = (
        "Made with DA-VAE for ComfyUI. A DA-VAE ([arXiv 2603.22125](https://arxiv.org/abs/2603.22125)) keeps a "
        "pretrained VAE's latent and appends detail channels to it, so that a picture of twice the side takes as many "
        "tokens."
    )
    lines = [
        line for each in files for line in ("", f"**{each.file.name}**", "", *_bullets(each.lines))
    ]
    return "\n".join([intro, *lines, ""])


def _bullets(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _how_to_use(repository: str, files: Sequence[Described]) -> str:
    rows = [
        f"| {each.file.name} | ComfyUI/models/{FOLDERS[each.file.kind]} | {_NODES[each.file.kind]} |"
        for each in files
    ]
    return "\n".join(
        [
            "## Use in ComfyUI",
            "",
            f"1. Install the nodes: [{PACK}]({PACK}).",
            "2. Put the files into ComfyUI's folders, by hand or with",
            "",
            f"       davae fetch {repository} --comfyui ComfyUI",
            "",
            "   which compares each file with its hash.",
            "3. Load them with the nodes below; a pair that does not belong together is refused in one sentence.",
            "",
            "| file | folder | node |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _run(run: RunShown) -> str:
    record = run.record
    lines = [f"## Training: {record.name}", ""]
    lines += [f"- {name}: {value}" for name, value in _facts(record).items()]
    if run.curves is not None:
        lines += ["", f"![training curves of {record.name}]({run.curves})"]
    if run.pictures:
        lines += ["", "Pictures that the run drew last, not chosen:", ""]
        lines += [f"![a picture of {record.name}]({picture})" for picture in run.pictures]
    settings = json.dumps(record.settings, indent=1).replace("`", "'")
    lines += ["", "<details><summary>All settings of the run</summary>", ""]
    lines += ["```json", settings, "```", "", "</details>", ""]
    return "\n".join(lines)


def _facts(record: RunRecord) -> dict[str, str]:
    state, found = record.state, {}
    if "step" in state:
        found["steps"] = f"{state['step']:,}"
    if "samples_per_step" in state:
        found["samples per step"] = f"{state['samples_per_step']:,}"
    if "wall_seconds" in state:
        found["hours"] = f"{state['wall_seconds'] / 3600:.1f}"
    if "skipped_steps" in state:
        found["steps left out because something was not finite"] = f"{state['skipped_steps']}"
    last = last_values(record, "validation")
    aside = ("event", "step", "cpu_seconds")
    shown = ", ".join(f"{name} {value:.4g}" for name, value in last.items() if name not in aside)
    if shown:
        found[f"held out, after step {last['step']}"] = shown
    return found


def _evaluation(evaluation: Mapping[str, Any]) -> str:
    results = evaluation["results"]
    columns = [name for name in SCORES if any(name in each["scores"] for each in results)]
    lines = [
        "## Evaluation",
        "",
        "By `davae evaluate`; its whole report lies beside this card.",
        "",
    ]
    lines += ["| | pictures | " + " | ".join(SCORES[name].title for name in columns) + " |"]
    lines += ["|---" * (2 + len(columns)) + "|"]
    for result in results:
        cells = [_score(result["scores"].get(name), name) for name in columns]
        lines.append(f"| {result['name']} | {result['pictures']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _score(value: float | None, name: str) -> str:
    return "-" if value is None else f"{value:.{SCORES[name].decimals}f}"


def _parents(files: Sequence[Described]) -> str:
    rows = [
        f"| {each.file.name} | {_ROLES.get(role, plain(role))} | `{plain(value)}` |"
        for each in files
        for role, value in each.parents.items()
    ]
    rows += [
        f"| {each.file.name} | itself (hash of its encoding weights) | `{each.encoding}` |"
        for each in files
        if each.encoding is not None
    ]
    if not rows:
        return "## Made from\n\nThe files do not say what they were made from.\n"
    return "\n".join(
        ["## Made from", "", "| file | parent | known by |", "|---|---|---|", *rows, ""]
    )


def _files(files: Sequence[Described], others: Mapping[str, str]) -> str:
    rows = [f"| {e.file.name} | {e.file.bytes:,} | `{e.file.sha256}` |" for e in files]
    rows += [f"| {name} | | `{digest}` |" for name, digest in others.items()]
    return "\n".join(
        [
            "## Files",
            "",
            f"`{MANIFEST}` has the sizes and hashes of the weights for `davae fetch`.",
            "",
            "| file | bytes | SHA-256 |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
