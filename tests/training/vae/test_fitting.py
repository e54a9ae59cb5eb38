from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.codec.least_squares import LeastSquares, rows
from davae_core.codec.sizes import StemOrder
from davae_core.codec.small import SmallConfig
from davae_core.latents import LatentLayout, base_to_model_space
from training.vae.fitting import fit_codec
from training.vae.initialisation import initialise_base_vae


def crops() -> Iterator[Tensor]:
    """Smooth random pictures, the same at every call."""
    random = torch.Generator().manual_seed(0)
    for _ in range(12):
        small = torch.rand(4, 3, 12, 12, generator=random) * 2 - 1
        yield torch.nn.functional.interpolate(small, size=(48, 48), mode="bicubic").clamp(-1, 1)


def build(
    ratio: int = 2, quant_conv: bool = False, shared: bool = True, order: StemOrder = "detail_first"
) -> DetailAlignedVAE:
    torch.manual_seed(0)
    backbone = KLConfig(widths=(8, 16, 16), res_blocks=1, norm_groups=4, quant_conv=quant_conv)
    layout = LatentLayout(8, 8 if ratio == 2 else 24, 4, ratio, base_shift=0.3, base_scale=1.7)
    base = KLAutoencoder(backbone, 8)
    initialise_base_vae(base)
    return DetailAlignedVAE.from_base(base, CodecConfig(layout, backbone, order, shared)).eval()


@torch.no_grad()
def unexplained(codec: DetailAlignedVAE, learned: bool = True) -> float:
    """Share of the wanted features' variance that the stem misses on new pictures."""
    torch.manual_seed(7)
    small = torch.rand(4, 3, 12, 12) * 2 - 1
    images = torch.nn.functional.interpolate(small, size=(48, 48), mode="bicubic").clamp(-1, 1)
    moments = codec.encode_moments(images)
    base, detail = base_to_model_space(moments.base.mean, codec.layout), moments.detail.mean
    detail = detail if learned else torch.zeros_like(detail)
    first = codec.config.stem_order == "detail_first"
    features = codec.joint.up(torch.cat((detail, base) if first else (base, detail), dim=1))
    full = codec.encoder(images)
    full = codec.quant_conv(full) if codec.quant_conv is not None else full
    latent = full.chunk(2, dim=1)[0]
    if codec.post_quant_conv is not None:
        latent = codec.post_quant_conv(latent)
    assert codec.decoder is not None and codec.decoder.conv_in is not None
    wanted: Tensor = codec.decoder.conv_in(latent)
    spread = (wanted - wanted.mean(dim=(0, 2, 3), keepdim=True)).square().mean()
    return float((features - wanted).square().mean() / spread)


@pytest.mark.parametrize(
    "changes",
    [{}, {"quant_conv": True}, {"shared": False}, {"order": "base_first"}],
    ids=["shared trunk", "quant conv", "own trunk", "base first"],
)
def test_a_fitted_stem_gives_the_decoder_what_it_knows(changes: dict[str, object]) -> None:
    codec = build(**changes)  # type: ignore[arg-type]
    before = unexplained(codec)
    fit_codec(codec, crops, detail_learned=True)
    assert unexplained(codec) < 0.35 < before


def test_the_fitted_detail_carries_what_the_base_leaves_out() -> None:
    with_detail, without = build(), build()
    fit_codec(with_detail, crops, detail_learned=True)
    fit_codec(without, crops, detail_learned=False)
    assert unexplained(with_detail) < 0.8 * unexplained(without, learned=False)


def test_without_a_detail_the_stem_does_not_listen_to_it() -> None:
    codec = build()
    fit_codec(codec, crops, detail_learned=False)
    detail = codec.layout.detail_channels
    assert float(codec.joint.up.conv.weight[:, :detail].abs().max()) < 1e-6


def test_other_ratios_can_be_fitted() -> None:
    codec = build(ratio=4)
    before = unexplained(codec)
    fit_codec(codec, crops, detail_learned=True)
    assert unexplained(codec) < before


@torch.no_grad()
def detail_rows(codec: DetailAlignedVAE) -> tuple[Tensor, Tensor]:
    """The detail and the base at every place of the crops, [N, D] and [N, C]."""
    moments = [codec.encode_moments(images) for images in crops()]
    detail, base = (
        [rows(part) for part in parts]
        for parts in zip(*((m.detail.mean, m.base.mean) for m in moments), strict=True)
    )
    return torch.cat(detail), torch.cat(base)


@pytest.mark.parametrize(
    "changes", [{}, {"shared": False}, {"ratio": 4}], ids=["shared trunk", "own trunk", "ratio 4"]
)
def test_a_packed_start_leaves_out_of_the_detail_what_the_base_tells(
    changes: dict[str, object],
) -> None:
    def told_by_base(codec: DetailAlignedVAE) -> float:
        detail, base = detail_rows(codec)
        squares = LeastSquares(base.shape[1], detail.shape[1], torch.device("cpu"))
        squares.add(base, detail)
        left = squares.residual_covariance(squares.solution()).diagonal()
        return float(1 - (left / detail.double().var(dim=0)).mean())

    summary, packed = build(**changes), build(**changes)  # type: ignore[arg-type]
    fit_codec(summary, crops, detail_learned=True)
    fit_codec(packed, crops, detail_learned=True, packed=True)
    assert told_by_base(packed) < 0.5 * told_by_base(summary)


def test_a_packed_start_is_near_a_standard_normal_and_carries_what_the_base_leaves_out() -> None:
    packed, without = build(), build()
    fit_codec(packed, crops, detail_learned=True, packed=True)
    fit_codec(without, crops, detail_learned=False)
    detail, _ = detail_rows(packed)
    assert float(detail.mean(dim=0).abs().max()) < 0.5
    assert float(detail.std(dim=0).min()) > 0.5 and float(detail.std(dim=0).max()) < 1.5
    assert unexplained(packed) < 0.8 * unexplained(without, learned=False)


def test_fitting_twice_gives_the_same() -> None:
    first, second = build(), build()
    fit_codec(first, crops, detail_learned=True)
    fit_codec(second, crops, detail_learned=True)
    weights = second.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in first.state_dict().items())


def test_a_small_codec_starts_fitted_too() -> None:
    torch.manual_seed(0)
    backbone = SmallConfig(width=16, levels=3, blocks=1, shift=0.3, scale=1.7)
    layout = LatentLayout(8, 8, 4, 2, base_shift=0.3, base_scale=1.7)
    base = KLAutoencoder(backbone, 8)
    for part in base.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    codec = DetailAlignedVAE.from_base(base, CodecConfig(layout, backbone)).eval()

    def missed() -> float:
        images = next(crops())
        moments = codec.encode_moments(images)
        latents = (moments.detail.mean, base_to_model_space(moments.base.mean, layout))
        wanted = base.decoder.first_features(base.encode_moments(images).mean)
        return float(
            (codec.joint.up(torch.cat(latents, dim=1)) - wanted).square().mean() / wanted.var()
        )

    with torch.no_grad():
        before = missed()
        fit_codec(codec, crops, detail_learned=True)
        assert missed() < 0.35 < before


@pytest.mark.parametrize(("packed", "passes"), [(False, 2), (True, 3)])
def test_the_trunk_runs_once_for_each_time_the_crops_are_read(packed: bool, passes: int) -> None:
    codec, sides = build(), list[int]()
    assert codec.detail.trunk is None
    codec.encoder.conv_in.register_forward_hook(
        lambda module, given, made: sides.append(given[0].shape[-1])
    )
    fit_codec(codec, crops, True, packed=packed)
    # Twelve crops at their own size, and at half of it for the base.
    assert sides.count(48) == sides.count(24) == 12 * passes and len(sides) == 24 * passes
