"""Nodes that several workflows have in common, set as they are used there."""

from .graph import Link, Placed

GREEN, RED = ("#232", "#353"), ("#322", "#533")
"""Title and body of the prompts for what shall be there and what shall not."""
BUNDLED = "miniature (bundled)"
DETAIL_BUNDLED = "miniature, detail pass (bundled)"
NO_ADAPTER = "none (the base alone)"
TYPED = "width x height"


def prompt(text: str, key: str = "positive", source: Link = ("clip", 0)) -> Placed:
    """What the picture shall show (`positive`) or shall not show."""
    wanted = key == "positive"
    title = "Positive prompt" if wanted else "Negative prompt"
    size = (340, 150) if wanted else (340, 110)
    colour = GREEN if wanted else RED
    return Placed(key, "CLIPTextEncode", (text,), {"clip": source}, title, size, colour)


def load_model(
    base: str = BUNDLED, adapter: str = BUNDLED, key: str = "model", title: str | None = None
) -> Placed:
    """Load DA-VAE SD3.5 Model."""
    return Placed(key, "DAVAE_LoadModel", (base, adapter, "default"), title=title)


def load_vae(name: str = BUNDLED) -> Placed:
    """Load DA-VAE."""
    return Placed("vae", "DAVAE_LoadVAE", (name,))


def load_clip() -> Placed:
    """Load Miniature CLIP."""
    return Placed("clip", "DAVAE_LoadMiniCLIP", (BUNDLED,))


def empty_latent(
    side: int, pictures: int = 1, key: str = "latent", title: str | None = None
) -> Placed:
    """Empty DA-VAE Latent of a square."""
    return Placed(key, "DAVAE_EmptyLatent", (side, side, pictures, TYPED), title=title)


def sampler(
    latent: Link,
    steps: int,
    denoise: float = 1.0,
    key: str = "drawn",
    model: str = "model",
    title: str | None = None,
) -> Placed:
    """DA-VAE Sampler with the adapter's own shift and guidance 2.5."""
    links = {"model": (model, 0), "positive": ("positive", 0), "negative": ("negative", 0)}
    values = (0, steps, 2.5, 0.0, "euler", "da-vae", denoise)
    return Placed(key, "DAVAE_Sampler", values, {**links, "latent_image": latent}, title)


def ksampler(
    latent: Link, steps: int, guidance: float, scheduler: str, model: str, title: str
) -> Placed:
    """KSampler, which draws the base of a detail pass."""
    links = {"model": (model, 0), "positive": ("positive", 0), "negative": ("negative", 0)}
    values = (0, steps, guidance, "euler", scheduler, 1.0)
    return Placed("base", "KSampler", values, {**links, "latent_image": latent}, title)


def detail_sampler(latent: Link, model: str = "model") -> Placed:
    """DA-VAE Detail Sampler: ten steps without guidance."""
    links = {"model": (model, 0), "positive": ("positive", 0), "latent_image": latent}
    return Placed("drawn", "DAVAE_DetailSampler", (0, 10, 1.0, 1.0), links)


def decode(
    mode: str = "full", key: str = "decoded", latent: Link = ("drawn", 0), title: str | None = None
) -> Placed:
    """DA-VAE Decode."""
    links = {"samples": latent, "vae": ("vae", 0)}
    return Placed(key, "DAVAE_Decode", (mode, 768, 64), links, title)


def encode(picture: Link, fit: str = "crop") -> Placed:
    """DA-VAE Encode."""
    return Placed("encoded", "DAVAE_Encode", (fit,), {"image": picture, "vae": ("vae", 0)})


def side_by_side(right: Link, left: Link, title: str, key: str = "beside") -> Placed:
    """Two pictures in one, the left one brought to the height of the right one where they differ."""
    links = {"image1": right, "image2": left}
    return Placed(key, "ImageStitch", ("left", True, 8, "white"), links, title)


def save(prefix: str, picture: Link = ("decoded", 0)) -> Placed:
    """Save Image."""
    return Placed("saved", "SaveImage", (prefix,), {"images": picture})


def show(picture: Link, title: str) -> Placed:
    """Preview Image."""
    return Placed("shown", "PreviewImage", (), {"images": picture}, title)


def example(name: str) -> Placed:
    """DA-VAE Example Picture."""
    return Placed("picture", "DAVAE_ExamplePicture", (name,))


def example_lora(name: str, model: str = "model") -> Placed:
    """DA-VAE Example LoRA at the strength it was trained at."""
    return Placed("styled", "DAVAE_ExampleLoRA", (name, 1.0), {"model": (model, 0)})


def load_picture() -> Placed:
    """Load Image."""
    return Placed("picture", "LoadImage", ("example.png", "image"))
