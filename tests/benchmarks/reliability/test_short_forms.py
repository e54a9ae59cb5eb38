"""The long runs' short forms: damaged files and hostile prompts, kills of commands, and a soak of a real server."""

from collections.abc import Iterator

import pytest

from benchmarks.reliability.comfyui import Killable
from benchmarks.reliability.files_fuzz import fuzz, in_words
from benchmarks.reliability.jobs import running_server
from benchmarks.reliability.kills import kill_all
from benchmarks.reliability.prompts_fuzz import fuzz_prompts
from benchmarks.reliability.soak import Plan, soak
from tests.comfyui.server import comfyui_tree


@pytest.fixture(scope="module")
def killable() -> Iterator[Killable]:
    """A real ComfyUI that this file alone may kill."""
    comfyui_tree()
    with running_server() as server:
        yield server


@pytest.mark.parametrize(
    "folders", [("codecs", "text", "preview", "recipes"), ("transformers", "published")]
)
def test_every_damaged_file_is_one_sentence_or_a_result(folders):
    found = fuzz(150, seed=2, folders=folders)
    assert not [in_words(case) for case in found.bad]
    assert found.cases == 150 and found.counts["sentence"] > 50 and found.counts["valid"] > 10


@pytest.mark.parametrize(
    ("names", "kills"), [(("encode", "merge", "convert"), 9), (("cache",), 3), (("dit",), 2)]
)
def test_a_killed_command_leaves_nothing_half_written_and_ends_the_same(names, kills):
    found = kill_all(kills, 3, names)
    assert not found.bad and len(found.kills) == kills


def test_every_hostile_prompt_is_refused_or_ends_in_a_sentence_or_a_result(killable):
    found = fuzz_prompts(killable, 30, seed=2)
    assert not found.bad and sum(found.states.values()) == 30


def test_every_prompt_of_many_clients_ends_right_though_the_server_is_killed(killable):
    found = soak(killable, Plan(prompts=24, clients=4, kills=1))
    assert not found.bad and sum(found.states.values()) == 24
    assert found.states["own picture"] > 10 and found.disturbances["kill"] == 1
