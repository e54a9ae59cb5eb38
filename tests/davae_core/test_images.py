"""Every kind of picture file a user may hand over, and writing that leaves nothing half-done."""

import contextlib
import resource
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from davae_core.files import CheckpointError
from davae_core.images import (
    ImageError,
    decode_image,
    from_bytes,
    image_to_pil,
    read_bytes,
    read_image,
    to_bytes,
    write_image,
)


def colours(height=12, width=16):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_tensor(values):
    return torch.from_numpy(values.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


def test_rgb_is_read_exactly(tmp_path):
    values = colours()
    Image.fromarray(values).save(tmp_path / "a.png")
    assert torch.allclose(read_image(tmp_path / "a.png"), as_tensor(values), atol=1e-6)


def test_alpha_is_dropped_without_blending(tmp_path):
    values = colours()
    alpha = np.zeros((*values.shape[:2], 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([values, alpha], axis=-1)).save(tmp_path / "a.png")
    assert torch.allclose(read_image(tmp_path / "a.png"), as_tensor(values), atol=1e-6)


def test_sixteen_bit_grey_is_scaled_to_its_own_range(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    expected = torch.from_numpy(ramp.astype(np.float32) / 65535 * 2 - 1)
    assert torch.allclose(read_image(tmp_path / "a.png"), expected.expand(1, 3, 16, 16), atol=1e-5)


def test_sixteen_bit_colour_is_read(tmp_path):
    # Pillow cannot write 16-bit RGB, so the file is put together by hand.
    rows = b"".join(b"\0" + struct.pack(">6H", 0, 32768, 65535, 65535, 0, 32768) for _ in range(2))
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    expected = (
        torch.tensor([[-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]]).T[None, :, None].expand(1, 3, 2, 2)
    )
    assert torch.allclose(read_image(path), expected, atol=1e-2)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA", "RGBA"])
def test_every_mode_becomes_three_channels(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.fromarray(colours()).convert(mode).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.shape == (1, 3, 12, 16)
    assert image.dtype == torch.float32
    assert image.min() >= -1 and image.max() <= 1


def test_camera_orientation_is_applied(tmp_path):
    values = np.zeros((8, 16, 3), dtype=np.uint8)
    values[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to show
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    image = read_image(tmp_path / "a.png")
    assert image.shape == (1, 3, 16, 8)
    assert (image[:, :, :8] == 1).all() and (image[:, :, 8:] == -1).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7000, 16)])
def test_extreme_sizes_are_read(tmp_path, width, height):
    Image.new("RGB", (width, height), "white").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (1, 3, height, width)


def test_text_named_png_is_named_for_what_it_is(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(ImageError, match=r"notes\.png is not a picture") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_file_is_reported(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colours(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_image(path)


def test_empty_and_missing_files_are_reported(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"empty\.png is empty"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="not a file"):
        read_image(tmp_path)


def test_written_picture_reads_back_to_the_nearest_level(tmp_path):
    image = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(1)) * 2 - 1
    write_image(tmp_path / "a.png", image)
    assert (read_image(tmp_path / "a.png") - image).abs().max() <= 1 / 255 + 1e-6


def test_values_outside_the_range_are_clamped_on_writing(tmp_path):
    write_image(tmp_path / "a.png", torch.full((3, 4, 4), 9.0))
    assert (read_image(tmp_path / "a.png") == 1).all()


def test_not_a_number_is_refused_and_the_existing_file_stays(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="not numbers"):
        write_image(path, torch.full((3, 4, 4), float("nan")))
    assert path.read_bytes() == b"before"


def test_every_byte_comes_back_as_it_was():
    pixels = torch.arange(256).to(torch.uint8)
    assert from_bytes(pixels).min() == -1 and from_bytes(pixels).max() == 1
    assert torch.equal(to_bytes(from_bytes(pixels)), pixels)
    assert to_bytes(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="One picture"):
        image_to_pil(torch.zeros(2, 3, 4, 4))


@contextlib.contextmanager
def files_limited_to(size):
    """The system refuses to let any file grow beyond ``size`` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_file_and_no_leftover(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, torch.zeros(3, 4, 4))
    before = path.read_bytes()
    noise = torch.rand(3, 200, 200, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with (
        files_limited_to(5000),
        pytest.raises(CheckpointError, match=r"a\.png could not be written"),
    ):
        write_image(path, noise)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        write_image(tmp_path / "nowhere" / "a.png", torch.zeros(3, 4, 4))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(path, kind, data):
    """Put a part of that kind behind the head of a PNG."""
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + chunk(kind, data) + whole[33:])


@pytest.mark.parametrize("name", ["EPS", "PPM", "TGA", "PDF"])
def test_other_formats_are_refused_whatever_the_file_is_called(tmp_path, name):
    path = tmp_path / "innocent.png"
    Image.fromarray(colours()).save(path, format=name)
    with pytest.raises(
        ImageError, match=r"innocent\.png is not a picture in one of the formats PNG, JPEG"
    ):
        read_image(path)


def test_no_other_program_is_started(tmp_path, monkeypatch):
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = tmp_path / "innocent.png"
    Image.fromarray(colours()).save(path, format="EPS")
    with pytest.raises(ImageError, match="not a picture in one of"):
        read_image(path)
    assert not (tmp_path / "started").exists()


def test_more_pixels_than_the_setting_allows_are_refused_before_any_is_read(tmp_path, monkeypatch):
    Image.new("1", (1500, 1000)).save(tmp_path / "a.png")
    monkeypatch.setenv("DAVAE_MAX_MEGAPIXELS", "1")
    with pytest.raises(ImageError, match=r"a\.png has 1\.5 megapixels.*DAVAE_MAX_MEGAPIXELS"):
        read_image(tmp_path / "a.png")
    monkeypatch.setenv("DAVAE_MAX_MEGAPIXELS", "2")
    assert read_image(tmp_path / "a.png").shape == (1, 3, 1000, 1500)


@pytest.mark.parametrize("limit", ["", "0", "many", "-1", "179", "9" * 5000, "1.5"])
def test_a_limit_that_is_none_is_named(tmp_path, monkeypatch, limit):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    monkeypatch.setenv("DAVAE_MAX_MEGAPIXELS", limit)
    with pytest.raises(ImageError, match=r"DAVAE_MAX_MEGAPIXELS is .* from 1 to 178"):
        read_image(tmp_path / "a.png")


def test_a_picture_of_many_pixels_in_few_bytes_is_refused(tmp_path):
    Image.new("1", (16000, 11000)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"has 176\.0 megapixels, and pictures of more than 80"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_a_large_text_or_profile_is_no_part_of_the_picture(tmp_path, kind):
    values, packed = colours(), zlib.compress(bytes(2 * 2**20))
    path = tmp_path / "a.png"
    Image.fromarray(values).save(path)
    between = b"\0\1\0\0\0" if kind == b"iTXt" else b"\0\0"
    with_chunk(path, kind, b"name" + between + packed)
    assert torch.equal(read_image(path), as_tensor(values))
    with path.open("rb") as file:
        assert torch.equal(decode_image(file, "a.png"), as_tensor(values))


def test_notes_of_a_camera_that_divide_by_zero_are_no_harm(tmp_path):
    values = colours()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = IFDRational(72, 0)
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    turned = as_tensor(values).transpose(2, 3).flip(3)
    assert torch.equal(read_image(tmp_path / "a.png"), turned)


def test_notes_that_nobody_can_read_turn_no_picture(tmp_path):
    values = colours()
    Image.fromarray(values).save(tmp_path / "a.png")
    with_chunk(tmp_path / "a.png", b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 9)
    assert torch.equal(read_image(tmp_path / "a.png"), as_tensor(values))


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (np.linspace(0, 1, 64, dtype=np.float32), 1),
        (np.arange(0, 256, 4).astype(np.float32), 255),
        (np.arange(0, 256, 4).astype(np.int32), 255),
        (np.arange(0, 65536, 1024).astype(np.int32), 65535),
    ],
)
def test_floats_and_long_whole_numbers_are_scaled_by_what_they_can_mean(tmp_path, values, white):
    Image.fromarray(values.reshape(8, 8)).save(tmp_path / "a.tif")
    wanted = torch.from_numpy(values.reshape(8, 8) / white * 2 - 1).float()
    assert torch.allclose(read_image(tmp_path / "a.tif"), wanted.expand(1, 3, 8, 8), atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1.5, 64, dtype=np.float32),
        np.linspace(-1, 1, 64, dtype=np.float32),
        np.arange(64, dtype=np.int32) * 10**5,
    ],
)
def test_values_that_may_mean_one_thing_or_another_are_refused(tmp_path, values):
    Image.fromarray(values.reshape(8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(
        ImageError, match=r"a\.tif has values from .* nobody can tell which is white"
    ):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16", "F"])
def test_bytes_are_what_the_floats_round_to(tmp_path, mode):
    picture = Image.fromarray(colours())
    if mode == "I;16":
        picture = Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8))
    elif mode == "F":
        picture = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "a.tif")
    assert torch.equal(read_bytes(tmp_path / "a.tif"), to_bytes(read_image(tmp_path / "a.tif")[0]))
