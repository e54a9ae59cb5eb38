"""The training guide cannot rot: its commands parse, and its configurations and estimates are those that are there."""

import argparse
import importlib.util
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from accelerate.commands.launch import launch_command_parser

from benchmarks import training_cost
from davae_core.cli.arguments import parser as davae_parser
from training.__main__ import _parser as training_parser
from training.cache.config import CacheConfig
from training.dit.config import DitTrainingConfig
from training.errors import TrainingError
from training.mini.text_config import TextTrainingConfig
from training.sample.config import SampleConfig
from training.settings.yaml_config import read_config
from training.vae.config import VaeTrainingConfig

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "training.md"
TEXT = GUIDE.read_text(encoding="utf-8")
CONFIGS = {
    "vae": VaeTrainingConfig,
    "dit": DitTrainingConfig,
    "cache": CacheConfig,
    "text": TextTrainingConfig,
    "sample": SampleConfig,
}
STARTS = ("python ", "davae ", "accelerate ")


def code_lines(text: str) -> Iterator[str]:
    """The lines of indented blocks, continued ones joined."""
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    return iter("\n".join(lines).replace("\\\n", " ").splitlines())


COMMANDS = [line for line in code_lines(TEXT) if line.startswith(STARTS)]


SCALING = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
SCALING_COMMANDS = [line for line in code_lines(SCALING) if " CONFIG --set" in line]


@pytest.mark.parametrize("command", SCALING_COMMANDS)
def test_every_setting_that_the_page_on_scaling_gives_is_one(command: str) -> None:
    words = shlex.split(command)
    stage = words[words.index("training") + 1]
    recipe = {"vae": "paper", "dit": "sd35_paper"}[stage]
    told = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    read_config(CONFIGS[stage], ROOT / "training" / "configs" / f"{recipe}.yaml", tuple(told))


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    assert spec and spec.loader, f"{name} is not there"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(words: list[str]) -> None:
    """Let the program's own parser read a command; it exits where it would refuse."""
    if words[0] == "accelerate":
        assert words[1] == "launch"
        launched = launch_command_parser().parse_args(words[2:])
        assert launched.module
        parse(["python", "-m", launched.training_script, *launched.training_script_args])
    elif words[0] == "davae":
        davae_parser().parse_args(words[1:])
    elif words[1] == "-m":
        modules: dict[str, Callable[[list[str]], object]] = {
            "training": parse_training,
            "davae_core": davae_parser().parse_args,
            "benchmarks.training_cost": training_cost.parser().parse_args,
        }
        modules[words[2]](words[3:])
    else:
        script(words[1]).parser().parse_args(words[2:])


def parse_training(words: list[str]) -> argparse.Namespace:
    """Parse the trainer's command and read the configuration it names, with what --set changes."""
    options = training_parser().parse_args(words)
    if options.command in CONFIGS:
        read_config(CONFIGS[options.command], ROOT / options.config, tuple(options.set))
    return options


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses_and_its_settings_are_valid(command):
    parse(shlex.split(command))


def codec_trainings() -> Iterator[VaeTrainingConfig]:
    """Every stage-1 training of the guide, as it is read."""
    for command in COMMANDS:
        words = shlex.split(command)
        if "vae" in words and "training" in words:
            options = parse_training(words[words.index("training") + 1 :])
            yield read_config(VaeTrainingConfig, ROOT / options.config, tuple(options.set))


def test_the_guides_crops_are_cut_from_the_pictures_own_pixels_and_never_enlarged():
    found = list(codec_trainings())
    assert len(found) == 3
    for config in found:
        whole = config.data.crop >= config.validation.size
        assert whole or (config.data.window == "pixels" and config.data.scale[0] >= 1)
        assert not config.data.enlarge


def test_the_guide_leads_through_every_stage():
    stages = {word for command in COMMANDS for word in shlex.split(command)}
    assert {"vae", "cache", "dit", "--dry-run", "launch", "merge", "inspect"} <= stages


def test_a_command_that_does_not_parse_would_be_found():
    with pytest.raises(SystemExit):
        parse(shlex.split("python -m training dit training/configs/sd35_paper.yaml --dry-walk"))
    with pytest.raises(TrainingError):
        parse(shlex.split("python -m training dit training/configs/sd35_paper.yaml --set loss.x=1"))
    with pytest.raises(KeyError):
        parse(["python", "-m", "training.nothing"])


def test_every_configuration_that_is_named_is_there():
    named = set(re.findall(r"\b(\w+\.yaml)\b", TEXT))
    assert named
    assert not named - {path.name for path in (ROOT / "training" / "configs").glob("*.yaml")}


def test_the_committed_estimates_are_those_of_the_guide():
    written = (ROOT / "benchmarks" / "training_cost.md").read_text(encoding="utf-8").splitlines()
    rows = r"\| (stage \d,|cache,|\d+ \| [\d,]+ \| .* GB)| {4}(Trainable|Tokens|Steps|Memory) "
    said = [line for line in TEXT.splitlines() if re.match(rows, line)]
    assert len(said) > 10
    assert not set(said) - set(written)
