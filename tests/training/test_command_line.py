"""What a user sees who gives the trainer something wrong: one sentence, exit code 1."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training.__main__ import PrintableLines, main
from training.errors import sentence_of

ROOT = Path(__file__).parents[2]


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that must fail with exit code 1."""
    assert main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_run_prints_the_file_it_wrote(
    write_config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(train__steps=1)
    assert main(["vae", str(config), "--set", "output.name=named"]) == 0
    written = Path(capsys.readouterr().out.strip())
    assert written.name == "named.safetensors"
    assert written.is_file()


def test_a_mistyped_key_is_refused_with_the_nearest_one(
    write_config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fails(capsys, "vae", write_config(loss__aligment={"weight": 1}))
    assert found.endswith("unknown key loss.aligment; the nearest valid key is loss.alignment.")


def test_a_mistyped_override_is_refused_alike(
    write_config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fails(capsys, "vae", write_config(), "--set", "train.step=4")
    assert found.endswith("unknown key train.step; the nearest valid key is train.steps.")


def test_a_missing_configuration_is_named(tmp_path: Path, capsys: Any) -> None:
    assert "none.yaml cannot be read" in fails(capsys, "vae", tmp_path / "none.yaml")


def test_a_missing_picture_folder_is_named(write_config: Any, capsys: Any) -> None:
    config = write_config(data__train=["nowhere"])
    assert fails(capsys, "vae", config).startswith(
        "data.train names nowhere, which is not a folder"
    )


def test_a_missing_base_vae_is_named(write_config: Any, capsys: Any) -> None:
    config = write_config(model__base_vae="nowhere.safetensors")
    assert "model.base_vae names nowhere.safetensors" in fails(capsys, "vae", config)


def test_a_foreign_base_vae_is_refused(write_config: Any, capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no weights")
    config = write_config(model__base_vae=str(tmp_path / "text.safetensors"))
    assert "is not a safetensors file" in fails(capsys, "vae", config)


def test_a_base_vae_of_other_sizes_is_refused(write_config: Any, capsys: Any) -> None:
    config = write_config(model__sizes={"base_channels": 16})
    assert "4 latent channels, but 16 are needed" in fails(capsys, "vae", config)


def test_absent_perceptual_weights_are_refused(write_config: Any, capsys: Any) -> None:
    config = write_config(loss__perceptual={"kind": "lpips", "weights": "nowhere.pth"})
    assert "nowhere.pth, which are not there" in fails(capsys, "vae", config)


def test_a_folder_that_cannot_be_made_is_named(
    write_config: Any, capsys: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert str(tmp_path / "file") in fails(
        capsys, "vae", write_config(output__folder=str(tmp_path / "file" / "run"))
    )


def test_a_damaged_checkpoint_is_named(write_config: Any, capsys: Any, tmp_path: Path) -> None:
    config = write_config("run", train__steps=4)
    assert main(["vae", str(config), "--stop-at", "2"]) == 1
    capsys.readouterr()
    checkpoint = tmp_path / "run" / "checkpoints" / "step_00000002"
    (checkpoint / "model.safetensors").write_bytes(b"")
    sentence = fails(capsys, "vae", config)
    assert f"No checkpoint in {checkpoint.parent} is whole" in sentence
    assert "model.safetensors is not what was written): remove that folder" in sentence
    shutil.rmtree(checkpoint)


def test_a_second_training_in_a_folder_is_refused(
    write_config: Any, capsys: Any, tmp_path: Path
) -> None:
    config, code = (
        write_config("run"),
        (
            "import sys; from pathlib import Path; from davae_core.disk.locking import locked\n"
            "with locked(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
        ),
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    other = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"\n"
        wanted = f"Another training (process {other.pid}) is writing into {tmp_path / 'run'}: wait for its end"
        assert wanted in fails(capsys, "vae", config)
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    finally:
        other.communicate()
    assert main(["vae", str(config)]) == 0
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("model.sizes.norm_groups=5", "cannot be divided into 5 normalisation groups"),
        ("model.sizes.widths=[8, 16]", "has other sizes than the codec"),
        ("model.sizes.widths=[0, 8]", "model.sizes.widths is 0"),
        ("model.sizes.detail_channels=3", "must be a multiple of the base channels"),
        ("model.sizes.ratio=0", "model.sizes.ratio is 0"),
        ("model.base_scale=0", "model.base_scale is 0"),
        ("train.seed=-1", "train.seed is -1"),
        ("optimizer.learning_rate=-1e-3", "optimizer.learning_rate is -0.001"),
        ("optimizer.warmup_steps=-1", "optimizer.warmup_steps is -1"),
        ("loss.l1=-1", "loss.l1 is -1.0"),
        ("loss.kl.weight=-1", "loss.kl.weight is -1.0"),
        ("loss.gan.channels=0", "loss.gan.channels is 0"),
        ("loss.gan.channels=9", "loss.gan.channels 9 and loss.gan.layers 2 make no discriminator"),
        ("loss.gan.layers=6", "make no discriminator for crops of 16 pixels"),
        ("output.name=a/b", "output.name is 'a/b'"),
    ],
)
def test_values_that_cannot_work_are_named(
    write_config: Any, capsys: Any, setting: str, wanted: str
) -> None:
    config = write_config(loss__gan__weight=0.1)
    assert wanted in fails(capsys, "vae", config, "--set", setting)


def test_wrong_usage_ends_with_two(capsys: Any) -> None:
    for arguments in ([], ["vae"], ["nothing"]):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2
        capsys.readouterr()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("a"), "Something unforeseen went wrong while working with"),
        (ValueError("cannot reshape\narray"), "(ValueError: cannot reshape"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "lower train.batch_size"),
        (RuntimeError("CUDA error: out of memory"), "raise train.accumulate as much"),
        (MemoryError(), "This computer has too little free memory"),
        (RecursionError("deep"), "RecursionError"),
        (OSError("no number"), "OSError: no number"),
    ],
)
def test_whatever_nobody_foresaw_is_one_sentence(error: Exception, words: str) -> None:
    with pytest.raises(type(error)) as caught:
        raise error
    sentence = sentence_of(caught.value, [Path("config.yaml")])
    assert words in sentence and sentence.isprintable() and sentence.endswith(".")


def test_a_log_line_is_one_line_that_a_terminal_shows() -> None:
    record = logging.makeLogRecord({"msg": "leaving out %s: no", "args": ("a\n\x1b[31mb",)})
    assert PrintableLines().format(record) == "leaving out a ?[31mb: no"


def test_output_on_a_narrow_code_page_is_no_failure(cache_config: Any, tmp_path: Path) -> None:
    out = tmp_path / "выход"
    done = subprocess.run(
        [sys.executable, "-m", "training", "cache", str(cache_config(output__folder=str(out)))],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"5 pictures in" in done.stdout and b"\\u0432" in done.stdout
