"""The miniature stack's weights: a 1:1 scale model that runs anywhere, trained by this project (docs/method.md)."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def davae_path() -> Path:
    """The miniature DA-VAE; the base VAE that it was trained from is in it."""
    return _FOLDER / "mini_davae.safetensors"


def photograph_path() -> Path:
    """A photograph to try things on, that nothing here was trained on: Chelsea the cat by S. van der Walt, CC0."""
    return _FOLDER / "cat.jpg"


def scene_path() -> Path:
    """A drawn scene of 256 pixels to try things on, such as the miniature knows."""
    return _FOLDER / "shapes.png"


def small_scene_path() -> Path:
    """`scene_path` at 128 pixels."""
    return _FOLDER / "shapes_small.png"


def clip_path() -> Path:
    """The miniature CLIP-L, the stack's only text encoder."""
    return _FOLDER / "mini_clip_l.safetensors"


def transformer_path() -> Path:
    """The miniature base transformer, under Stability's names: 128 px with the base VAE in `davae_path`."""
    return _FOLDER / "mini_transformer.safetensors"


def adapter_path() -> Path:
    """The miniature adapter: what widens the base transformer to 256 px with the miniature DA-VAE."""
    return _FOLDER / "mini_adapter.safetensors"


def detail_adapter_path() -> Path:
    """The miniature detail adapter: on a base that is there already it draws the detail alone, at 256 px."""
    return _FOLDER / "mini_detail_adapter.safetensors"


def lora_path() -> Path:
    """A LoRA of `transformer_path`, the plain model: every form as a line on white."""
    return _FOLDER / "mini_lora.safetensors"
