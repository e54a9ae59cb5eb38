"""The workflows for Stable Diffusion 3.5 Medium, which need a trained DA-VAE and adapter."""

from . import names
from .graph import Note, Placed, Workflow
from .parts import (
    decode,
    detail_sampler,
    empty_latent,
    encode,
    ksampler,
    load_model,
    load_picture,
    load_vae,
    prompt,
    sampler,
    save,
    show,
)

BASE, VAE = "sd3.5_medium.safetensors", "davae_sd3.safetensors"
STEPS, GUIDANCE = 30, 4.5
AVOIDED = "deformed, low quality & bad aesthetics & poor aesthetics"
MISSING = (
    "# You cannot run this yet\n## It needs a DA-VAE and an adapter for Stable Diffusion 3.5, and nobody has published "
    "them.\nUntil then open *{twin}*, which shows the same with the bundled miniature."
)
FILES = (
    "| in models/ | file |\n|---|---|\n| checkpoints | sd3.5_medium |\n| text_encoders | clip_l, clip_g, t5xxl_fp16 |\n"
    f"| vae | {VAE.removesuffix('.safetensors')} |\n| loras | {{adapter}} |\n\nThe first two rows are public, the "
    "others are trained with this pack (docs/training.md)."
)


def adapter(side: int, kind: str = "") -> str:
    """What an adapter's file is called here."""
    return f"davae_sd35m_{side}{kind}.safetensors"


def note(twin: str, name: str, text: str) -> Note:
    """First that it cannot run yet, then what it does, then which files it needs."""
    files = FILES.format(adapter=name.removesuffix(".safetensors"))
    return Note("Needs a trained adapter", f"{MISSING.format(twin=twin)}\n\n{text}\n\n{files}", 560)


def load_text() -> Placed:
    """TripleCLIPLoader."""
    names = ("clip_l.safetensors", "clip_g.safetensors", "t5xxl_fp16.safetensors")
    return Placed("clip", "TripleCLIPLoader", names)


def scaled(side: int, title: str, key: str = "scaled", source: str = "picture") -> Placed:
    """Upscale Image to a square."""
    how = "lanczos" if key == "scaled" else "bilinear"
    return Placed(
        key, "ImageScale", (how, side, side, "center"), {"image": (source, 0)}, title, (340, 190)
    )


def draw(side: int, words: str) -> Workflow:
    """Text to image."""
    tokens = side // 32
    name = adapter(side)
    text = (
        f"{side} × {side} pixels from {tokens} × {tokens} tokens, a quarter of what the plain VAE needs. DA-VAE "
        "Sampler begins with the paper's settings: 30 steps, cfg 2.5, the adapter's own shift. The draft is the base "
        "alone."
    )
    return Workflow(
        f"SD3.5 - draw at {side}",
        f"davae_sd35_{side}",
        (
            ("Text", (load_text(),)),
            (
                "Prompt and model",
                (
                    prompt(words),
                    prompt(AVOIDED, "negative"),
                    load_model(BASE, name),
                    empty_latent(side),
                ),
            ),
            ("Draw", (sampler(("latent", 0), STEPS), load_vae(VAE))),
            ("Decode", (decode("full and draft"),)),
            (
                "Picture",
                (save(f"davae_sd35_{side}"), show(("decoded", 1), "The draft, half the size")),
            ),
        ),
        note(names.DRAW, name, text),
    )


def image_to_image() -> Workflow:
    """A picture drawn anew."""
    text = (
        "The picture is encoded, noised and drawn again. **denoise** says how much, and the node at how much noise "
        "that starts: with a shift of 4, 0.3 is 63 %. Lower keeps more."
    )
    words = "the same scene painted in watercolour, soft washes, visible paper grain"
    return Workflow(
        "SD3.5 - image to image",
        "davae_sd35_image_to_image",
        (
            ("Picture", (load_picture(), load_text())),
            (
                "Prompt and size",
                (
                    scaled(1024, "To the size the adapter knows"),
                    prompt(words),
                    prompt(AVOIDED, "negative"),
                    load_vae(VAE),
                ),
            ),
            ("Encode", (encode(("scaled", 0)), load_model(BASE, adapter(1024)))),
            ("Draw", (sampler(("encoded", 0), STEPS, DENOISE),)),
            ("Decode", (decode(),)),
            ("Picture", (save("davae_sd35_image_to_image"),)),
        ),
        note(names.IMAGE_TO_IMAGE, adapter(1024), text),
    )


DENOISE = 0.3


def inpaint() -> Workflow:
    """A part of a picture drawn anew."""
    text = (
        "Take a picture of about 1024 × 1024 pixels. Right-click Load Image, *Open in Mask Editor*, paint over the "
        "part, and describe it. A latent cell is 16 × 16 pixels, so the mask is grown by one cell. Outside, the latent "
        "stays "
        "as it was encoded."
    )
    words = "a ginger cat sitting there, looking at the camera"
    grown = Placed(
        "grown", "GrowMask", (16, False), {"mask": ("picture", 1)}, "Grow by one cell, 16 px"
    )
    masked = Placed(
        "masked", "SetLatentNoiseMask", (), {"samples": ("encoded", 0), "mask": ("grown", 0)}
    )
    return Workflow(
        "SD3.5 - inpaint",
        "davae_sd35_inpaint",
        (
            ("Picture", (load_picture(), load_vae(VAE))),
            ("Encode", (encode(("picture", 0)), grown, load_text())),
            (
                "Mask, prompt and model",
                (
                    masked,
                    prompt(words),
                    prompt(AVOIDED, "negative"),
                    load_model(BASE, adapter(1024)),
                ),
            ),
            ("Draw", (sampler(("masked", 0), STEPS),)),
            ("Decode", (decode(),)),
            ("Picture", (save("davae_sd35_inpaint"),)),
        ),
        note(names.INPAINT, adapter(1024), text),
    )


def detail_pass() -> Workflow:
    """The base by the ordinary checkpoint, then its detail."""
    name = adapter(1024, "_detail")
    text = (
        "The **ordinary** checkpoint draws the base at 512 × 512 with any sampler, LoRA or ControlNet. Then the model "
        "with a **detail adapter** draws only what is missing at 1024 × 1024, in ten steps without guidance, on as "
        "many tokens. The base comes back bit for bit."
    )
    words = (
        "a lighthouse on a rocky coast at dusk, waves breaking on the rocks, warm light in its windows, "
        "photograph"
    )
    half = Placed(
        "latent", "EmptySD3LatentImage", (512, 512, 1), title="Half the size of the picture"
    )
    return Workflow(
        "SD3.5 - detail pass",
        "davae_sd35_detail",
        (
            ("Text", (load_text(),)),
            (
                "Prompt and base model",
                (
                    prompt(words),
                    prompt(AVOIDED, "negative"),
                    Placed("plain", "CheckpointLoaderSimple", (BASE,)),
                    half,
                ),
            ),
            (
                "Draw the base",
                (
                    ksampler(
                        ("latent", 0), STEPS, GUIDANCE, "sgm_uniform", "plain", "Draw the base"
                    ),
                    load_model(BASE, name),
                ),
            ),
            ("Draw the detail", (detail_sampler(("base", 0)), load_vae(VAE))),
            ("Decode", (decode("full and draft"),)),
            (
                "Picture",
                (save("davae_sd35_detail"), show(("decoded", 1), "The base, half the size")),
            ),
        ),
        note(names.DETAIL_PASS, name, text),
    )


def enlarge() -> Workflow:
    """A picture enlarged, its detail drawn anew."""
    name = adapter(1024, "_detail")
    text = (
        "*To the size it shall have* enlarges the picture the ordinary way, DA-VAE Encode makes the base of it at half "
        "that size, and DA-VAE Detail Sampler draws the detail, at strength 1 without a look at what the enlarging "
        "made. The prompt says what the picture shows: describe yours."
    )
    return Workflow(
        "SD3.5 - enlarge a picture",
        "davae_sd35_enlarge",
        (
            ("Picture", (load_picture(), load_text())),
            (
                "Enlarge",
                (
                    scaled(1024, "To the size it shall have"),
                    prompt("a photograph with fine, sharp detail"),
                    load_model(BASE, name),
                    load_vae(VAE),
                ),
            ),
            ("Encode", (encode(("scaled", 0)),)),
            ("Draw the detail", (detail_sampler(("encoded", 0)),)),
            ("Decode", (decode("full and draft"),)),
            (
                "Picture",
                (save("davae_sd35_enlarge"), show(("decoded", 1), "The base, half the size")),
            ),
        ),
        note(names.ENLARGE, name, text),
    )


FOX = (
    "a red fox asleep in tall autumn grass, early morning light, every hair and blade of grass in sharp "
    "focus"
)
HARBOUR = "an old harbour town at dusk seen from a hill, hundreds of lit windows, fishing boats, fine detail everywhere"


def sd35() -> tuple[Workflow, ...]:
    """All of them."""
    return (
        draw(1024, FOX),
        draw(2048, HARBOUR),
        image_to_image(),
        inpaint(),
        detail_pass(),
        enlarge(),
    )
