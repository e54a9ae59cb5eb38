"""What the ablation compares: the arms, the references beside them, and what all of them share."""

from __future__ import annotations

from dataclasses import dataclass

from davae_core.transformer.description import Mode

SEEDS = (0, 1, 2, 3, 4)
"""Of an adapter's training (weights, order, noise), and of the noise that its pictures are drawn from."""
STEPS = 600
"""Of every adapter; w(n) rises over the first quarter."""
PRECISION = "fp32"
"""Of training, caches and drawing: without AVX-512 a processor is twenty times slower in bfloat16."""
SIDE, BASE_SIDE = 256, 128
SCENES, HELD_OUT_SCENES = 1500, 64
PICTURES = 2000
"""Drawn per arm and seed, each from the caption of another scene."""
DRAWN_SEED, FLOOR_SEED, HELD_OUT_SEED = 2_000_000, 3_000_000, 1_000_000
"""First scene that captions are taken from, of a second set of real pictures, and of those that errors are taken on."""


@dataclass(frozen=True)
class Sampling:
    """How every picture is drawn: Euler steps and the shift of their levels.

    Guidance 1 is none, so that only what was learned counts. `base_steps` are those of a base under a detail pass.
    """

    steps: int = 10
    shift: float = 3.0
    guidance: float = 1.0
    base_steps: int = 20


@dataclass(frozen=True)
class LearnedCodec:
    """A DA-VAE of D = 16 by the weight of its alignment loss; everything else is mini_davae.yaml."""

    name: str
    weight: float

    @property
    def title(self) -> str:
        """As a reader knows it."""
        return "the DA-VAE" if self == ALIGNED else "the unaligned DA-VAE"


@dataclass(frozen=True)
class PackedCodec:
    """A packed codec of so many detail channels; everything else is as `davae pack` makes it."""

    name: str
    detail_channels: int

    @property
    def title(self) -> str:
        """As a reader knows it."""
        return f"the packed codec, D = {self.detail_channels}"


Codec = LearnedCodec | PackedCodec


@dataclass(frozen=True)
class Adapter:
    """One way to adapt the transformer; `settings` are what differs from the recipe of its mode.

    That is mini_adapter.yaml where base and detail are trained together, mini_detail.yaml where the detail is alone.
    """

    name: str
    codec: Codec
    mode: Mode = "joint"
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arm:
    """Pictures by one adapter: drawn jointly, or as a detail pass on what the untouched transformer drew."""

    name: str
    title: str
    adapter: Adapter
    drawn: Mode


@dataclass(frozen=True)
class Reference:
    """The base transformer as it is: drawn at `side`, then enlarged to SIDE where that is more.

    `base_pass`: not drawn anew, but the very bases that detail passes draw on.
    """

    name: str
    title: str
    side: int
    base_pass: bool = False


ALIGNED, UNALIGNED = LearnedCodec("aligned", 0.02), LearnedCodec("unaligned", 0.0)
PACKED = tuple(PackedCodec(f"packed_{count}", count) for count in (16, 32, 48, 64))
FULL, NO_ALIGNMENT, NO_ZERO_INIT = "full", "no_alignment", "no_zero_init"
NO_SCHEDULE, NO_EDGES = "no_schedule", "no_edge_training"
DETAIL, BASE_UPSAMPLED = "detail", "base_upsampled"
LIGHT = ("optimizer.learning_rate=2e-3",)
"""The recipe's rate divided by 15. At a tenth, 140 steps have not made up for a bad start, where 80 do at the whole."""


def light(name: str) -> str:
    """Name of the arm that is trained at the light rate."""
    return f"{name}_light"


def detail(name: str) -> str:
    """Name of the arm that is a detail pass."""
    return DETAIL if name == FULL else f"{DETAIL}_{name}"


_OFF_ZERO, _BY_LATENT = ("model.zero_init=false",), ("loss.weighting=x0",)
_PARTS: tuple[tuple[str, str, Codec, tuple[str, ...]], ...] = (
    (FULL, "full method", ALIGNED, ()),
    (NO_ALIGNMENT, "without alignment (weight 0)", UNALIGNED, ()),
    (NO_ZERO_INIT, "without zero initialisation", ALIGNED, _OFF_ZERO),
    (NO_SCHEDULE, "without the schedule w(n)", ALIGNED, ("loss.ramp_steps=0",)),
    (NO_EDGES, "base halves of the edge layers frozen", ALIGNED, ("model.train_edges=false",)),
)
"""The paper's parts, each left out once: name, title, codec and settings."""
_OWN_LEVELS = Adapter("own_levels", ALIGNED, "joint", ("loss.base_levels=own",))


def _joint(name: str, title: str, codec: Codec, *settings: str) -> Arm:
    return Arm(name, title, Adapter(name, codec, "joint", settings), "joint")


def _detail(name: str, title: str, codec: Codec, *settings: str) -> Arm:
    own = detail(name)
    return Arm(own, f"detail pass{title}", Adapter(own, codec, "detail", settings), "detail")


JOINT_ARMS = tuple(_joint(name, title, codec, *own) for name, title, codec, own in _PARTS)
LIGHT_ARMS = tuple(
    _joint(light(name), f"{title}, light rate", codec, *LIGHT, *own)
    for name, title, codec, own in _PARTS
)
DETAIL_ARMS = (
    _detail(FULL, "", ALIGNED),
    _detail(NO_ALIGNMENT, ", without alignment (weight 0)", UNALIGNED),
    _detail(NO_ZERO_INIT, ", without zero initialisation", ALIGNED, *_OFF_ZERO),
)
LOSS_ARMS = (
    _joint("x0", "loss of the latent (x0)", ALIGNED, *_BY_LATENT),
    Arm("own_levels", "noise levels of their own for base and detail", _OWN_LEVELS, "joint"),
)
DETAIL_LOSS_ARMS = (
    _detail("x0", ", loss of the latent (x0)", ALIGNED, *_BY_LATENT),
    Arm("detail_own_levels", "detail pass by the adapter of own levels", _OWN_LEVELS, "detail"),
)
PACKED_ARMS = tuple(
    _joint(codec.name, f"packed, D = {codec.detail_channels}", codec) for codec in PACKED
)
DETAIL_PACKED_ARMS = tuple(
    _detail(codec.name, f", packed, D = {codec.detail_channels}", codec) for codec in PACKED
)
ARMS = (
    *JOINT_ARMS,
    *DETAIL_ARMS,
    *LIGHT_ARMS,
    *PACKED_ARMS,
    *DETAIL_PACKED_ARMS,
    *LOSS_ARMS,
    *DETAIL_LOSS_ARMS,
)
"""In the order of a run: what matters most comes first."""
REFERENCES = (
    Reference(BASE_UPSAMPLED, "base model at its own size, enlarged", BASE_SIDE),
    Reference(
        "base_four_times_tokens", "base model at twice its size, four times the tokens", SIDE
    ),
    Reference(
        "base_of_detail", "the bases of the detail passes, enlarged", BASE_SIDE, base_pass=True
    ),
)
DRAWN: tuple[Arm | Reference, ...] = (*ARMS, *REFERENCES)
TITLES = {found.name: found.title for found in DRAWN}
