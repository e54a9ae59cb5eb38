"""The stages of the miniature: each is made on results of the ones before, or on the bundled files if so wanted."""

from pathlib import Path

import pytest

from davae_core import mini
from training.mini.plan import Plan, Stage, miniature_plan
from training.mini.run import read_configs
from training.settings.yaml_config import flatten

OUT = Path("/somewhere/out, of #: [the way]")


def paths(stage: Stage, plan: Plan) -> dict[str, list[str]]:
    """Whatever in a stage's configuration looks like a path, by key; TAESD3, where everything starts, is no result."""
    leaves = flatten(read_configs(plan, ())[stage.name])
    listed = {key: value if isinstance(value, list) else [value] for key, value in leaves.items()}
    return {
        key: [v for v in values if isinstance(v, str) and "/" in v and not v.startswith("taesd3/")]
        for key, values in listed.items()
    }


def is_output(key: str) -> bool:
    return key == "folder" or key.startswith("output.")


@pytest.mark.parametrize("from_bundled_codec", [False, True])
def test_every_stage_reads_what_an_earlier_one_made_or_a_bundled_file(
    from_bundled_codec: bool,
) -> None:
    plan = miniature_plan(OUT, from_bundled_codec)
    made: list[Path] = []
    for stage in plan.stages:
        for key, values in paths(stage, plan).items():
            for path in map(Path, values):
                if is_output(key):
                    assert path.is_relative_to(OUT)
                elif from_bundled_codec and path.parent == mini.davae_path().parent:
                    assert path in (mini.davae_path(), mini.clip_path())
                else:
                    assert any(path == one or path.is_relative_to(one) for one in made), (key, path)
        # A cache is known by its head, and is read as a folder.
        made.append(stage.result.parent if stage.kind == "cache" else stage.result)


def test_the_plan_makes_every_bundled_file() -> None:
    plan = miniature_plan(OUT, from_bundled_codec=False)
    bundled = {path.name for path in mini.davae_path().parent.glob("*.safetensors")}
    assert set(plan.files) == bundled
    assert {stage.result for stage in plan.stages} >= set(plan.files.values())
