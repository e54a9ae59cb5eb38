"""The kinds of nodes that the workflows use: their names, slots and widgets, as ComfyUI has had them since 0.3.64."""

from dataclasses import dataclass

Slots = tuple[tuple[str, str], ...]
"""Name and type, in order."""


@dataclass(frozen=True)
class Kind:
    """`size` is width and height with room for what Vue nodes need more and for text that a node shows.

    A widget that says what happens to a number after a run stands behind those in `counted`; `only_shown` widgets are
    not sent to the server.
    """

    title: str
    size: tuple[int, int]
    inputs: Slots = ()
    widgets: tuple[str, ...] = ()
    outputs: Slots = ()
    counted: tuple[str, ...] = ()
    only_shown: tuple[str, ...] = ()


PROMPTED: Slots = (("model", "MODEL"), ("positive", "CONDITIONING"), ("negative", "CONDITIONING"))
DECODED: Slots = (("IMAGE", "IMAGE"), ("draft", "IMAGE"))
TEXT_WIDE, WIDE, NARROW = 340, 300, 270
KINDS = {
    "DAVAE_LoadModel": Kind(
        "Load DA-VAE SD3.5 Model",
        (TEXT_WIDE, 200),
        widgets=("base_name", "adapter_name", "weight_dtype"),
        outputs=(("MODEL", "MODEL"),),
    ),
    "DAVAE_LoadVAE": Kind(
        "Load DA-VAE", (WIDE, 90), widgets=("vae_name",), outputs=(("VAE", "VAE"),)
    ),
    "DAVAE_LoadMiniCLIP": Kind(
        "Load Miniature CLIP", (WIDE, 90), widgets=("clip_name",), outputs=(("CLIP", "CLIP"),)
    ),
    "DAVAE_ExamplePicture": Kind(
        "DA-VAE Example Picture", (WIDE, 90), widgets=("picture",), outputs=(("IMAGE", "IMAGE"),)
    ),
    "DAVAE_ExampleLoRA": Kind(
        "DA-VAE Example LoRA",
        (WIDE, 140),
        (("model", "MODEL"),),
        ("lora", "strength"),
        (("MODEL", "MODEL"),),
    ),
    "DAVAE_Encode": Kind(
        "DA-VAE Encode",
        (NARROW, 140),
        (("image", "IMAGE"), ("vae", "VAE")),
        ("fit",),
        (("LATENT", "LATENT"),),
    ),
    "DAVAE_Decode": Kind(
        "DA-VAE Decode",
        (NARROW, 190),
        (("samples", "LATENT"), ("vae", "VAE")),
        ("mode", "tile_size", "overlap"),
        DECODED,
    ),
    "DAVAE_EmptyLatent": Kind(
        "Empty DA-VAE Latent",
        (TEXT_WIDE, 230),
        (("model", "MODEL"),),
        ("width", "height", "batch_size", "size"),
        (("LATENT", "LATENT"),),
    ),
    "DAVAE_Sampler": Kind(
        "DA-VAE Sampler",
        (WIDE, 390),
        (*PROMPTED, ("latent_image", "LATENT")),
        ("seed", "steps", "cfg", "shift", "sampler_name", "scheduler", "denoise"),
        (("LATENT", "LATENT"),),
        counted=("seed",),
    ),
    "DAVAE_DetailSampler": Kind(
        "DA-VAE Detail Sampler",
        (WIDE, 320),
        (
            ("model", "MODEL"),
            ("positive", "CONDITIONING"),
            ("latent_image", "LATENT"),
            ("negative", "CONDITIONING"),
        ),
        ("seed", "steps", "strength", "cfg"),
        (("LATENT", "LATENT"),),
        counted=("seed",),
    ),
    "CheckpointLoaderSimple": Kind(
        "Load Checkpoint",
        (TEXT_WIDE, 120),
        widgets=("ckpt_name",),
        outputs=(("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")),
    ),
    "TripleCLIPLoader": Kind(
        "TripleCLIPLoader",
        (WIDE, 150),
        widgets=("clip_name1", "clip_name2", "clip_name3"),
        outputs=(("CLIP", "CLIP"),),
    ),
    "CLIPTextEncode": Kind(
        "CLIP Text Encode (Prompt)",
        (TEXT_WIDE, 170),
        (("clip", "CLIP"),),
        ("text",),
        (("CONDITIONING", "CONDITIONING"),),
    ),
    "EmptySD3LatentImage": Kind(
        "EmptySD3LatentImage",
        (TEXT_WIDE, 150),
        widgets=("width", "height", "batch_size"),
        outputs=(("LATENT", "LATENT"),),
    ),
    "KSampler": Kind(
        "KSampler",
        (WIDE, 340),
        (*PROMPTED, ("latent_image", "LATENT")),
        ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
        (("LATENT", "LATENT"),),
        counted=("seed",),
    ),
    "LoadImage": Kind(
        "Load Image",
        (WIDE, 360),
        widgets=("image", "upload"),
        outputs=(("IMAGE", "IMAGE"), ("MASK", "MASK")),
        only_shown=("upload",),
    ),
    "ImageScale": Kind(
        "Upscale Image",
        (NARROW, 190),
        (("image", "IMAGE"),),
        ("upscale_method", "width", "height", "crop"),
        (("IMAGE", "IMAGE"),),
    ),
    "ImageStitch": Kind(
        "Image Stitch",
        (NARROW, 230),
        (("image1", "IMAGE"), ("image2", "IMAGE")),
        ("direction", "match_image_size", "spacing_width", "spacing_color"),
        (("IMAGE", "IMAGE"),),
    ),
    "SolidMask": Kind(
        "SolidMask",
        (NARROW, 150),
        widgets=("value", "width", "height"),
        outputs=(("MASK", "MASK"),),
    ),
    "MaskComposite": Kind(
        "MaskComposite",
        (NARROW, 190),
        (("destination", "MASK"), ("source", "MASK")),
        ("x", "y", "operation"),
        (("MASK", "MASK"),),
    ),
    "GrowMask": Kind(
        "GrowMask",
        (NARROW, 120),
        (("mask", "MASK"),),
        ("expand", "tapered_corners"),
        (("MASK", "MASK"),),
    ),
    "SetLatentNoiseMask": Kind(
        "Set Latent Noise Mask",
        (NARROW, 80),
        (("samples", "LATENT"), ("mask", "MASK")),
        outputs=(("LATENT", "LATENT"),),
    ),
    "SaveImage": Kind("Save Image", (WIDE, 380), (("images", "IMAGE"),), ("filename_prefix",)),
    "PreviewImage": Kind("Preview Image", (WIDE, 340), (("images", "IMAGE"),)),
}
"""By the id that ComfyUI knows them by."""
