"""The workflows that run on any machine: everything in them comes with the pack."""

from dataclasses import replace

from . import names
from .graph import Note, Placed, Workflow
from .parts import (
    DETAIL_BUNDLED,
    NO_ADAPTER,
    decode,
    detail_sampler,
    empty_latent,
    encode,
    example,
    example_lora,
    ksampler,
    load_clip,
    load_model,
    load_picture,
    load_vae,
    prompt,
    sampler,
    save,
    show,
    side_by_side,
)

SIDE, STEPS = 256, 20
KNOWS = (
    "## What to write\nThe miniature knows one kind of scene: one or two **things** (circle, square, triangle, star, "
    "letter A, K, R or S), each with a **colour** (red, yellow, green, blue, purple) and a **place** (on the left, on "
    "the right; at the top, at the bottom; or one in the centre), on a **background** (grey, white, black, wooden, "
    "striped, hatched). A form may be *hatched* or *outlined*.\n\nIts pictures say nothing about Stable Diffusion "
    "3.5's."
)
WORDS = "a red circle on the left and a hatched blue square on the right, on a striped background"


def draw() -> Workflow:
    """Text to image: the first one to open."""
    note = (
        "# Press Run\n## Everything comes with the pack, and a processor is enough.\nThe model draws **base** and "
        "**detail** together: 256 × 256 pixels on 8 × 8 tokens, where a plain VAE needs 16 × 16. The *draft* is the "
        "base alone. "
        f"With other files in the loaders the same nodes draw with Stable Diffusion 3.5.\n{KNOWS}"
    )
    return Workflow(
        names.DRAW,
        "davae_mini",
        (
            ("Text", (load_clip(),)),
            (
                "Prompt and model",
                (prompt(WORDS), prompt("", "negative"), load_model(), empty_latent(SIDE)),
            ),
            ("Draw", (sampler(("latent", 0), STEPS), load_vae())),
            ("Decode", (decode("full and draft"),)),
            ("Picture", (save("davae_mini"), show(("decoded", 1), "The draft, half the size"))),
        ),
        Note("What this shows", note),
    )


def as_an_app() -> Workflow:
    """The first one, which ComfyUI shows as an app where it can."""
    first = draw()
    text = first.note.text.replace("# Press Run", "# The first workflow as an app")
    return replace(
        first,
        name=names.APP,
        note=replace(first.note, text=text),
        app=((("positive", "text"), ("drawn", "seed"), ("drawn", "steps")), ("saved",)),
    )


def batch() -> Workflow:
    """Four pictures of one prompt."""
    note = (
        "# Four pictures at once\n\n*batch_size* in Empty DA-VAE Latent says how many. Each starts from other noise of "
        "the same seed.\n\nFor many seeds, one after the other, set how often to run beside the button Run: the seed "
        f"changes by itself.\n\n{KNOWS}"
    )
    words = (
        "a hatched red circle on the left and a blue letter A on the right, on a striped background"
    )
    return Workflow(
        names.BATCH,
        "davae_mini_batch",
        (
            ("Text", (load_clip(),)),
            (
                "Prompt and model",
                (prompt(words), prompt("", "negative"), load_model(), empty_latent(SIDE, 4)),
            ),
            ("Draw", (sampler(("latent", 0), STEPS), load_vae())),
            ("Decode", (decode(),)),
            ("Pictures", (save("davae_mini_batch"),)),
        ),
        Note("What this shows", note),
    )


def photograph() -> Workflow:
    """A photograph through the codec, the draft beside it."""
    text = (
        "# A photograph through a DA-VAE and back\n## A quarter of the tokens\nA latent cell holds 16 × 16 pixels, "
        "where a plain VAE's holds 8 × 8.\n\nLeft, **the draft**: the base channels alone, decoded at half the size "
        "and "
        "enlarged. Right, **base and detail**, on the same tokens.\n## Your own picture\nPut Load Image in the place "
        "of DA-VAE Example Picture. *fit* in DA-VAE Encode says what happens to sides that are no multiples of "
        "16.\n\nThe "
        "miniature is a small codec; Stable Diffusion 3.5's is 27 times larger."
    )
    name, note = names.PHOTOGRAPH, Note("What this shows", text, 420)
    encoded = ("Encode", (encode(("picture", 0)),))
    call = Workflow(
        name,
        "davae_reconstruct",
        (
            ("Picture", (load_picture(), load_vae())),
            encoded,
            ("Decode", (decode(latent=("encoded", 0)),)),
            ("Picture", (save("davae_reconstruct"),)),
        ),
        note,
    )
    compared = side_by_side(("decoded", 0), ("decoded", 1), "Draft, and base and detail")
    return replace(
        call,
        columns=(
            ("Picture", (example("cat"), load_vae())),
            encoded,
            ("Decode", (decode("full and draft", latent=("encoded", 0)),)),
            ("Compare", (compared,)),
            ("Picture", (save("davae_reconstruct", ("beside", 0)),)),
        ),
        as_call=call,
    )


def image_to_image() -> Workflow:
    """A picture drawn anew by another prompt."""
    text = (
        "# A picture drawn anew\n## denoise says how much\nThe schedule is shifted towards noise, so DA-VAE Sampler "
        "shows at how much noise it starts: 0.3 is 56 %. Lower keeps more of the picture.\n\nHere places and forms "
        "stay, "
        f"and the colours follow the prompt.\n{KNOWS}"
    )
    words = "a red star on the left and a hatched green circle on the right, on a wooden background"

    def of(picture: Placed) -> Workflow:
        return Workflow(
            names.IMAGE_TO_IMAGE,
            "davae_mini_image_to_image",
            (
                ("Picture", (picture, load_vae(), load_clip())),
                (
                    "Encode, prompt and model",
                    (encode(("picture", 0)), prompt(words), prompt("", "negative"), load_model()),
                ),
                ("Draw", (sampler(("encoded", 0), STEPS, DENOISE),)),
                ("Decode", (decode(),)),
                ("Picture", (save("davae_mini_image_to_image"),)),
            ),
            Note("What this shows", text, 460),
        )

    return replace(of(example("shapes")), as_call=of(load_picture()))


DENOISE = 0.3
"""How much is drawn anew: benchmarks/image_to_image.py measures it."""


def inpaint() -> Workflow:
    """A part of a picture drawn anew."""
    note = (
        "# A part of a picture drawn anew\n\nThe mask covers the right half. Only there the latent is drawn; the left "
        "half stays as it was encoded.\n\nFor a picture and a mask of your own: Load Image, right-click, *Open in Mask "
        "Editor*, and connect its mask to Set Latent Noise Mask. A cell is 16 × 16 pixels: grow the mask by 16 or "
        f"more.\n\n{KNOWS}"
    )
    words = "a yellow star on the left and a green letter A on the right, on a wooden background"
    masks = (
        Placed("nowhere", "SolidMask", (0.0, SIDE, SIDE), title="The whole picture"),
        Placed("half", "SolidMask", (1.0, SIDE // 2, SIDE), title="The part to draw anew"),
    )
    whole = Placed(
        "mask",
        "MaskComposite",
        (SIDE // 2, 0, "add"),
        {"destination": ("nowhere", 0), "source": ("half", 0)},
        "The mask",
    )
    masked = Placed(
        "masked", "SetLatentNoiseMask", (), {"samples": ("encoded", 0), "mask": ("mask", 0)}
    )

    def of(picture: Placed) -> Workflow:
        return Workflow(
            names.INPAINT,
            "davae_mini_inpaint",
            (
                ("Picture", (picture, load_vae(), *masks)),
                ("Encode and mask", (encode(("picture", 0)), whole, load_clip())),
                (
                    "Prompt and model",
                    (masked, prompt(words), prompt("", "negative"), load_model()),
                ),
                ("Draw", (sampler(("masked", 0), STEPS),)),
                ("Decode", (decode(),)),
                ("Picture", (save("davae_mini_inpaint"),)),
            ),
            Note("What this shows", note, 440),
        )

    return replace(of(example("shapes")), as_call=of(load_picture()))


def detail_pass() -> Workflow:
    """The base by the ordinary model, then its detail."""
    note = (
        "# A draft first, then its detail\n\nThe **untouched** model draws the base, a picture of half the size, with "
        "a plain KSampler. Then the model with the **detail adapter** draws only what is missing, in ten steps without "
        "guidance. The base comes back bit for bit: what you liked in the draft stays.\n\nLook at the stripes and the "
        f"hatching: a picture of half the size cannot hold them.\n\n{KNOWS}"
    )
    return Workflow(
        names.DETAIL_PASS,
        "davae_mini_detail",
        (
            ("Text", (load_clip(),)),
            ("Prompt and base model", _what_draws_the_base()),
            (
                "Draw the base",
                (
                    ksampler(("latent", 0), STEPS, 2.5, "normal", "plain", "Draw the base"),
                    load_model(adapter=DETAIL_BUNDLED, title="The model with the detail adapter"),
                ),
            ),
            ("Draw the detail", (detail_sampler(("base", 0)), load_vae())),
            ("Decode", (decode("full and draft"),)),
            (
                "Picture",
                (save("davae_mini_detail"), show(("decoded", 1), "The base, half the size")),
            ),
        ),
        Note("What this shows", note),
    )


def _what_draws_the_base() -> tuple[Placed, ...]:
    return (
        prompt(WORDS),
        prompt("", "negative"),
        load_model(adapter=NO_ADAPTER, key="plain", title="The untouched model"),
        empty_latent(SIDE),
    )


def enlarge() -> Workflow:
    """A small picture enlarged, its detail drawn anew."""
    text = (
        "# A small picture enlarged\n*To the size it shall have* enlarges it the ordinary way. DA-VAE Encode makes the "
        "**base** of that at half the size, which is the small picture again, and DA-VAE Detail Sampler draws the "
        "**detail** on it. The prompt says what the picture shows.\n\nLeft, enlarged the ordinary way; right, with the "
        f"detail drawn.\n{KNOWS}"
    )
    words = (
        "a yellow star on the left and a hatched blue circle on the right, on a wooden background"
    )
    larger = Placed(
        "larger",
        "ImageScale",
        ("bicubic", SIDE, SIDE, "center"),
        {"image": ("picture", 0)},
        "To the size it shall have",
        (340, 190),
    )
    middle = (
        ("Enlarge", (larger, prompt(words), load_model(adapter=DETAIL_BUNDLED), load_vae())),
        ("Encode", (encode(("larger", 0)),)),
        ("Draw the detail", (detail_sampler(("encoded", 0)),)),
        ("Decode", (decode(),)),
    )
    call = Workflow(
        names.ENLARGE,
        "davae_mini_enlarge",
        (
            ("Picture", (load_picture(), load_clip())),
            *middle,
            ("Picture", (save("davae_mini_enlarge"),)),
        ),
        Note("What this shows", text, 560),
    )
    return replace(
        call,
        columns=(
            ("Picture", (example("shapes, small"), load_clip())),
            *middle,
            (
                "Compare",
                (
                    side_by_side(("decoded", 0), ("larger", 0), "Enlarged, and detail drawn"),
                    save("davae_mini_enlarge", ("beside", 0)),
                ),
            ),
        ),
        as_call=call,
    )


def compare() -> Workflow:
    """The base model and the DA-VAE model on as many tokens, and for as many pixels."""
    note = (
        "# What the detail channels add, and save\n\nThree times the same prompt and seed. Each sampler shows its"
        " **tokens** and the **time** of a step.\n\nLeft, **the untouched model on as many tokens**: 128 × 128 "
        "pixels, enlarged. Middle, **the untouched model for as many pixels**: four times the tokens, and about "
        "twice the time here, because the text's tokens stay as they are. Right, **with the adapter**: 256 × 256 "
        "pixels from the fewer tokens.\n\nThe untouched miniature was trained at 128 pixels alone, so its picture"
        " in the middle falls apart: there the numbers count. Stable Diffusion 3.5 Medium draws 1024 pixels "
        f"itself.\n\n{KNOWS}"
    )
    return Workflow(
        names.COMPARE,
        "davae_mini_compare",
        (
            (
                "Text and models",
                (
                    load_clip(),
                    load_model(adapter=NO_ADAPTER, key="plain", title="The untouched model"),
                    load_model(title="The model with the adapter"),
                ),
            ),
            (
                "Prompt and sizes",
                (
                    prompt(WORDS),
                    prompt("", "negative"),
                    empty_latent(SIDE),
                    # The untouched model's picture is half the size of its latent's.
                    empty_latent(2 * SIDE, key="larger", title="For as many pixels"),
                ),
            ),
            (
                "Draw",
                (
                    sampler(("latent", 0), STEPS, key="base", model="plain", title=FEW),
                    sampler(("larger", 0), STEPS, key="equal", model="plain", title=MANY),
                    load_vae(),
                ),
            ),
            (
                "Decode, and draw with the adapter",
                (
                    decode("draft", "small", ("base", 0), "Decode the untouched model's"),
                    decode("draft", "plain_picture", ("equal", 0), "Decode as many pixels"),
                    sampler(("latent", 0), STEPS, title="Draw with the adapter"),
                ),
            ),
            (
                "Compare",
                (
                    side_by_side(("plain_picture", 0), ("small", 0), "Left and middle"),
                    decode(title="Decode base and detail"),
                ),
            ),
            (
                "All three",
                (
                    side_by_side(("decoded", 0), ("beside", 0), "All three", "three"),
                    save("davae_mini_compare", ("three", 0)),
                ),
            ),
        ),
        Note("What this shows", note, 330),
        after_a_run="fixed",
    )


FEW, MANY = "Draw with the untouched model", "Draw as many pixels with it"


def lora() -> Workflow:
    """A LoRA on the untouched model, and the detail on what that draws."""
    note = (
        "# LoRAs keep working\n\nThe **untouched** model with a LoRA draws the base: every form as a line in its "
        "colour, on white paper. The LoRA was trained on it at 128 × 128 pixels and has never seen a DA-VAE. Then"
        " the **detail adapter** draws what is missing, and leaves the base as it is.\n\nOn a joint adapter "
        "(*01*) a LoRA of the plain model works too, but weaker: the adapter has changed the same layers.\n\nFor "
        f"Stable Diffusion 3.5 put *Load LoRA* in the place of DA-VAE Example LoRA.\n\n{KNOWS}"
    )
    return Workflow(
        names.LORA,
        "davae_mini_lora",
        (
            (
                "Text, detail and VAE",
                (
                    load_clip(),
                    load_model(adapter=DETAIL_BUNDLED, title="The model with the detail adapter"),
                    load_vae(),
                ),
            ),
            ("Prompt and base model", _what_draws_the_base()),
            (
                "Draw the base in a style",
                (
                    example_lora("lines", "plain"),
                    ksampler(("latent", 0), STEPS, 2.5, "normal", "styled", "Draw the base"),
                ),
            ),
            ("Draw the detail", (detail_sampler(("base", 0)),)),
            ("Decode", (decode("full and draft"),)),
            ("Picture", (save("davae_mini_lora"), show(("decoded", 1), "The base, half the size"))),
        ),
        Note("What this shows", note),
    )


MINIATURE = (
    draw,
    photograph,
    image_to_image,
    inpaint,
    detail_pass,
    enlarge,
    compare,
    batch,
    as_an_app,
    lora,
)
"""Those that need no file, in the order in which a newcomer should open them."""
