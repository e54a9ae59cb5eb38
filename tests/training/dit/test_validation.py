"""The held-out error counts finite pictures only, says so, and is the same in every process."""

import logging

import pytest
import torch

from tests.training.dit_fixtures import rewrite_shard, write_cache
from tests.training.two_processes import on_two_processes, train
from training.cache.latent_cache import LatentCache
from training.cache.shard_files import shard_path
from training.dit.config import DitTrainingConfig
from training.dit.train import DitTraining, train_dit
from training.dit.validation import ValidationPlan, measure_velocity
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.settings.yaml_config import read_config

SHIFT = 2.0


def spoil(cache, *names):
    """NaN in one value of each tensor named, which are in the first shard."""

    def put(tensors):
        for name in names:
            tensors[name].view(-1)[3] = float("nan")

    rewrite_shard(shard_path(cache, 0), put)


@pytest.fixture
def held_out(tmp_path, davae):
    return write_cache(tmp_path / "held_out", davae, True, [(4, 4), (4, 6), (4, 4)], seed=2)


def measure(training, cache, pictures):
    plan = ValidationPlan(LatentCache(cache, in_memory=False), pictures, 2, SHIFT)
    return measure_velocity(
        training.denoiser, plan, training.layout, training.accelerator, training.texts
    )


def test_pictures_with_nan_are_left_out_of_the_mean_and_mentioned(dit_config, held_out, caplog):
    training = DitTraining(dit_config())
    first = measure(training, held_out, 1)
    caplog.set_level(logging.WARNING)
    spoil(held_out, "latent.1")
    found = measure(training, held_out, 2)
    assert found == first and all(torch.isfinite(torch.tensor(list(found.values()))))
    assert f"1 of 2 held-out pictures in {held_out} are left out" in caplog.text


def test_a_validation_without_a_finite_picture_is_refused(dit_config, held_out):
    spoil(held_out, "latent.0", "pooled.1")
    with pytest.raises(TrainingError, match=r"validation\.cache .*has no finite latent and text"):
        measure(DitTraining(dit_config()), held_out, 2)


def test_processes_leave_the_same_pictures_out(write_dit_config, held_out, tmp_path):
    spoil(held_out, "clip.0")
    changes = {"validation__cache": str(held_out), "validation__samples_every": 0,
               "optimizer__learning_rate": 1e-4, "train__steps": 2}  # fmt: skip
    train_dit(
        read_config(DitTrainingConfig, write_dit_config("one", train__batch_size=4, **changes))
    )
    on_two_processes(train, write_dit_config("two", train__batch_size=2, **changes))
    errors = [read_log(tmp_path / name, "validation")[0]["velocity"] for name in ("one", "two")]
    assert errors[1] == pytest.approx(errors[0], abs=1e-5)
