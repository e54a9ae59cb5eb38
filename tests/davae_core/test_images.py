"""Every kind of picture file a user may hand over, and writing that leaves nothing half-done."""

import contextlib
import resource
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from davae_core.files import CheckpointError
from davae_core.images import (
    ImageError,
    from_bytes,
    image_to_pil,
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
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

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
