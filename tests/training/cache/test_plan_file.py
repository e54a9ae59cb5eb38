"""The plan of a job: written by the one process that looks through the source, and the same to all others."""

import os
from pathlib import Path
from typing import Any

import pytest

from davae_core.files import read_safetensors, write_safetensors
from tests.training.cache_fixtures import pack_captioned
from tests.training.two_processes import on_two_processes
from training.cache import job_plan
from training.cache.captions import CaptionedPicture
from training.cache.config import CacheConfig
from training.cache.make import make_cache
from training.cache.parts import Part
from training.cache.plan_file import PlanFile, write_plan
from training.errors import TrainingError
from training.settings.yaml_config import read_config
from training.tars.place import Place


def test_a_plan_gives_its_shards_back_with_tars_in_the_readers_own_room(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    odd = Path(os.fsdecode(b"/pictures/caf\xe9 \n.png"))
    brought = Place(ours / "abc.tar", 512, 99, "0f" * 32)
    shards = (
        (CaptionedPicture("0/a.png", Place(odd), Place(odd.with_suffix(".txt")), ".txt"),),
        (),
        (CaptionedPicture("set.tar/ü", brought, Place(ours / "abc.tar", 0, 3, "", b"\xff\0a"), ".json"),),
    )  # fmt: skip
    write_plan(tmp_path / "plan", shards, ours)
    found = PlanFile(tmp_path / "plan", theirs)
    assert len(found) == 3 and found[0] == shards[0] and found[1:2] == [()]
    (picture,) = found[-1]
    assert picture.picture == Place(theirs / "abc.tar", 512, 99, "0f" * 32)
    assert picture.caption.held == b"\xff\0a" and picture.caption_suffix == ".json"


def test_a_damaged_plan_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    path.write_bytes(b"no plan")
    with pytest.raises(TrainingError, match="plan is damaged"):
        PlanFile(path, tmp_path)
    picture = CaptionedPicture("a", Place(Path("a.png")), Place(Path("a.txt")), ".txt")
    write_plan(path, [(picture,)], tmp_path / "room")
    columns, told = read_safetensors(path)
    write_safetensors(path, {**columns, "text": columns["text"].flip(0).contiguous()}, told)
    with pytest.raises(TrainingError, match="plan is damaged"):
        PlanFile(path, tmp_path)[0]


def make_and_note_scans(config: Path, part: Part, noted: Path) -> None:
    scan = job_plan.scan_captioned

    def noting(*arguments: Any) -> Any:
        (noted / f"scan_{os.environ['RANK']}").touch()
        return scan(*arguments)

    job_plan.scan_captioned = noting
    report = make_cache(read_config(CacheConfig, config), part)
    (noted / f"report_{os.environ['RANK']}").write_text(str(report.pictures))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["folder", "address"])
def test_two_processes_look_through_the_source_once_and_make_the_cache_of_one(
    cache_config: Any, served: tuple[Path, str], tmp_path: Path, kind: str
) -> None:
    cache_config()
    pack_captioned(tmp_path / "captioned", served[0] / "set.tar")
    source = {"source__folders": [], "source__shards": [f"{served[1]}/set.tar"]}
    changes: dict[str, Any] = source if kind == "address" else {}
    alone = cache_config(output__folder=str(tmp_path / "alone"), **changes)
    make_cache(read_config(CacheConfig, alone))
    noted = tmp_path / "noted"
    noted.mkdir()
    on_two_processes(make_and_note_scans, cache_config(**changes), Part(), noted)
    assert sorted(path.name for path in noted.iterdir()) == ["report_0", "report_1", "scan_0"]
    assert {(noted / f"report_{rank}").read_text() for rank in (0, 1)} == {"5"}
    ours, theirs = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.is_file()}
        for name in ("out", "alone")
    )
    assert ours == theirs


def refuse(config: Path) -> None:
    with pytest.raises(TrainingError, match="1 pictures have no caption"):
        make_cache(read_config(CacheConfig, config))


def test_what_the_looking_process_refuses_all_refuse(cache_config: Any, tmp_path: Path) -> None:
    config = cache_config()
    (tmp_path / "captioned" / "3.txt").unlink()
    on_two_processes(refuse, config)
    assert not (tmp_path / "out").exists()
