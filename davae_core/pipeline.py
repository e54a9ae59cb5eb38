"""Text to image without ComfyUI, on diffusers' SD3 transformer, by joint and by detail adapters.

pipeline = load_pipeline("sd3.5-medium/", "davae_sd3.safetensors", adapter="adapter.safetensors")
images = pipeline.draw(["a lighthouse at dusk"], width=1024, height=1024)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .codec.autoencoder import Codec
from .codec.files import load_codec
from .codec.latent_files import encoding_hash
from .files import CheckpointError, read_safetensors, read_shapes, reason_of
from .flow import Velocity, add_noise, sample_detail, sample_euler, shifted_sigmas
from .format import KIND_MERGED, read_metadata
from .latents import LatentLayout, to_model_space, to_vae_space
from .reading.json_text import read_json
from .transformer.adapter import read_adapter
from .transformer.description import DESCRIPTION, Advice, ModelDescription, read_file_description
from .transformer.diffusers_model import diffusers_transformer, require_diffusers
from .transformer.fingerprint import require_same_base
from .transformer.merging import merge
from .transformer.names import stability_to_diffusers
from .transformer.presets import UNTRAINED
from .transformer.pretrained import load_transformer
from .transformer.sizes import transformer_sizes
from .transformer.widened_model import widen_model

LEAST_DENOISE = 0.01
"""What ComfyUI's samplers can be set to; less asks for a schedule of any length."""

Progress = Callable[[int, int], None]
"""Told (steps done, steps in all)."""
EncodeText = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
"""B prompts -> context [B, N, width] and pooled vectors [B, pooled width]; `TextEncoder.encode` is one.

A context narrower than the transformer's is filled up with zeros, as CLIP's states are in SD3."""


@dataclass(frozen=True)
class TextToImage:
    """A widened transformer (diffusers' model), its description, its DA-VAE and what encodes text for it.

    `untouched`: the pretrained transformer, which draws the base where `transformer` draws the detail alone, else None.
    """

    transformer: nn.Module
    description: ModelDescription
    codec: Codec
    encode_text: EncodeText
    untouched: nn.Module | None = None

    @torch.inference_mode()
    def draw(
        self,
        prompts: Sequence[str],
        width: int,
        height: int,
        *,
        negative: str = "",
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance: float | None = None,
        shift: float | None = None,
        draft: bool = False,
        tiled: bool = False,
        progress: Progress | None = None,
        base: Advice | None = None,
    ) -> Tensor:
        """Pictures [B, 3, height, width] in [-1, 1], one per prompt, of what `draw_latents` draws.

        `draft` decodes the base channels alone, at half the size; `tiled` decodes in tiles. Raises what it raises.
        """
        latents = self.draw_latents(
            prompts,
            width,
            height,
            negative=negative,
            seed=seed,
            steps=steps,
            guidance=guidance,
            shift=shift,
            progress=progress,
            base=base,
        )
        if draft:
            return self.codec.decode_base(latents)
        return self.codec.decode_tiled(latents) if tiled else self.codec.decode(latents)

    @torch.no_grad()
    def draw_latents(
        self,
        prompts: Sequence[str],
        width: int,
        height: int,
        *,
        negative: str = "",
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance: float | None = None,
        shift: float | None = None,
        progress: Progress | None = None,
        base: Advice | None = None,
        start: Tensor | None = None,
        denoise: float = 1.0,
    ) -> Tensor:
        """Latents [B, C + D, height / factor, width / factor] in VAE space, one per prompt.

        Steps, guidance and shift are the model's own advice unless given. With a detail adapter they are those of the
        detail, and the untouched model draws the base first, as `base` says (None: as the pretrained model is sampled):
        what it would draw at half the size from the same seed. `progress` is told (steps done, steps in all), of both
        passes. The noise comes from the CPU, so a seed means the same on every device; with a seed for each prompt a
        picture's noise does not depend on the pictures beside it. `start`, latents of that shape in VAE space, is image
        to image: they are noised to where the last `denoise` of the schedule begins, in as many steps. Raises
        ValueError for sizes the token grid cannot have, for `base` where base and detail are drawn together, for
        `start` where they are not or of another shape, for a `denoise` below 1 without it, and for seeds that are not
        one for each prompt.
        """
        layout, advice = self.description.layout, self.description.advice
        side = layout.factor * int(self.transformer.config.patch_size)  # type: ignore[union-attr, arg-type]
        if width < side or height < side or width % side or height % side:
            raise ValueError(
                f"A picture of {width}x{height} pixels has no whole number of tokens: use multiples of {side}."
            )
        if base is not None and self.untouched is None:
            raise ValueError(
                "This model draws base and detail together, so no base is drawn before: leave `base` out."
            )
        if start is not None and self.untouched is not None:
            raise ValueError("A detail adapter draws no image to image: leave `start` out.")
        if not LEAST_DENOISE <= denoise <= 1.0:
            raise ValueError(
                f"denoise must be at least {LEAST_DENOISE:g} and at most 1, not {denoise:g}."
            )
        if start is None and denoise != 1.0:
            raise ValueError(f"denoise {denoise:g} keeps some of a `start`: give one.")
        taken = steps or advice.steps
        whole_schedule = shifted_sigmas(
            int(taken / denoise), advice.shift if shift is None else shift
        )
        sigmas = whole_schedule[-(taken + 1) :]
        scale = advice.guidance if guidance is None else guidance
        velocity, without = self._velocities(self.transformer, prompts, negative, scale)
        cells = (height // layout.factor, width // layout.factor)
        wanted = (len(prompts), layout.channels, *cells)
        if start is not None and tuple(start.shape) != wanted:
            raise ValueError(f"`start` has the shape {list(start.shape)}, not {list(wanted)}.")
        generators = _generators(seed, len(prompts))
        device = next(self.transformer.parameters()).device

        def noise(channels: int) -> Tensor:
            drawn = [
                torch.randn((count, channels, *cells), generator=random)
                for random, count in generators
            ]
            return torch.cat(drawn).to(device)

        if self.untouched is None:
            first_noise = noise(layout.channels)
            if start is not None:
                level = sigmas[:1].expand(len(prompts))
                first_noise = add_noise(
                    to_model_space(start.to(first_noise), layout), first_noise, level
                )
            latents = sample_euler(velocity, first_noise, sigmas, scale, without, progress)
        else:
            how = base or UNTRAINED
            whole = how.steps + len(sigmas) - 1
            first, second = (_part(progress, before, whole) for before in (0, how.steps))
            start = noise(layout.base_channels)
            drawn = self._draw_base(self.untouched, prompts, negative, start, how, first)
            start = noise(layout.detail_channels)
            latents = sample_detail(velocity, drawn, start, sigmas, layout, scale, without, second)
        return to_vae_space(latents, layout).to(next(self.codec.parameters()))

    def _draw_base(
        self,
        model: nn.Module,
        prompts: Sequence[str],
        negative: str,
        noise: Tensor,
        how: Advice,
        progress: Progress | None,
    ) -> Tensor:
        velocity, without = self._velocities(model, prompts, negative, how.guidance)
        sigmas = shifted_sigmas(how.steps, how.shift)
        return sample_euler(velocity, noise, sigmas, how.guidance, without, progress)

    def _velocities(
        self, model: nn.Module, prompts: Sequence[str], negative: str, guidance: float
    ) -> tuple[Velocity, Velocity | None]:
        """A transformer's under the prompts, and the one that guidance leads away from where there is any."""
        told = _velocity(model, self.encode_text(prompts))
        if guidance == 1.0:
            return told, None
        return told, _velocity(model, self.encode_text([negative] * len(prompts)))


def _generators(seed: int | Sequence[int], prompts: int) -> list[tuple[torch.Generator, int]]:
    """What draws the noise, and for how many prompts in turn each of them does."""
    if isinstance(seed, int):
        return [(torch.Generator().manual_seed(seed), prompts)]
    if len(seed) != prompts:
        raise ValueError(f"{len(seed)} seeds do not go with {prompts} prompts: give one for each.")
    return [(torch.Generator().manual_seed(own), 1) for own in seed]


def _velocity(transformer: nn.Module, text: tuple[Tensor, Tensor]) -> Velocity:
    weight = next(transformer.parameters())
    context, pooled = (part.to(weight) for part in text)
    width = int(transformer.config.joint_attention_dim)  # type: ignore[union-attr, arg-type]
    context = F.pad(context, (0, width - context.shape[-1]))

    def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
        found: Tensor = transformer(
            hidden_states=latents.to(weight.dtype),
            encoder_hidden_states=context,
            pooled_projections=pooled,
            # The transformer was trained on timesteps of 1000.
            timestep=sigma * 1000,
            return_dict=False,
        )[0]
        # Steps are added up in float32, whatever the network computes in.
        return found.float()

    return velocity


def _part(progress: Progress | None, before: int, whole: int) -> Progress | None:
    """What a pass tells that begins after `before` of `whole` steps."""
    return None if progress is None else lambda done, _: progress(before + done, whole)


def load_pipeline(
    base: str | Path,
    vae: str | Path,
    *,
    adapter: str | Path | None = None,
    encode_text: EncodeText | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.bfloat16,
) -> TextToImage:
    """Everything that text to image needs, in `dtype` on `device`; the codec stays in float32.

    `base`: a pretrained SD3 (whatever load_transformer takes), to which `adapter` belongs, or a merged DA-VAE model.
    Without adapter the widened, untrained model. With a detail adapter the pretrained model is kept beside the adapted
    one; the weights they share are held once. `vae`: a DA-VAE. `encode_text`: None for the text encoders in `base`,
    which must be a diffusers pipeline's folder then, a path for those in another such folder. Nothing is downloaded.
    Raises CheckpointError, naming the files, when they are not what they should be or do not belong together, and
    ImportError without diffusers.
    """
    base, vae = Path(base), Path(vae)
    codec = load_codec(vae, device, torch.float32)
    tensors, description, pretrained = _widened(
        base, None if adapter is None else Path(adapter), codec.layout
    )
    model = base if adapter is None else adapter
    trained_for = description.parents.get("vae")
    if codec.layout != description.layout or trained_for not in (None, encoding_hash(vae)):
        raise CheckpointError(f"{model} was trained for another DA-VAE than {vae}: pick that one.")
    beside = {name: tensor.to(device=device, dtype=dtype) for name, tensor in pretrained.items()}
    cast = {
        name: beside[name]
        if tensor is pretrained.get(name)
        else tensor.to(device=device, dtype=dtype)
        for name, tensor in tensors.items()
    }
    transformer = _diffusers_model(base, cast)
    untouched = _diffusers_model(base, beside) if beside else None
    if encode_text is None or isinstance(encode_text, Path):
        encode_text = _text_encoders(encode_text or base, transformer, device, dtype)
    return TextToImage(transformer, description, codec, encode_text, untouched)


def _widened(
    base: Path, adapter: Path | None, layout: LatentLayout
) -> tuple[dict[str, Tensor], ModelDescription, dict[str, Tensor]]:
    """The widened transformer under Stability's names, what it says of itself, and the pretrained one it needs beside.

    The last is empty where base and detail are drawn together. `layout`: what an untrained one is widened for.
    """
    if base.is_file() and read_metadata(base, read_shapes(base)[1]).get("kind") == KIND_MERGED:
        if adapter is not None:
            raise CheckpointError(
                f"{base} is a merged DA-VAE model already: leave the adapter {adapter} out."
            )
        tensors = read_safetensors(base)[0]
        tensors.pop(DESCRIPTION, None)
        described = read_file_description(base)
        if described.mode == "detail":
            raise CheckpointError(
                f"{base} draws the detail alone, on what the model it was made from draws: give that model with the "
                "adapter instead."
            )
        return tensors, described, {}
    pretrained = load_transformer(base)
    found = None
    if adapter is not None:
        found = read_adapter(adapter)
        require_same_base(found.parents, adapter, pretrained, base)
    try:
        if found is None:
            return widen_model(pretrained, layout), ModelDescription(layout, UNTRAINED), {}
        description = ModelDescription(found.layout, found.advice, found.parents, mode=found.mode)
        return merge(pretrained, found), description, pretrained if found.mode == "detail" else {}
    except ValueError as error:
        raise CheckpointError(
            f"{base} cannot be widened for a DA-VAE ({reason_of(error)}): give the pretrained SD3 it was trained on."
        ) from error


def _diffusers_model(base: Path, tensors: dict[str, Tensor]) -> nn.Module:
    try:
        sizes = transformer_sizes(tensors)
        with torch.device("meta"):
            model = diffusers_transformer(sizes)
        named = stability_to_diffusers(tensors, model.state_dict())
        model.load_state_dict(named, assign=True)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{base} is no whole SD3 transformer ({reason_of(error)}): get it again."
        ) from error
    found: nn.Module = model.eval().requires_grad_(False)
    return found


def _text_encoders(
    folder: Path, transformer: nn.Module, device: str | torch.device, dtype: torch.dtype
) -> EncodeText:
    """The text encoders of a diffusers pipeline's folder; the pipeline asks the transformer for its widths."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise CheckpointError(
            f"{folder} holds no text encoders: give the folder of the whole diffusers pipeline, or encode_text."
        )
    try:
        parts = read_json(index)
        # Many leave T5 out; diffusers wants to be told so again.
        absent = {name: None for name, kind in parts.items() if kind == [None, None]}
        pipeline = (
            require_diffusers()
            .StableDiffusion3Pipeline.from_pretrained(
                folder,
                **{**absent, "transformer": transformer, "vae": None},
                torch_dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
            )
            .to(device)
        )
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder} is no whole diffusers pipeline of SD3 ({str(error).splitlines()[0]}): get it again."
        ) from error

    def encode(prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        context, _, pooled, _ = pipeline.encode_prompt(
            list(prompts), None, None, do_classifier_free_guidance=False, device=device
        )
        return context, pooled

    return encode
