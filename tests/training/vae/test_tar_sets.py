"""Stage 1 on tar files: the crops of folders, nothing hidden, and from addresses the same few at a time."""

import io
import os
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.training.conftest import write_pictures
from tests.training.two_runs import start_two
from training.__main__ import main
from training.engine.ahead import FilesAhead
from training.engine.processes import make_accelerator
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config
from training.vae import tar_sets
from training.vae.config import DataConfig, VaeTrainingConfig
from training.vae.crops import CropDataset
from training.vae.tar_sets import find_pictures
from training.vae.tar_windows import BatchWindows
from training.vae.train import train_vae

PATIENCE = 600


def pack(shard: Path, *pictures: Path, **others: bytes) -> Path:
    """A tar file of pictures, and of other members by name."""
    shard.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shard, "w") as tar:
        for picture in pictures:
            tar.add(picture, arcname=picture.name)
        for name, held in others.items():
            info = tarfile.TarInfo(name)
            info.size = len(held)
            tar.addfile(info, io.BytesIO(held))
    return shard


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """A folder of four tar files of three pictures each."""
    write_pictures(tmp_path / "loose", 12)
    found = sorted((tmp_path / "loose").iterdir())
    for number in range(4):
        pack(tmp_path / "tars" / f"{number}.tar", *found[3 * number : 3 * number + 3])
    return tmp_path / "tars"


@pytest.fixture
def windowed(write_config: Any, tmp_path: Path) -> Any:
    """A configuration over tar files, one a window, with room of its own for those at addresses."""

    def write(name: str, *entries: str, **changes: Any) -> Path:
        (tmp_path / "downloads").mkdir(exist_ok=True)
        settings = {
            "data__train": list(entries), "data__window_shards": 1,
            "data__downloads": str(tmp_path / "downloads"), "validation__folders": [],
            "train__steps": 12,
        }  # fmt: skip
        path: Path = write_config(name, **{**settings, **changes})
        return path

    return write


def train(config: Path, stop_at: int | None = None) -> Any:
    return train_vae(read_config(VaeTrainingConfig, config), stop_at)


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_log(folder, "train")]


def test_tar_files_are_trained_on_as_the_folder_that_was_packed(
    write_config: Any, pictures: Path, tmp_path: Path
) -> None:
    names = sorted((pictures / "train").iterdir())
    pack(tmp_path / "a0.tar", *names[:3])
    pack(tmp_path / "a1.tar", *names[3:])
    train(write_config("folder"))
    train(write_config("packed", data__train=[str(tmp_path / "a{0..1}.tar")]))
    assert losses(tmp_path / "packed") == losses(tmp_path / "folder")


def test_what_a_user_never_sees_or_cannot_be_read_is_left_out(
    windowed: Any, tars: Path, tmp_path: Path, caplog: Any
) -> None:
    small = io.BytesIO()
    Image.new("RGB", (8, 8)).save(small, "PNG")
    picture = (tmp_path / "loose" / "00.png").read_bytes()
    members = {
        "._a.png": picture, "__MACOSX/b.png": picture, ".hidden/c.png": picture,
        "d.txt": b"words", "e.gif": b"GIF", "f.png": b"no picture", "g.PNG": small.getvalue(),
    }  # fmt: skip
    pack(tars / "9.tar", **members)
    train(windowed("run", str(tars / "*.tar"), data__enlarge=False, data__scale=[1.0, 1.2]))
    told = (tmp_path / "run" / "small_pictures.tsv").read_text()
    assert told == f"{tars}/9.tar/g.PNG\t8x8\n"
    listed = (tmp_path / "run" / "unreadable_pictures.tsv").read_text()
    assert listed.startswith(f"{tars}/9.tar/f.png\t") and listed.count("\n") == 1
    assert "passed over (1 .gif), the first is e.gif" in caplog.text


def test_a_run_over_addresses_is_the_one_over_the_files_also_when_it_goes_on(
    windowed: Any, tars: Path, in_memory_system: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    train(windowed("local", str(tars / "*.tar")))
    in_memory_system.put(str(tars), "/tars", recursive=True)
    fetched: list[str] = []
    fetch = tar_sets.fetch

    def noting(address: str, *rest: Any) -> None:
        fetched.append(address)
        fetch(address, *rest)

    monkeypatch.setattr(tar_sets, "fetch", noting)
    config = windowed("far", "memory://tars/{0..3}.tar")
    assert train(config, stop_at=5) is None
    train(config)
    assert losses(tmp_path / "far") == losses(tmp_path / "local")
    # Listed once, for both.
    assert sorted(fetched) == [f"memory:///tars/{number}.tar" for number in range(4)]
    assert list((tmp_path / "downloads").iterdir()) == []
    # Nor does anything go on bringing.
    for thread in threading.enumerate():
        if thread.name == "ahead":
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_an_epoch_has_every_picture_once_and_no_more_tars_than_two_windows_here(
    tars: Path, in_memory_system: Any, tmp_path: Path
) -> None:
    in_memory_system.put(str(tars), "/tars", recursive=True)
    config = DataConfig(train=("memory://tars/*.tar",), crop=16, window_shards=1)
    accelerator = make_accelerator("cpu", "fp32")
    found = find_pictures(config.train, tmp_path / "out", tmp_path / "room", accelerator)
    dataset = CropDataset(found[0], config, 7, found[1])
    windows = BatchWindows(dataset.windows, whole=1)
    samples = (dataset[number] for number in range(24))
    shown = []
    for number, sample in enumerate(FilesAhead(windows).follow(samples, 0, behind=0, reach=0)):
        assert sample.crop is not None
        here = set((tmp_path / "room").glob("*.tar"))
        window = windows.window_of(number)
        assert here <= {file for near in (0, 1) for file in windows.files_of(window + near)}
        shown.append(dataset.windows.picture(number))
    assert sorted(shown[:12]) == sorted(shown[12:]) == list(range(12))
    assert shown[:12] != shown[12:]


def test_a_tar_that_changed_at_its_address_ends_the_run_also_in_workers(
    windowed: Any, tars: Path, served: tuple[Path, str], tmp_path: Path, capsys: Any
) -> None:
    folder, address = served
    for tar in tars.iterdir():
        (folder / tar.name).write_bytes(tar.read_bytes())
    config = windowed("far", f"{address}/{{0..3}}.tar", data__workers=2)
    assert train(config, stop_at=2) is None
    for number in range(4):
        held = bytearray((folder / f"{number}.tar").read_bytes())
        # As long as before, and so of the same state where a server tells no more.
        held[700] ^= 1
        (folder / f"{number}.tar").write_bytes(held)
        os.utime(folder / f"{number}.tar", (tars / f"{number}.tar").stat()[7:9])
    assert main(["vae", str(config)]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "in data.train changed since the run listed it, or came here damaged" in told


@pytest.mark.parametrize(
    ("entries", "changes", "words"),
    [
        (["memory://a.tar"], {"data__window_shards": 0}, r"data\.train names memory://a\.tar"),
        (["a.tar", "folder"], {}, r"but data\.train names the folder folder: a window is of tar"),
        (["a.tar"], {"data__shares": [1.0]}, r"data\.shares and data\.window_shards are both set"),
    ],
)
def test_settings_that_no_window_goes_with_are_refused(
    windowed: Any, entries: list[str], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        read_config(VaeTrainingConfig, windowed("run", *entries, **changes))


def test_tar_files_that_are_none_or_hold_no_picture_are_one_sentence(
    windowed: Any, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"data\.train names .*nothere\.tar, which matches no"):
        train(windowed("run", str(tmp_path / "nothere.tar")))
    pack(tmp_path / "words.tar", **{"a.txt": b"words"})
    with pytest.raises(TrainingError, match=r"words\.tar, whose tar files hold no picture"):
        train(windowed("run", str(tmp_path / "words.tar")))
    (tmp_path / "no.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(TrainingError, match=r"no\.tar is no readable, uncompressed tar file"):
        train(windowed("run", str(tmp_path / "no.tar")))


def test_two_processes_of_which_one_is_killed_go_on_with_the_same_crops(
    windowed: Any, tars: Path, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    for tar in tars.iterdir():
        (folder / tar.name).write_bytes(tar.read_bytes())
    changes = {"train__steps": 24, "output__keep": 100}
    config = windowed("far", f"{address}/{{0..3}}.tar", **changes)
    processes = start_two("vae", config)
    checkpoint = tmp_path / "far" / "checkpoints" / "step_00000004"
    try:
        deadline = time.monotonic() + PATIENCE
        while not checkpoint.is_dir():
            assert processes[0].poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        # The second, and then, as a launcher does, the one that is left.
        for process in reversed(processes):
            process.kill()
            process.wait()
    assert len(losses(tmp_path / "far")) < 24
    for process in start_two("vae", config):
        assert process.wait(PATIENCE) == 0
    # One process with twice the batch sees the crops of two.
    train(windowed("whole", str(tars / "*.tar"), train__batch_size=4, **changes))
    found, wanted = losses(tmp_path / "far"), losses(tmp_path / "whole")
    assert len(found) == 24 and found == pytest.approx(wanted, abs=1e-4)
