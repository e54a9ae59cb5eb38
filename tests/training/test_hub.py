from pathlib import Path

import pytest
import torch

from training.base_source import load_base_source
from training.cache.config import TextConfig
from training.cache.sd3_text import Sd3TextEncoders
from training.errors import TrainingError
from training.hub import HubPlace, hub_place, same_source


def test_an_id_is_one_only_with_its_prefix() -> None:
    assert hub_place("hf:owner/name", "key") == HubPlace("owner/name", "")
    assert hub_place("hf:owner/na.me:vae/x.safetensors", "key") == HubPlace(
        "owner/na.me", "vae/x.safetensors"
    )
    for path in (
        "owner/name",
        "owner/name:vae",
        "folder/vae.safetensors",
        "C:/vae",
        "HF:owner/name",
    ):
        assert hub_place(path, "key") is None


@pytest.mark.parametrize(
    "source", ["hf:", "hf:name", "hf:a/b/c", "hf:a/b:", "hf:a/b:c d", "hf:../x:y"]
)
def test_something_else_behind_the_prefix_is_named(source: str) -> None:
    with pytest.raises(TrainingError, match="a Hugging Face id is hf:owner/name") as error:
        hub_place(source, "model.base_vae")
    assert str(error.value).startswith(f"model.base_vae is {source}, but")


@pytest.mark.parametrize(
    "source", ["checkpoints/sd3", "checkpoints/sd3:vae", "runs/vae.safetensors"]
)
def test_a_mistyped_path_is_never_asked_for_abroad(source: str) -> None:
    """Both say so before a hub client is even imported."""
    with pytest.raises(
        TrainingError, match=f"vae.file names {source}, which does not exist"
    ) as error:
        load_base_source(source, "vae.file")
    assert str(error.value).endswith(f", or hf:{source} if you mean that Hugging Face id.")
    with pytest.raises(TrainingError, match=f"text.source names {source}, which does not exist"):
        Sd3TextEncoders(source, 0, torch.device("cpu"))


def test_what_cannot_be_an_id_is_offered_none(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as error:
        load_base_source(str(tmp_path / "gone"), "vae.file")
    assert "if you mean" not in str(error.value)


def test_the_default_text_encoders_are_an_id() -> None:
    assert hub_place(TextConfig().source, "text.source") is not None


def test_caches_and_checkpoints_from_before_the_prefix_are_of_the_same_source() -> None:
    assert same_source("owner/name:vae", "hf:owner/name:vae")
    assert same_source("hf:owner/name", "hf:owner/name") and same_source(None, None)
    assert not same_source("owner/name", "hf:owner/other") and not same_source(1, "1")
