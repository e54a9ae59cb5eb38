"""Computing the scores that the given files allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

import torch
from torch import Tensor

from ..images import ImageError, from_bytes
from ..metrics import psnr, ssim
from .clip_similarity import clip_score
from .distances import LEAST, frechet_distance, kernel_distance
from .inception import inception_features
from .networks import WITHOUT, Networks
from .pictures import PictureSet
from .progress import Progress

_OF_PAIRS = ("psnr", "ssim", "lpips")


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
        return _features(self.pictures, self._networks, self._progress, "real pictures")


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
    _distances(found, name, pictures, reference, rebuilt, networks, progress)
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


def _distances(
    found: Judgement,
    name: str,
    pictures: PictureSet,
    reference: Reference | None,
    rebuilt: bool,
    networks: Networks,
    progress: Progress,
) -> None:
    fid = "rfid" if rebuilt else "fid"
    if networks.inception is None:
        found.left_out.update(dict.fromkeys((fid, "kid"), WITHOUT["inception"]))
        return
    if reference is None:
        found.left_out.update(dict.fromkeys((fid, "kid"), "no --real was given"))
        return
    if min(len(pictures.files), len(reference.pictures.files)) < LEAST:
        found.left_out.update(dict.fromkeys((fid, "kid"), f"fewer than {LEAST} pictures"))
        return
    features = _features(pictures, networks, progress, name)
    found.scores[fid] = frechet_distance(features, reference.features)
    kernel = kernel_distance(features, reference.features)
    found.scores.update(kid=kernel.mean, kid_std=kernel.std)


def _features(pictures: PictureSet, networks: Networks, progress: Progress, whose: str) -> Tensor:
    assert networks.inception is not None
    names = progress(list(pictures.files), f"features of {whose}")
    return inception_features(networks.inception, pictures, names, networks.device)


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
