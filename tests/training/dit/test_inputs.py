"""What a stage-2 run is given: refused by the run and by its dry run alike, in a sentence that names the key."""

import logging
import shutil
from pathlib import Path

import pytest

from davae_core.files import CheckpointError
from tests.training.dit_fixtures import copy_of
from training.__main__ import main
from training.dit.inputs import check_inputs
from training.dit.train import DitTraining
from training.errors import TrainingError

REFUSED = [
    ({"model__vae": "nothere.safetensors"}, r"model\.vae names nothere\.safetensors, which does"),
    ({"data__caches": ["nocache"]}, r"data\.caches names nocache, .* correct data\.caches"),
    (
        {"validation__cache": "nocache"},
        r"validation\.cache names nocache, .* correct validation\.cache",
    ),
    ({"loss__ramp_steps": 5}, r"loss\.ramp_steps is 5, but train\.steps is 4"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_a_run_refuses_its_dry_run_refuses(
    dit_config, write_dit_config, capsys, changes, words
):
    for refuse in (DitTraining, check_inputs):
        with pytest.raises(TrainingError, match=words):
            refuse(dit_config(**changes))
    assert main(["dit", str(write_dit_config(**changes)), "--dry-run"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1


def test_a_codec_that_the_cache_was_not_made_with_is_refused_before_the_run(dit_config, base_vae):
    with pytest.raises(CheckpointError, match="is a plain base VAE, not a DA-VAE"):
        check_inputs(dit_config(model__vae=str(base_vae)))


def test_training_and_held_out_pictures_of_one_cache_are_refused_by_whatever_name(
    dit_config, davae_cache
):
    beside = davae_cache / ".." / davae_cache.name
    with pytest.raises(TrainingError, match=r"validation\.cache .* is in data\.caches too"):
        check_inputs(dit_config(validation__cache=str(beside)))


def test_held_out_pictures_that_look_like_training_pictures_are_mentioned(
    dit_config, davae_cache, caplog
):
    caplog.set_level(logging.WARNING)
    check_inputs(dit_config())
    assert "held out" not in caplog.text
    check_inputs(dit_config(validation__cache=copy_of(davae_cache)))
    assert "3 of the first 3 pictures of validation.cache" in caplog.text


def test_an_empty_validation_cache_is_none(dit_config):
    check_inputs(dit_config(validation__cache=""))


def test_a_dry_run_that_is_fine_writes_nothing(write_dit_config, capsys, tmp_path):
    before = sorted(Path(tmp_path).rglob("*"))
    config = write_dit_config()
    assert main(["dit", str(config), "--dry-run"]) == 0
    assert sorted(path for path in Path(tmp_path).rglob("*") if path != config) == before
    shutil.rmtree(tmp_path / "cache_val")
    assert main(["dit", str(config), "--dry-run"]) == 1
    assert "validation.cache names" in capsys.readouterr().err
