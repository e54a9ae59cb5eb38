"""Computing the scores that the given files allow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

import torch
from torch import Tensor

from ..images import ImageError, from_bytes
from ..metrics import psnr, ssim
from .clip_similarity import clip_score
from .distances import LEAST, frechet_distance, kernel_distance
from .inception import Seen, see
from .inception_score import SPLITS, inception_score
from .networks import WITHOUT, Networks
from .pictures import PictureSet
from .precision_recall import LEAST as LEAST_BALLS
from .precision_recall import precision_recall
from .progress import Progress

_OF_PAIRS = ("psnr", "ssim", "lpips")
_OF_DRAWN = ("is", "precision", "recall")


@dataclass(frozen=True)
class Judgement:
    """The scores of one set of pictures by name, and why others are left out."""

    scores: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class Reference:
    """The real pictures that others are compared with; their features are computed once."""

    def __init__(self, pictures: PictureSet, networks: Networks, progress: Progress) -> None:
        self.pictures, self._networks, self._progress = pictures, networks, progress

    @cached_property
    def features(self) -> Tensor:
        """Inception's, [N, 2048]."""
        return _see(self.pictures, self._networks, self._progress, "real pictures").features


def judge(
    name: str,
    pictures: PictureSet,
    reference: Reference | None,
    captions: Mapping[str, str] | None,
    rebuilt: bool,
    networks: Networks,
    progress: Progress,
) -> Judgement:
    """Every score of the pictures that there is what it needs for.

    `rebuilt`: each picture is the real one of its name, and of its size. `name`: the subject's, for progress. Raises
    ImageError.
    """
    found = Judgement()
    _by_inception(found, name, pictures, reference, rebuilt, networks, progress)
    if networks.clip is None:
        found.left_out["clip"] = WITHOUT["clip"]
    elif captions is None:
        found.left_out["clip"] = "not every picture has a caption in a .txt file beside it"
    else:
        names = progress(list(pictures.files), f"CLIP score of {name}")
        found.scores["clip"] = clip_score(networks.clip, pictures, names, captions)
    if reference is None or not rebuilt:
        found.left_out.update(
            dict.fromkeys(_OF_PAIRS, "they compare rebuilt pictures with real ones")
        )
    else:
        _of_pairs(found, name, pictures, reference.pictures, networks, progress)
    return found


def _by_inception(
    found: Judgement,
    name: str,
    pictures: PictureSet,
    reference: Reference | None,
    rebuilt: bool,
    networks: Networks,
    progress: Progress,
) -> None:
    wanted = ["rfid", "kid"] if rebuilt else ["fid", "kid", *_OF_DRAWN]
    if rebuilt:
        found.left_out.update(dict.fromkeys(_OF_DRAWN, "they judge pictures that were drawn"))
    if networks.inception is None:
        found.left_out.update(dict.fromkeys(wanted, WITHOUT["inception"]))
        return
    seen = _see(pictures, networks, progress, name)
    if not rebuilt and _enough(found, ("is",), len(pictures.files), SPLITS):
        found.scores["is"] = inception_score(seen.logits)
    if reference is None:
        without = [each for each in wanted if each != "is"]
        found.left_out.update(dict.fromkeys(without, "no --real was given"))
        return
    fewest = min(len(pictures.files), len(reference.pictures.files))
    if _enough(found, wanted[:2], fewest, LEAST):
        found.scores[wanted[0]] = frechet_distance(seen.features, reference.features)
        kernel = kernel_distance(seen.features, reference.features)
        found.scores.update(kid=kernel.mean, kid_std=kernel.std)
    if not rebuilt and _enough(found, ("precision", "recall"), fewest, LEAST_BALLS):
        shares = precision_recall(seen.features, reference.features)
        found.scores.update(precision=shares.precision, recall=shares.recall)


def _enough(found: Judgement, scores: Iterable[str], pictures: int, least: int) -> bool:
    """Whether there are `least` pictures; else the scores are left out."""
    if pictures < least:
        found.left_out.update(dict.fromkeys(scores, f"fewer than {least} pictures"))
    return pictures >= least


def _see(pictures: PictureSet, networks: Networks, progress: Progress, whose: str) -> Seen:
    assert networks.inception is not None
    names = progress(list(pictures.files), f"features of {whose}")
    return see(networks.inception, pictures, names, networks.device)


@torch.inference_mode()
def _of_pairs(
    found: Judgement,
    name: str,
    pictures: PictureSet,
    real: PictureSet,
    networks: Networks,
    progress: Progress,
) -> None:
    by_score: dict[str, list[float]] = {"psnr": [], "ssim": []}
    if networks.lpips is None:
        found.left_out["lpips"] = WITHOUT["lpips"]
    else:
        by_score["lpips"] = []
    for each in progress(list(pictures.files), f"comparing {name}"):
        first, second = (from_bytes(part.read(each))[None] for part in (pictures, real))
        if first.shape != second.shape:
            raise ImageError(
                f"{pictures.files[each]} has {first.shape[-1]}x{first.shape[-2]} pixels and the real picture "
                f"{second.shape[-1]}x{second.shape[-2]}: rebuilt pictures must have the real ones' size."
            )
        by_score["psnr"].append(float(psnr(first, second)))
        by_score["ssim"].append(float(ssim(first, second)))
        if networks.lpips is not None:
            pair = (part.to(networks.device) for part in (first, second))
            by_score["lpips"].append(float(networks.lpips(*pair)))
    for score, values in by_score.items():
        mean = fmean(values)
        if math.isfinite(mean):
            found.scores[score] = mean
        else:
            found.left_out[score] = "a picture is equal to the real one, so the mean is infinite"
