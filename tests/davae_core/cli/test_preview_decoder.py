import torch
from safetensors.torch import load_file, save_file

from davae_core.cli.commands import main
from davae_core.codec.preview_decoder import FIRST


def test_the_command_pads_the_first_layer_and_keeps_the_others(tmp_path):
    source, output = tmp_path / "taesd3_decoder.safetensors", tmp_path / "davae_out.safetensors"
    plain = {FIRST: torch.randn(64, 16, 3, 3), "3.conv.0.weight": torch.randn(4, 4)}
    save_file(plain, source)
    assert main(["preview-decoder", str(source), "-o", str(output)]) == 0
    found = load_file(output)
    assert found[FIRST].shape == (64, 32, 3, 3)
    assert torch.equal(found[FIRST][:, :16], plain[FIRST]) and not found[FIRST][:, 16:].any()
    assert torch.equal(found["3.conv.0.weight"], plain["3.conv.0.weight"])


def test_another_file_is_refused_and_nothing_is_written(tmp_path, capsys):
    source, output = tmp_path / "taesdxl_decoder.safetensors", tmp_path / "davae_out.safetensors"
    save_file({FIRST: torch.randn(64, 4, 3, 3)}, source)
    assert main(["preview-decoder", str(source), "-o", str(output)]) == 1
    assert "taesdxl_decoder.safetensors is not a preview decoder" in capsys.readouterr().err
    assert not output.exists()


def test_the_source_is_not_overwritten(tmp_path, capsys):
    source = tmp_path / "taesd3_decoder.safetensors"
    save_file({FIRST: torch.randn(64, 16, 3, 3)}, source)
    assert main(["preview-decoder", str(source), "-o", str(source)]) == 1
    assert load_file(source)[FIRST].shape == (64, 16, 3, 3)
    assert "name another" in capsys.readouterr().err
