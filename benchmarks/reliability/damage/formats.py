"""Every way to damage a file of each format: safetensors, JSON, YAML, pickles, tar, pictures, and any bytes."""

from __future__ import annotations

import struct

from .any_bytes import BYTES, Damage, Maker
from .pickles import PICKLE
from .pictures import PICTURE
from .safetensors_files import SAFETENSORS
from .tars import TAR
from .text_files import JSON, YAML
from .values import Random

MAKERS: dict[str, tuple[Maker, ...]] = {
    "safetensors": SAFETENSORS,
    "json": JSON,
    "yaml": YAML,
    "pickle": PICKLE,
    "tar": TAR,
    "picture": PICTURE,
}
"""The ways to damage each format beyond those for any bytes."""


def damaged(form: str, whole: bytes, random: Random) -> Damage:
    """One of the ways to damage a file of this format; a quarter of the time one that knows nothing of it."""
    own = MAKERS.get(form, ())
    makers = BYTES if not own or random.random() < 0.25 else own
    try:
        return random.choice(makers)(whole, random)
    except (ValueError, LookupError, struct.error, OSError, TypeError):
        # What is not whole to begin with has no parts to change.
        return random.choice(BYTES)(whole, random)
