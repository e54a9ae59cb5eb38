"""Whole runs of the stage-1 trainer on tiny models."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torchvision.models import squeezenet1_1

from davae_core.codec.files import load_base_vae, load_codec, save_base_vae
from training.engine.tracking import read_log
from training.errors import TrainingError
from training.vae.config import VaeTrainingConfig
from training.vae.train import train_vae

EVERYTHING: dict[str, Any] = {
    "model__trunk": "trained",
    "model__detail_dropout": 0.3,
    "loss__alignment__mode": "adaptive",
    "loss__alignment__weight": 0.5,
    "loss__gan__weight": 0.1,
    "loss__gan__start_step": 2,
    "train__accumulate": 2,
    "optimizer__warmup_steps": 2,
}
TIMES = ("cpu_seconds", "wall_seconds", "samples_per_second", "seconds_left")


def run(config: VaeTrainingConfig, stop_at: int | None = None) -> Path | None:
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.manual_seed(int.from_bytes(config.output.folder.encode()[-4:], "big"))
    return train_vae(config, stop_at)


def curve(config: VaeTrainingConfig, event: str = "train") -> list[dict[str, Any]]:
    records = read_log(Path(config.output.folder), event)
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


def final_state(config: VaeTrainingConfig) -> dict[str, dict[str, torch.Tensor]]:
    """Every tensor of the last checkpoint and of the result, by file."""
    folder = Path(config.output.folder)
    last = max((folder / "checkpoints").iterdir())
    files = [*sorted(last.glob("*.safetensors")), folder / "result.safetensors"]
    return {path.name: load_file(path) for path in files}


def assert_same(first: VaeTrainingConfig, second: VaeTrainingConfig) -> None:
    """Both runs ended in the same bits and logged the same curves."""
    ours, theirs = final_state(first), final_state(second)
    assert ours.keys() == theirs.keys()
    for name, tensors in ours.items():
        assert tensors.keys() == theirs[name].keys()
        for key, tensor in tensors.items():
            assert tensor.dtype == theirs[name][key].dtype, f"{name}: {key}"
            assert torch.equal(tensor, theirs[name][key]), f"{name}: {key}"
    assert curve(first) == curve(second)
    assert curve(first, "validation") == curve(second, "validation")


def test_a_codec_is_trained_and_written_with_its_statistics(make_config: Any) -> None:
    config = make_config(train__steps=3)
    path = run(config)
    assert path is not None
    codec = load_codec(path)
    assert (codec.layout.base_shift, codec.layout.base_scale) == (0.25, 2.0)
    assert not torch.equal(codec.detail.std, torch.ones(4))
    (measured,) = read_log(Path(config.output.folder), "export")
    torch.testing.assert_close(codec.detail.mean, torch.tensor(measured["detail_mean"]))
    torch.testing.assert_close(codec.detail.std, torch.tensor(measured["detail_std"]))
    summary = json.loads(path.with_suffix(".json").read_text())
    assert summary["config"]["train.steps"] == 3


def test_a_codec_trains_from_a_packed_start(make_config: Any) -> None:
    target = train_vae(make_config(model__init="packed"))
    assert target is not None
    assert torch.isfinite(load_codec(target).detail.std).all()


def test_the_base_of_a_trained_codec_is_untouched(make_config: Any, base_file: Path) -> None:
    path = run(make_config(train__steps=2, model__trunk="trained"))
    assert path is not None
    codec, base = load_file(path), load_file(base_file)
    assert all(torch.equal(codec[name], tensor) for name, tensor in base.items())
    assert not torch.equal(codec["detail.trunk.conv_in.weight"], codec["encoder.conv_in.weight"])


def test_a_base_vae_is_trained_and_written_with_its_own_shift_and_scale(
    make_config: Any, base_vae_changes: dict[str, Any]
) -> None:
    config = make_config(**base_vae_changes, train__steps=2)
    path = run(config)
    assert path is not None
    base = load_base_vae(path)
    (measured,) = read_log(Path(config.output.folder), "export")
    layout = base.layout
    assert (layout.base_shift, layout.base_scale) == (measured["shift"], measured["scale"])
    assert (layout.base_shift, layout.base_scale) != (0.0609, 1.5305)


def test_a_codec_grows_from_a_base_vae_of_the_same_trainer(
    make_config: Any, base_vae_changes: dict[str, Any]
) -> None:
    base = run(make_config("base", **base_vae_changes, train__steps=1))
    codec = run(make_config("codec", model__base_vae=str(base), train__steps=1))
    assert codec is not None
    assert load_codec(codec).layout.base_scale == load_base_vae(str(base)).layout.base_scale


def test_the_loss_falls(make_config: Any, base_vae_changes: dict[str, Any]) -> None:
    config = make_config(
        **base_vae_changes,
        train__steps=40,
        optimizer__kind="adamw",
        optimizer__learning_rate=1e-2,
        validation__folders=[],
        output__log_every=10,
        output__checkpoint_every=40,
    )
    run(config)
    first, *_, last = curve(config)
    assert last["l1"] < 0.95 * first["l1"]


def test_a_stopped_run_goes_on_bit_for_bit(make_config: Any) -> None:
    whole = make_config("whole", **EVERYTHING)
    parted = make_config("parted", **EVERYTHING)
    assert run(whole) is not None
    assert run(parted, stop_at=1) is None
    assert run(parted, stop_at=4) is None
    assert run(parted) is not None
    assert "discriminator_optimizer.safetensors" in final_state(whole)
    assert_same(whole, parted)


def test_a_stopped_base_vae_goes_on_bit_for_bit(
    make_config: Any, base_vae_changes: dict[str, Any]
) -> None:
    whole, parted = (make_config(name, **base_vae_changes) for name in ("whole", "parted"))
    run(whole)
    run(parted, stop_at=3)
    run(parted)
    assert_same(whole, parted)


def test_a_finished_run_is_only_written_again(make_config: Any) -> None:
    config = make_config(train__steps=2)
    first = run(config)
    assert first is not None
    before = load_file(first)
    again = run(config)
    assert again == first
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(first).items())
    assert [record["step"] for record in curve(config)] == [1, 2]
    assert len(curve(config, "export")) == len(curve(config, "validation")) == 1


def test_a_run_whose_newest_checkpoint_is_damaged_ends_as_if_it_were_not(
    make_config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    whole, harmed = (make_config(name, **EVERYTHING) for name in ("whole", "harmed"))
    run(whole)
    assert run(harmed, stop_at=4) is None
    newest = Path(harmed.output.folder) / "checkpoints" / "step_00000004"
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert run(harmed) is not None
    assert f"the checkpoint {newest} is damaged" in caplog.text
    assert newest.with_name("step_00000004.damaged").is_dir()
    assert_same(whole, harmed)


def test_a_validation_that_fails_does_not_cost_the_step(make_config: Any) -> None:
    config = make_config(validation__every=3, output__checkpoint_every=3)
    blocked = Path(config.output.folder) / "pictures"
    blocked.parent.mkdir()
    blocked.touch()
    with pytest.raises(OSError):
        run(config)
    assert [path.name for path in (blocked.parent / "checkpoints").iterdir()] == ["step_00000003"]
    blocked.unlink()
    run(config)
    assert [record["step"] for record in curve(config, "validation")] == [3, 6]


def test_another_base_vae_is_refused_on_resuming(make_config: Any, base_file: Path) -> None:
    config = make_config(train__steps=4)
    run(config, stop_at=2)
    kept = base_file.read_bytes()
    base = load_base_vae(base_file)
    save_base_vae(base_file, base.vae, base.layout.base_shift + 0.1, base.layout.base_scale)
    with pytest.raises(TrainingError, match="holds other weights than the checkpoint of step 2"):
        run(config)
    base_file.write_bytes(kept)
    assert run(config) is not None


def test_validation_reports_and_shows_the_averaged_weights(make_config: Any) -> None:
    config = make_config()
    run(config)
    first, last = curve(config, "validation")
    assert (first["step"], last["step"]) == (3, 6)
    assert {"psnr", "ssim", "kl", "alignment", "base_psnr"} <= set(last)
    assert first["base_psnr"] == last["base_psnr"]
    shown = Path(config.output.folder) / "pictures"
    assert sorted(path.relative_to(shown).as_posix() for path in shown.rglob("*.png")) == [
        "step_00000003/00_00.png",
        "step_00000006/00_00.png",
    ]


def test_damaged_pictures_are_counted_and_listed(make_config: Any, pictures: Path) -> None:
    (pictures / "train" / "bad.png").write_bytes(b"no picture")
    config = make_config(train__steps=5)
    run(config)
    assert curve(config)[-1]["unreadable_pictures"] == 1
    listed = (Path(config.output.folder) / "unreadable_pictures.tsv").read_text()
    assert listed.startswith(str(pictures / "train" / "bad.png") + "\t")


def test_a_changed_setting_is_refused_on_resuming(make_config: Any) -> None:
    run(make_config(train__steps=4), stop_at=2)
    with pytest.raises(TrainingError, match=r"loss\.l1 is 3\.0.*step 2 was trained with 1\.0"):
        run(make_config(train__steps=4, loss__l1=3.0))


def test_bf16_keeps_float32_weights(make_config: Any) -> None:
    config = make_config(train__steps=2, train__precision="bf16")
    assert run(config) is not None
    state = final_state(config)
    assert {tensor.dtype for tensor in state["model.safetensors"].values()} == {torch.float32}
    exact = make_config("exact", train__steps=2)
    run(exact)
    assert curve(config)[0]["l1"] == pytest.approx(curve(exact)[0]["l1"], rel=0.02)
    assert curve(config)[0]["l1"] != curve(exact)[0]["l1"]


def test_fp16_on_a_cpu_is_refused(make_config: Any) -> None:
    with pytest.raises(TrainingError, match=r"train\.precision is fp16, which needs a GPU"):
        run(make_config(train__precision="fp16"))


def test_gradient_checkpointing_changes_nothing(make_config: Any) -> None:
    plain = make_config("plain", train__steps=2)
    thrifty = make_config("thrifty", train__steps=2, train__gradient_checkpointing=True)
    run(plain), run(thrifty)
    for first, second in zip(curve(plain), curve(thrifty), strict=True):
        assert first["loss"] == pytest.approx(second["loss"], abs=1e-5)


def test_accumulating_micro_batches_equals_one_batch(make_config: Any) -> None:
    whole = make_config("whole", train__batch_size=4, train__steps=3)
    parted = make_config("parted", train__batch_size=2, train__accumulate=2, train__steps=3)
    run(whole), run(parted)
    for first, second in zip(curve(whole), curve(parted), strict=True):
        assert first["loss"] == pytest.approx(second["loss"], abs=1e-5)


def test_steps_without_finite_gradients_are_left_out_and_end_the_run(make_config: Any) -> None:
    config = make_config(loss__l1=1e38, loss__mse=1e38, train__steps=20, output__checkpoint_every=5)
    with pytest.raises(TrainingError, match="not finite 10 steps in a row"):
        run(config)
    assert (Path(config.output.folder) / "checkpoints" / "step_00000005").is_dir()


def test_a_crop_that_does_not_fit_the_codec_is_refused(make_config: Any) -> None:
    with pytest.raises(TrainingError, match=r"data\.crop is 18, but it must be a multiple of 4"):
        run(make_config(data__crop=18))


def test_a_compact_result_has_no_base_decoder(make_config: Any) -> None:
    path = run(make_config(train__steps=1, output__compact=True))
    assert path is not None
    assert not any(name.startswith("decoder.") for name in load_file(path))


@pytest.mark.parametrize("kind", ["davae", "base_vae"])
def test_a_result_can_be_written_in_half_precision(
    kind: str, make_config: Any, base_vae_changes: dict[str, Any]
) -> None:
    changes = base_vae_changes if kind == "base_vae" else {}
    whole = load_file(run(make_config("whole", train__steps=1, **changes)))
    half = load_file(run(make_config("half", train__steps=1, output__dtype="fp16", **changes)))
    for name, tensor in whole.items():
        kept = name in ("detail.mean", "detail.std")
        assert torch.equal(half[name], tensor if kept else tensor.half())


def test_a_perceptual_term_is_trained_and_logged(make_config: Any, tmp_path: Path) -> None:
    weights = tmp_path / "squeezenet.safetensors"
    save_file(squeezenet1_1(weights=None).state_dict(), weights)
    perceptual = {"kind": "lpips", "net": "squeeze", "weights": str(weights)}
    config = make_config(train__steps=2, data__crop=32, loss__perceptual=perceptual)
    assert run(config) is not None
    first = curve(config)[0]
    plain = first["l1"] + first["mse"] + 1e-6 * first["kl"] + 0.05 * first["alignment"]
    assert first["loss"] == pytest.approx(plain + first["perceptual"], rel=1e-4)


def test_workers_change_nothing(make_config: Any) -> None:
    alone = make_config("alone", train__steps=2)
    helped = make_config("helped", train__steps=2, data__workers=1)
    run(alone), run(helped)
    assert curve(alone) == curve(helped)


@pytest.mark.usefixtures("compiled_without_a_compiler")
def test_a_compiled_run_resumes_and_ends_where_a_plain_one_does(make_config):
    changes = {"model__trunk": "trained", "optimizer__learning_rate": 1e-4, "train__steps": 2}
    plain = run(make_config("plain", **changes))
    config = make_config("compiled", train__compile=True, **changes)
    assert run(config, stop_at=1) is None
    compiled = run(config)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    ours, theirs = load_file(compiled), load_file(plain)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=0)


def test_a_codec_is_looked_at_before_its_first_step(make_config: Any) -> None:
    path = run(make_config(train__steps=3, validation__at_start=True))
    assert path is not None
    assert [found["step"] for found in read_log(path.parent, "validation")] == [0, 3]
    assert list((path.parent / "pictures" / "step_00000000").glob("*.png"))
