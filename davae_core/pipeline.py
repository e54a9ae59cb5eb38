"""Text to image without ComfyUI, on diffusers' SD3 transformer.

pipeline = load_pipeline("sd3.5-medium/", "davae_sd3.safetensors", adapter="adapter.safetensors")
images = pipeline.draw(["a lighthouse at dusk"], width=1024, height=1024)
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .codec.autoencoder import Codec
from .codec.files import load_codec
from .codec.latent_files import encoding_hash
from .files import CheckpointError, read_safetensors, read_shapes, reason_of
from .flow import Velocity, sample_euler, shifted_sigmas
from .format import KIND_MERGED, read_metadata
from .latents import to_vae_space
from .presets import SD3
from .transformer.adapter import read_adapter
from .transformer.description import DESCRIPTION, Advice, ModelDescription, read_file_description
from .transformer.diffusers_model import diffusers_transformer, require_diffusers
from .transformer.fingerprint import require_same_base
from .transformer.merging import merge
from .transformer.names import stability_to_diffusers
from .transformer.pretrained import load_transformer
from .transformer.sizes import transformer_sizes
from .transformer.widened_model import widen_model

EncodeText = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
"""B prompts -> context [B, N, width] and pooled vectors [B, pooled width]; `TextEncoder.encode` is one."""
UNTRAINED = Advice(shift=3.0)
"""How to sample the pretrained SD3 itself, which a widened model without adapter still is."""


@dataclass(frozen=True)
class TextToImage:
    """A widened transformer (diffusers' model), its description, its DA-VAE and what encodes text for it."""

    transformer: nn.Module
    description: ModelDescription
    codec: Codec
    encode_text: EncodeText

    @torch.inference_mode()
    def draw(
        self,
        prompts: Sequence[str],
        width: int,
        height: int,
        *,
        negative: str = "",
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        shift: float | None = None,
        draft: bool = False,
        tiled: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Pictures [B, 3, height, width] in [-1, 1], one per prompt.

        Steps, guidance and shift are the model's own advice unless given. `draft` decodes the base channels alone, at
        half the size; `tiled` decodes in tiles. `progress` is told (steps done, steps in all). The noise is drawn on
        the CPU, so a seed means the same on every device. Raises ValueError for sizes the token grid cannot have.
        """
        layout, advice = self.description.layout, self.description.advice
        side = layout.factor * int(self.transformer.config.patch_size)  # type: ignore[union-attr, arg-type]
        if width < side or height < side or width % side or height % side:
            raise ValueError(
                f"A picture of {width}x{height} pixels has no whole number of tokens: use multiples of {side}."
            )
        shape = (len(prompts), layout.channels, height // layout.factor, width // layout.factor)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        scale = advice.guidance if guidance is None else guidance
        latents = sample_euler(
            self._velocity(prompts),
            noise.to(next(self.transformer.parameters()).device),
            shifted_sigmas(steps or advice.steps, advice.shift if shift is None else shift),
            scale,
            self._velocity([negative] * len(prompts)) if scale != 1.0 else None,
            progress,
        )
        weight = next(self.codec.parameters())
        latents = to_vae_space(latents, layout).to(weight)
        if draft:
            return self.codec.decode_base(latents)
        return self.codec.decode_tiled(latents) if tiled else self.codec.decode(latents)

    def _velocity(self, prompts: Sequence[str]) -> Velocity:
        weight = next(self.transformer.parameters())
        context, pooled = (part.to(weight) for part in self.encode_text(prompts))

        def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
            found: Tensor = self.transformer(
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


def load_pipeline(
    base: str | Path,
    vae: str | Path,
    *,
    adapter: str | Path | None = None,
    encode_text: EncodeText | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.bfloat16,
) -> TextToImage:
    """Everything that text to image needs, in `dtype` on `device`; the codec stays in float32.

    `base`: a pretrained SD3 (whatever load_transformer takes), to which `adapter` belongs, or a merged DA-VAE model.
    Without adapter the widened, untrained model. `vae`: a DA-VAE. `encode_text`: None for the text encoders in `base`,
    which must be a diffusers pipeline's folder then. Nothing is downloaded. Raises CheckpointError, naming the files,
    when they are not what they should be or do not belong together, and ImportError without diffusers.
    """
    base, vae = Path(base), Path(vae)
    tensors, description = _widened(base, None if adapter is None else Path(adapter))
    codec = load_codec(vae, device, torch.float32)
    model = base if adapter is None else adapter
    trained_for = description.parents.get("vae")
    if codec.layout != description.layout or trained_for not in (None, encoding_hash(vae)):
        raise CheckpointError(f"{model} was trained for another DA-VAE than {vae}: pick that one.")
    cast = {name: tensor.to(device=device, dtype=dtype) for name, tensor in tensors.items()}
    transformer = _diffusers_model(base, cast)
    text = _text_encoders(base, transformer, device, dtype) if encode_text is None else encode_text
    return TextToImage(transformer, description, codec, text)


def _widened(base: Path, adapter: Path | None) -> tuple[dict[str, Tensor], ModelDescription]:
    """The widened transformer under Stability's names and what it says of itself."""
    if base.is_file() and read_metadata(base, read_shapes(base)[1]).get("kind") == KIND_MERGED:
        if adapter is not None:
            raise CheckpointError(
                f"{base} is a merged DA-VAE model already: leave the adapter {adapter} out."
            )
        tensors = read_safetensors(base)[0]
        tensors.pop(DESCRIPTION, None)
        return tensors, read_file_description(base)
    pretrained = load_transformer(base)
    found = None
    if adapter is not None:
        found = read_adapter(adapter)
        require_same_base(found.parents, adapter, pretrained, base)
    try:
        if found is None:
            return widen_model(pretrained, SD3.layout), ModelDescription(SD3.layout, UNTRAINED)
        description = ModelDescription(found.layout, found.advice, found.parents, mode=found.mode)
        return merge(pretrained, found), description
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
        parts = json.loads(index.read_text(encoding="utf-8"))
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
