"""`python -m training cache`: what it writes, that it goes on where it was cut off, and what it refuses."""

from datetime import timedelta

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import distributed

from davae_core import mini
from davae_core.codec.autoencoder import KLAutoencoder
from davae_core.codec.files import BaseVae, load_codec, save_base_vae, save_codec
from davae_core.codec.packing_fit import pack
from davae_core.images import read_image
from davae_core.latents import LatentLayout
from davae_core.mini.clip_tokenizer import ClipTokenizer
from davae_core.mini.text_encoder_files import (
    load_text_encoder,
)
from davae_core.transformer.pretrained import load_transformer
from davae_core.transformer.sizes import transformer_sizes
from tests.training.dit_fixtures import BACKBONE, copy_of
from tests.training.two_processes import on_two_processes
from training.__main__ import main
from training.cache.buckets import Size
from training.cache.config import CacheConfig, ImagesConfig
from training.cache.latent_cache import LatentCache
from training.cache.make import make_cache
from training.cache.shard_files import is_whole, shard_path
from training.cache.windows import unenlarged, variants_of, window_of
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config


def read(path):
    return read_config(CacheConfig, path)


def test_a_cache_holds_what_the_encoders_give(cache_config, davae, tmp_path):
    report = make_cache(read(cache_config()))
    assert (report.pictures, report.left_out) == (5, {})
    cache = LatentCache(tmp_path / "out", in_memory=False)
    place = next(i for i, part in enumerate(cache.pictures) if part.name == "0/0.png")
    latents, text = cache.read(place)
    pixels = torch.from_numpy(np.asarray(Image.open(tmp_path / "captioned" / "0.png")).copy())
    image = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = load_codec(davae).encode(image)
    torch.testing.assert_close(latents.float(), expected, atol=2e-3, rtol=2e-3)
    context, pooled = load_text_encoder(mini.clip_path()).encode(["a picture 0"])
    text = text.to("cpu")
    torch.testing.assert_close(text.context(4096), context, atol=5e-3, rtol=2e-3)
    torch.testing.assert_close(text.pooled, pooled, atol=5e-3, rtol=2e-3)
    assert {(part.height, part.width) for part in cache.pictures} == {(4, 4), (2, 6)}
    assert [prompt for prompt, _ in cache.prompts()] == ["a circle"]


def test_a_packed_codec_of_any_number_of_channels_can_be_cached_and_trained_on(
    cache_config, write_dit_config, tmp_path
):
    torch.manual_seed(0)
    base = BaseVae(KLAutoencoder(BACKBONE, 4), LatentLayout(4, 0, 2, 1, 0.5, 0.25))
    codec = pack(base, [torch.rand(1, 3, 64, 64) * 2 - 1], detail_channels=11)
    path = tmp_path / "packed.safetensors"
    save_codec(path, codec)
    assert main(["cache", str(cache_config(vae__file=str(path)))]) == 0
    cache = LatentCache(tmp_path / "out", in_memory=False)
    assert cache.head.layout == LatentLayout(4, 11, 2, 2, base_shift=0.5, base_scale=0.25)
    place = next(i for i, part in enumerate(cache.pictures) if part.name == "0/0.png")
    picture = read_image(tmp_path / "captioned" / "0.png")
    with torch.no_grad():
        torch.testing.assert_close(
            cache.read(place)[0].float(), codec.encode(picture), atol=2e-3, rtol=2e-3
        )
    pooled = cache.empty_text().pooled.shape[-1]
    training = write_dit_config(
        model__base=None, model__train="full", model__vae=str(path), train__steps=1,
        model__sizes={"blocks": 1, "pooled_width": pooled}, data__caches=[str(tmp_path / "out")],
        validation__cache=copy_of(tmp_path / "out"), output__checkpoint_every=1,
    )  # fmt: skip
    assert main(["dit", str(training)]) == 0
    written = transformer_sizes(load_transformer(tmp_path / "run" / "result.safetensors"))
    assert (written.in_channels, written.out_channels) == (15, 15)


def test_a_plain_vae_of_any_number_of_channels_can_be_cached_and_trained_on(
    cache_config, write_dit_config, tmp_path
):
    torch.manual_seed(0)
    vae, path = KLAutoencoder(BACKBONE, 32), tmp_path / "wide.safetensors"
    save_base_vae(path, vae, shift=0.5, scale=0.25)
    caching = cache_config(vae__kind="base_vae", vae__file=str(path))
    assert main(["cache", str(caching)]) == 0
    cache = LatentCache(tmp_path / "out", in_memory=False)
    assert cache.head.layout == LatentLayout(32, 0, 2, 1, base_shift=0.5, base_scale=0.25)
    assert cache.head.vae == "wide.safetensors"
    place = next(i for i, part in enumerate(cache.pictures) if part.name == "0/0.png")
    pixels = torch.from_numpy(np.asarray(Image.open(tmp_path / "captioned" / "0.png")).copy())
    with torch.no_grad():
        moments = vae.encode_moments(pixels.permute(2, 0, 1)[None].float() / 127.5 - 1)
    torch.testing.assert_close(cache.read(place)[0].float(), moments.mean, atol=2e-3, rtol=2e-3)
    pooled = cache.empty_text().pooled.shape[-1]
    training = write_dit_config(
        model__base=None, model__train="full", model__vae=str(path), train__steps=1,
        model__sizes={"blocks": 1, "pooled_width": pooled}, data__caches=[str(tmp_path / "out")],
        validation__cache=copy_of(tmp_path / "out"), output__checkpoint_every=1,
    )  # fmt: skip
    assert main(["dit", str(training)]) == 0
    written = transformer_sizes(load_transformer(tmp_path / "run" / "result.safetensors"))
    assert (written.in_channels, written.out_channels) == (32, 32)
    assert set(read_log(tmp_path / "run", "validation")[0]) >= {"velocity"}


def test_memory_and_files_give_the_same(cache_config, tmp_path):
    make_cache(read(cache_config()))
    one, other = (LatentCache(tmp_path / "out", in_memory=held) for held in (True, False))
    for number in range(5):
        torch.testing.assert_close(one.read(number)[0], other.read(number)[0])


def test_an_interrupted_cache_is_finished_and_whole_shards_are_kept(cache_config, tmp_path):
    make_cache(read(cache_config()))
    paths = [shard_path(tmp_path / "out", number) for number in range(3)]
    before = [path.read_bytes() for path in paths]
    kept = paths[0].stat().st_mtime_ns
    # As long as before, but another last byte.
    paths[1].write_bytes(before[1][:-1] + bytes([before[1][-1] ^ 1]))
    paths[2].with_suffix(".json").unlink()
    assert not is_whole(paths[1])
    make_cache(read(cache_config()))
    assert [path.read_bytes() for path in paths] == before
    assert paths[0].stat().st_mtime_ns == kept


def finish_cache(path):
    make_cache(read(path))
    group = distributed.distributed_c10d._get_default_group()
    # What waits longer, for the other's last shard, waits `unhurried`.
    assert group._get_backend(torch.device("cpu")).options._timeout <= timedelta(minutes=10)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_finish_the_cache_that_one_makes(cache_config, tmp_path):
    path = cache_config()
    make_cache(read(path))
    out = tmp_path / "out"
    expected = {file.name: file.read_bytes() for file in out.iterdir()}
    for file in out.glob("shard_*"):
        if "00000" not in file.name:
            file.unlink()
    kept = shard_path(out, 0).stat().st_mtime_ns
    on_two_processes(finish_cache, path)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == expected
    assert shard_path(out, 0).stat().st_mtime_ns == kept


def test_an_unfinished_cache_is_no_cache_to_train_on(cache_config, tmp_path):
    make_cache(read(cache_config()))
    shard_path(tmp_path / "out", 2).with_suffix(".json").unlink()
    with pytest.raises(TrainingError, match=r"lacks shard_00002\.safetensors"):
        LatentCache(tmp_path / "out", in_memory=False)


def test_crops_and_flips_becomevariants_of(cache_config, tmp_path):
    make_cache(read(cache_config(images__crops=2, images__flips=True)))
    cache = LatentCache(tmp_path / "out", in_memory=False)
    variants = [cache.read(number)[0] for number in range(5)]
    assert {len(part) for part in variants} == {4}
    assert not all(torch.equal(part[0], part[2]) for part in variants)
    assert not any(torch.equal(part[0], part[1]) for part in variants)


def test_further_windows_are_not_enlarged_either():
    """Lines of one pixel keep their contrast in a picture of its bucket's size, which an enlarged window loses."""
    lines = torch.zeros(3, 16, 16, dtype=torch.uint8)
    lines[:, ::2] = 255
    for place in range(20):
        windows = variants_of(
            lines, Size(16, 16), ImagesConfig(side=16, multiple=8, crops=4), place
        )
        assert all(torch.equal(window, lines) for window in windows)
    wished = ImagesConfig(side=16, multiple=8, crops=4, enlarge=True)
    changed = [variants_of(lines, Size(16, 16), wished, place)[1] for place in range(20)]
    assert not all(torch.equal(window, lines) for window in changed)


@pytest.mark.parametrize("side", [17, 21, 24, 40])
def test_the_smallest_window_has_its_buckets_pixels(side):
    pixels = torch.zeros(3, side, side + 1, dtype=torch.uint8)
    least = unenlarged(pixels, Size(16, 16))
    assert min(window_of(pixels, least, 0.5, 0.5).shape[1:]) == 16


def test_unreadable_and_small_pictures_are_left_out_with_a_reason(cache_config, tmp_path):
    (tmp_path / "captioned" / "4.png").write_bytes(b"no picture")
    report = make_cache(read(cache_config(images__enlarge=False, images__side=24)))
    assert "is not a picture" in report.left_out["0/4.png"]
    assert "fewer than its bucket" in report.left_out["0/0.png"]


def spoil(path, name, row):
    """Put NaN into a row of a tensor of a file; nothing of ours would write it."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[name][row] = float("nan")
    save_file(tensors, path, metadata)


def test_a_latent_that_is_not_finite_is_left_out(cache_config, davae, tmp_path):
    spoil(davae, "detail.down.conv.bias", 0)
    report = make_cache(read(cache_config()))
    assert report.pictures == 0
    assert set(report.left_out.values()) == {"its latent is not finite"}


def test_another_setting_or_vae_is_refused(cache_config, davae):
    make_cache(read(cache_config()))
    with pytest.raises(TrainingError, match=r"images\.crops = 1, not 2"):
        make_cache(read(cache_config(images__crops=2)))
    codec = load_codec(davae)
    with torch.no_grad():
        codec.encoder.conv_in.bias.add_(1.0)
    save_codec(davae, codec)
    with pytest.raises(TrainingError, match=r"made with another VAE"):
        make_cache(read(cache_config()))


def test_missing_captions_are_refused_or_left_out(cache_config, tmp_path, caplog):
    (tmp_path / "captioned" / "3.txt").unlink()
    with pytest.raises(TrainingError, match=r"1 pictures have no caption, the first is .*3\.png"):
        make_cache(read(cache_config()))
    assert make_cache(read(cache_config(source__without_caption="leave_out"))).pictures == 4


def test_a_multiple_the_codec_cannot_use_is_refused(cache_config):
    with pytest.raises(TrainingError, match=r"images\.multiple is 4, .*multiple of 8"):
        make_cache(read(cache_config(images__multiple=4)))


def test_the_command_says_what_it_wrote(cache_config, capsys):
    assert main(["cache", str(cache_config())]) == 0
    assert "5 pictures in" in capsys.readouterr().out


def test_an_empty_folder_is_one_sentence(cache_config, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["cache", str(cache_config(source__folders=[str(tmp_path / "empty")]))]) == 1
    assert "holds no picture" in capsys.readouterr().err


def test_a_caption_whose_states_are_not_finite_is_left_out(cache_config, tmp_path):
    word = ClipTokenizer()("a picture 3")[3]
    clip = tmp_path / "clip.safetensors"
    clip.write_bytes(mini.clip_path().read_bytes())
    spoil(clip, "text_model.embeddings.token_embedding.weight", word)
    report = make_cache(read(cache_config(text__source=str(clip))))
    assert report.pictures == 4
    assert report.left_out == {"0/3.png": "its caption's text states are not finite"}


def test_a_caption_that_is_too_long_is_cut(cache_config, tmp_path, caplog):
    folder = tmp_path / "captioned"
    path = cache_config()
    long = " ".join(["circle"] * 75 + ["square"] * 40)
    (folder / "1.txt").write_text(long, encoding="utf-8")
    (folder / "0.txt").write_text(" ".join(["circle"] * 75), encoding="utf-8")
    (folder / "2.txt").write_text("x" * 5000, encoding="utf-8")
    report = make_cache(read(path))
    assert (report.pictures, report.left_out) == (5, {})
    cache = LatentCache(tmp_path / "out", in_memory=False)
    texts = {part.name: cache.read(i)[1] for i, part in enumerate(cache.pictures)}
    torch.testing.assert_close(texts["0/1.png"].clip, texts["0/0.png"].clip, atol=5e-3, rtol=2e-3)
    # One word that is longer than all: as much of it as fits.
    assert (texts["0/2.png"].clip - cache.empty_text().clip).abs().max() > 0.1
    assert sum("cutting a caption of more than 75 tokens" in line for line in caplog.messages) == 2
