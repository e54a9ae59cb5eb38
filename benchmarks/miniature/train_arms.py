"""Train every arm of the comparison: ``python -m benchmarks.miniature.train_arms OUT``.

All arms share training/configs/mini_davae.yaml and differ in the trunk, the alignment weight and
whether there is a detail at all. Each is resumable: run the same command again after a stop.
Writes OUT/arms.json for ``python -m benchmarks.miniature.report``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from davae_core.files import write_text
from training.settings.yaml_config import read_config
from training.vae.config import VaeTrainingConfig

CONFIG = Path("training/configs/mini_davae.yaml")
CONTROL = "control"


@dataclass(frozen=True)
class Recipe:
    """What sets one arm apart from mini_davae.yaml."""

    name: str
    trunk: str
    weight: float
    detail: str = "learned"

    def settings(self, folder: Path) -> list[str]:
        """The overrides for ``python -m training vae``."""
        return [
            f"model.trunk={self.trunk}",
            f"model.detail={self.detail}",
            f"loss.alignment.weight={self.weight}",
            f"output.folder={folder}",
            f"output.name={self.name}",
        ]


ARMS = (
    Recipe("frozen_0.5", "frozen", 0.5),
    Recipe("trained_0.02", "trained", 0.02),
    Recipe("trained_0.05", "trained", 0.05),
    Recipe("control", "frozen", 0.0, detail="zero"),
    Recipe("trained_0", "trained", 0.0),
    Recipe("frozen_0", "frozen", 0.0),
    Recipe("trained_0.5", "trained", 0.5),
)


def train(recipe: Recipe, out: Path, extra: list[str]) -> int:
    """Train one arm in its own process, one thread; its exit code."""
    folder = out / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "training", "vae", str(CONFIG)]
    for setting in [*recipe.settings(folder), *extra]:
        command += ["--set", setting]
    with (folder / "output.txt").open("a") as output:
        return subprocess.run(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode


def write_arms(out: Path, codec: str, unaligned: str) -> None:
    """The list that the report reads; what each arm was comes from the file its run left."""
    arms, base = {}, ""
    for recipe in ARMS:
        ran = json.loads((out / recipe.name / f"{recipe.name}.json").read_text())["config"]
        base = str(Path(ran["model.base_vae"]).resolve())
        arms[recipe.name] = {
            "file": f"{recipe.name}/{recipe.name}.safetensors",
            "trunk": ran["model.trunk"],
            "weight": ran["loss.alignment.weight"],
            "detail": ran["model.detail"],
            "steps": ran["train.steps"],
            "choosing": choosing_psnr(out / recipe.name / "log.jsonl"),
        }
    listed = {
        "base": base,
        "codec": codec,
        "control": CONTROL,
        "aligned": codec,
        "unaligned": unaligned,
        "arms": arms,
    }
    write_text(out / "arms.json", json.dumps(listed, indent=1))


def choosing_psnr(log: Path) -> float:
    """The last validation's PSNR."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return float([found["psnr"] for found in records if found["event"] == "validation"][-1])


def main() -> None:
    """Train what is missing, then list the arms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the runs")
    parser.add_argument("--jobs", type=int, default=2, help="arms trained at the same time")
    parser.add_argument("--set", action="append", default=[], help="an override for every arm")
    arguments = parser.parse_args()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        codes = list(pool.map(lambda arm: train(arm, arguments.out, arguments.set), ARMS))
    failed = [arm.name for arm, code in zip(ARMS, codes, strict=True) if code]
    if failed:
        sys.exit(
            f"These arms did not finish: {', '.join(failed)}; see output.txt in their folders."
        )
    model, alignment = (
        (config := read_config(VaeTrainingConfig, CONFIG)).model,
        config.loss.alignment,
    )
    write_arms(arguments.out, f"{model.trunk}_{alignment.weight:g}", f"{model.trunk}_0")


if __name__ == "__main__":
    main()
