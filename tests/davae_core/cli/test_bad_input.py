"""Bad input: one sentence on stderr, exit code 1, no traceback, nothing half-written, existing files intact."""

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from davae_core.cli.arguments import parser
from davae_core.cli.commands import main, sentence_of
from davae_core.codec.autoencoder import CodecConfig, DetailAlignedVAE, KLAutoencoder
from davae_core.codec.blocks import KLConfig
from davae_core.codec.files import load_codec, save_base_vae, save_codec
from davae_core.presets import SD3

TINY = KLConfig(widths=(8, 16, 16), res_blocks=1, norm_groups=4)
LAYOUT = replace(SD3.layout, base_factor=4)
OLD = b"what stood here before"


class Explosive:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def vae(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "davae_tiny.safetensors"
    save_codec(path, DetailAlignedVAE(CodecConfig(LAYOUT, TINY)))
    return path


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def latent(vae, photo, tmp_path, capsys):
    path = tmp_path / "latent.safetensors"
    assert main(["encode", str(photo), "-o", str(path), "--vae", str(vae)]) == 0
    capsys.readouterr()
    return path


@pytest.fixture
def fails(tmp_path, capsys):
    """Run a command whose `-o` exists already; returns its one sentence."""

    def run(command, source, output, *rest):
        output = tmp_path / output
        output.write_bytes(OLD)
        before = sorted(tmp_path.rglob("*"))
        code = main([command, str(source), "-o", str(output), *map(str, rest)])
        out, err = capsys.readouterr()
        assert code == 1
        assert out == "" and err.count("\n") == 1
        assert err.startswith("davae: ") and err.endswith(".\n")
        assert "Traceback" not in err
        assert output.read_bytes() == OLD
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


def truncated(path, vae):
    path.write_bytes(vae.read_bytes()[:-1000])


def truncated_in_the_header(path, vae):
    path.write_bytes(vae.read_bytes()[:100])


def empty(path, vae):
    path.write_bytes(b"")


def a_text(path, vae):
    path.write_text("once upon a time there was a latent\n" * 10)


def a_pickle(path, vae):
    path.write_bytes(pickle.dumps(Explosive(path.with_name("exploded"))))


def a_torch_pickle(path, vae):
    torch.save({"weight": torch.zeros(1)}, path)


def a_lora(path, vae):
    save_file({"transformer.blocks.0.attn.to_q.lora_A.weight": torch.zeros(4, 4)}, path)


def without_tensors(path, vae):
    save_file({}, path)


def an_sd1_vae(path, vae):
    save_file(KLAutoencoder(TINY, 4).state_dict(), path)


def a_base_vae(path, vae):
    save_base_vae(path, KLAutoencoder(TINY, 16), 0.0, 1.0)


def a_davae_without_its_metadata(path, vae):
    save_file(load_file(vae), path)


BAD_FILES = {
    truncated: "is cut short",
    truncated_in_the_header: "is cut short",
    empty: "is empty",
    a_text: "is not a safetensors file",
    a_pickle: "is a pickle",
    a_torch_pickle: "is a pickle",
    a_lora: "is a LoRA, not a DA-VAE",
    without_tensors: "is a file without tensors, not a DA-VAE",
    an_sd1_vae: "is a plain VAE of 4 latent channels, not a DA-VAE",
    a_base_vae: "is a plain base VAE, not a DA-VAE",
    a_davae_without_its_metadata: "is a DA-VAE that lost its description",
}


@pytest.mark.parametrize(
    ("make", "words"), BAD_FILES.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_file_that_is_no_davae_is_refused(make, words, vae, photo, tmp_path, fails):
    bad = tmp_path / "davae_bad.safetensors"
    make(bad, vae)
    sentence = fails("encode", photo, "out.safetensors", "--vae", bad)
    assert str(bad) in sentence and words in sentence
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("make", [truncated, empty, a_text, a_pickle, a_torch_pickle])
def test_inspect_says_why_a_file_cannot_be_read(make, vae, tmp_path, capsys):
    bad = tmp_path / "bad.safetensors"
    make(bad, vae)
    assert main(["inspect", str(bad)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and BAD_FILES[make] in err


def test_a_missing_file_is_named(photo, tmp_path, vae, fails):
    assert "missing.safetensors" in fails(
        "encode", photo, "out.safetensors", "--vae", tmp_path / "missing.safetensors"
    )
    assert "missing.png" in fails(
        "encode", tmp_path / "missing.png", "out.safetensors", "--vae", vae
    )


def test_a_text_named_png_is_refused(vae, tmp_path, fails):
    text = tmp_path / "letter.png"
    text.write_text("Dear reader,\n")
    assert "letter.png is not a picture" in fails("encode", text, "out.safetensors", "--vae", vae)


def test_a_picture_cut_short_is_refused(vae, photo, tmp_path, fails):
    photo.write_bytes(photo.read_bytes()[:2000])
    assert "cut short" in fails("encode", photo, "out.safetensors", "--vae", vae)


def test_a_picture_of_one_pixel_is_refused(vae, tmp_path, fails):
    dot = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(dot)
    sentence = fails("encode", dot, "out.safetensors", "--vae", vae)
    assert "dot.png" in sentence and "1x1 pixels" in sentence and "at least 8" in sentence


def test_a_latent_with_nan_is_refused(vae, latent, fails):
    samples = load_file(latent)["samples"]
    samples[0, 3, 2, 1] = float("nan")
    save_file({"samples": samples}, latent)
    sentence = fails("decode", latent, "out.png", "--vae", vae)
    assert "latent.safetensors" in sentence and "NaN" in sentence


@pytest.mark.parametrize("options", [(), ("--draft",), ("--tiled",)])
def test_a_latent_of_16_channels_is_refused(options, vae, latent, fails):
    save_file({"samples": torch.zeros(1, 16, 8, 8)}, latent)
    sentence = fails("decode", latent, "out.png", "--vae", vae, *options)
    assert "latent.safetensors" in sentence and "davae_tiny.safetensors" in sentence
    assert "[1, 16, 8, 8]" in sentence and "32" in sentence


def test_a_latent_of_another_davae_is_refused(vae, latent, tmp_path, fails):
    torch.manual_seed(1)
    other = tmp_path / "davae_other.safetensors"
    save_codec(other, DetailAlignedVAE(CodecConfig(LAYOUT, TINY)))
    sentence = fails("decode", latent, "out.png", "--vae", other)
    assert "latent.safetensors was encoded with another DA-VAE" in sentence
    assert "davae_other.safetensors" in sentence


def test_weights_given_as_a_latent_and_several_latents_are_refused(vae, latent, tmp_path, fails):
    assert "is a DA-VAE, not a latent" in fails("decode", vae, "out.png", "--vae", vae)
    save_file({"samples": torch.zeros(2, 32, 8, 8)}, latent)
    assert "holds 2 latents" in fails("decode", latent, "out.png", "--vae", vae)


def test_a_file_s_own_name_in_small_letters_begins_a_sentence_too(
    vae, latent, tmp_path, monkeypatch, fails
):
    """It is no library's error, which begin so."""
    save_file({"samples": torch.zeros(2, 32, 8, 8)}, latent)
    monkeypatch.chdir(tmp_path)
    assert fails("decode", latent.name, "out.png", "--vae", vae).startswith(
        "davae: latent.safetensors holds 2 latents"
    )


@pytest.mark.parametrize("shape", [(0, 32, 8, 8), (1, 32, 0, 8), (1, 32, 8, 0)])
def test_a_latent_without_anything_in_it_is_refused(shape, vae, latent, fails):
    save_file({"samples": torch.zeros(shape)}, latent)
    sentence = fails("decode", latent, "out.png", "--vae", vae)
    assert "latent.safetensors" in sentence and str(list(shape)) in sentence


def test_a_draft_from_a_compact_file_points_to_the_stock_vae(vae, latent, tmp_path, fails):
    compact = tmp_path / "compact.safetensors"
    save_codec(compact, load_codec(vae), compact=True)
    assert "stock VAE" in fails("decode", latent, "out.png", "--vae", compact, "--draft")


def test_convert_runs_no_code_from_a_pickle(tmp_path, fails):
    source = tmp_path / "pytorch_model.bin"
    torch.save({"vae.x": torch.zeros(1), "code": Explosive(tmp_path / "exploded")}, source)
    assert "never run" in fails("convert", source, "out.safetensors")
    assert not (tmp_path / "exploded").exists()


def test_convert_asks_for_the_base_decoder_where_the_source_lacks_it(
    published_file, published, tmp_path, fails
):
    base_decoder = "original_vae_model.vae.decoder."
    torch.save(
        {k: v for k, v in published.items() if not k.startswith(base_decoder)}, published_file
    )
    sentence = fails("convert", published_file, "out.safetensors")
    assert "pytorch_model.bin holds the encoder of its base VAE but not the decoder" in sentence
    assert "--base" in sentence and "--compact" in sentence


def test_convert_refuses_another_base_than_the_source_holds_the_encoder_of(
    published_file, published, golden, tmp_path, fails
):
    base_decoder = "original_vae_model.vae.decoder."
    torch.save(
        {k: v for k, v in published.items() if not k.startswith(base_decoder)}, published_file
    )
    other = tmp_path / "other"
    shutil.copytree(golden / "base_vae", other)
    weights = load_file(other / "diffusion_pytorch_model.safetensors")
    save_file(
        {k: 1.1 * v for k, v in weights.items()}, other / "diffusion_pytorch_model.safetensors"
    )
    sentence = fails("convert", published_file, "out.safetensors", "--base", other)
    assert "holds the encoder of another base VAE" in sentence


def test_convert_refuses_an_sd1_vae_as_sd3s(published_file, published, tmp_path, fails):
    without = {k: v for k, v in published.items() if not k.startswith("original_vae_model.")}
    torch.save(without, published_file)
    sd1 = tmp_path / "sd1.safetensors"
    an_sd1_vae(sd1, None)
    sentence = fails("convert", published_file, "out.safetensors", "--base", sd1)
    assert "sd1.safetensors is a VAE with 4 latent channels, but 16 are needed" in sentence
    assert "give the pretrained VAE" in fails("convert", published_file, "out.safetensors")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mean": [1], "std": [1]}', '{"mean": "x"}'])
def test_convert_refuses_statistics_that_are_none(text, published_file, tmp_path, fails):
    stats = tmp_path / "stats.json"
    stats.write_text(text)
    fails("convert", published_file, "out.safetensors", "--stats", stats)


@pytest.mark.parametrize(
    "read", ["encode --vae", "decode LATENT", "decode --vae", "convert SRC", "convert --base"]
)
def test_a_file_is_not_written_over_one_that_is_read(
    read, vae, photo, latent, published_file, tmp_path, golden, capsys
):
    base = tmp_path / "base"
    shutil.copytree(golden / "base_vae", base)
    picture = tmp_path / "picture.png"
    renamed = published_file.with_suffix(".safetensors")
    renamed.hardlink_to(published_file)
    picture.hardlink_to(latent if read == "decode LATENT" else vae)
    command, output = {
        "encode --vae": (["encode", photo, "--vae", vae], vae),
        "decode LATENT": (["decode", latent, "--vae", vae], picture),
        "decode --vae": (["decode", latent, "--vae", vae], picture),
        "convert SRC": (["convert", published_file], renamed),
        "convert --base": (
            ["convert", published_file, "--base", base],
            base / "diffusion_pytorch_model.safetensors",
        ),
    }[read]
    before = output.read_bytes()
    assert main([*map(str, command), "-o", str(output)]) == 1
    assert output.read_bytes() == before
    assert f"{output} is a file that this command reads" in capsys.readouterr().err


def test_reconstruct_does_not_write_over_a_picture_it_reads(vae, photo, tmp_path, capsys):
    other = tmp_path / "photo_davae.png"
    other.write_bytes(photo.read_bytes())
    command = ["reconstruct", str(photo), str(other), "-o", str(tmp_path), "--vae", str(vae)]
    assert main(command) == 1
    assert other.read_bytes() == photo.read_bytes()
    assert "photo_davae.png is a file that this command reads" in capsys.readouterr().err


def test_a_picture_with_nan_is_refused(vae, tmp_path, fails):
    values = np.full((16, 16), 0.5, dtype=np.float32)
    values[3, 4] = np.nan
    Image.fromarray(values).save(tmp_path / "depth.tiff")
    sentence = fails("encode", tmp_path / "depth.tiff", "out.safetensors", "--vae", vae)
    assert "depth.tiff holds NaN" in sentence


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_too_little_memory_is_one_sentence(command, vae, tmp_path):
    source, output = tmp_path / "source", tmp_path / "out"
    if command == "encode":
        source, output = source.with_suffix(".png"), output.with_suffix(".safetensors")
        Image.new("RGB", (8000, 8000)).save(source)
    else:
        source, output = source.with_suffix(".safetensors"), output.with_suffix(".png")
        save_file({"samples": torch.zeros(1, 32, 500, 500)}, source)
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, command, source, "-o", output, "--vae", vae],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "davae: This computer has too little free memory: add --tiled.\n"
    assert not output.exists()


@pytest.mark.parametrize("size", [600_000_000, 900_000_000])
def test_too_little_memory_for_a_file_is_one_sentence(size, tmp_path):
    large = tmp_path / "large.safetensors"
    entry = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"weight": entry}).encode()
    with large.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        # A hole: it takes no room on the disk.
        file.truncate(8 + len(header) + size)
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, "inspect", large], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("davae: This computer has too little free memory")
    assert done.stderr.count("\n") == 1


WITH_LITTLE_MEMORY = """
import resource, sys
import torch
from davae_core.cli.commands import main
torch.set_num_threads(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""


def test_reconstruct_refuses_two_pictures_of_one_name(vae, photo, tmp_path, capsys):
    twin = tmp_path / "twin" / "photo.png"
    twin.parent.mkdir()
    twin.write_bytes(photo.read_bytes())
    out = tmp_path / "out"
    command = ["reconstruct", str(photo), str(twin), "-o", str(out), "--vae", str(vae)]
    assert main(command) == 1
    assert "under one name" in capsys.readouterr().err
    assert not out.exists()


def test_an_output_folder_that_is_a_file_is_refused(vae, photo, fails):
    assert "a folder is needed" in fails("reconstruct", photo, "out", "--vae", vae)


def test_an_output_in_a_missing_folder_is_refused(vae, photo, tmp_path, capsys):
    out = tmp_path / "nowhere" / "out.safetensors"
    assert main(["encode", str(photo), "-o", str(out), "--vae", str(vae)]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err


@contextmanager
def room_for(size):
    """Let this process write no file larger than `size` bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("command", ["encode", "decode", "convert", "reconstruct"])
def test_a_full_disk_leaves_what_was_there(
    command, vae, photo, latent, published_file, tmp_path, capsys
):
    folder = tmp_path / "out"
    folder.mkdir()
    sources = {"encode": photo, "decode": latent, "convert": published_file, "reconstruct": photo}
    names = {"decode": "out.png", "reconstruct": "photo_davae.png"}
    existing = folder / names.get(command, "out.safetensors")
    existing.write_bytes(OLD)
    output = folder if command == "reconstruct" else existing
    rest = [] if command == "convert" else ["--vae", str(vae)]
    with room_for(1024):
        code = main([command, str(sources[command]), "-o", str(output), *rest])
    sentence = capsys.readouterr().err
    assert code == 1
    assert sentence.count("\n") == 1 and "the disk is full" in sentence
    assert str(existing) in sentence
    assert existing.read_bytes() == OLD
    assert list(folder.iterdir()) == [existing]


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_a_package_that_the_demo_lacks_is_named_at_once(package, monkeypatch, tmp_path, capsys):
    # None in sys.modules is how Python marks a package that cannot be imported.
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert package in printed.err and "pip install" in printed.err
    assert not list((tmp_path / "demo").iterdir())


def test_a_device_that_is_not_there_is_named(vae, photo, tmp_path):
    command = ["encode", photo, "-o", tmp_path / "x.safetensors", "--vae", vae, "--device", "cuda"]
    done = subprocess.run(
        [sys.executable, "-m", "davae_core", *map(str, command)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "--device cpu" in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            KeyError("a"),
            "Something unforeseen went wrong while working with a.safetensors (KeyError: 'a'",
        ),
        (ZeroDivisionError(), "(ZeroDivisionError, test_bad_input.py line"),
        (ValueError("cannot reshape\narray"), "(ValueError: cannot reshape,"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "The GPU has too little free memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
            "The GPU has too little free memory",
        ),
        (MemoryError(), "This computer has too little free memory"),
        (RecursionError("deep"), "RecursionError: deep"),
        (OSError("no number"), "OSError: no number"),
    ],
)
def test_whatever_nobody_foresaw_is_one_sentence(error, words):
    options = parser().parse_args(["inspect", "a.safetensors"])
    with pytest.raises(type(error)) as caught:
        raise error
    sentence = sentence_of(caught.value, options)
    assert words in sentence and sentence.isprintable() and sentence.endswith(".")


def test_a_full_memory_offers_tiles_where_there_are_any():
    options = parser().parse_args(["encode", "a.png", "-o", "b.safetensors", "--vae", "mini"])
    assert sentence_of(MemoryError(), options).endswith("add --tiled.")
