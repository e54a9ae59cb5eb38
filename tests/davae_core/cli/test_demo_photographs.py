import torch

from davae_core.cli.demo_photographs import HELD_OUT, held_out_photographs
from davae_core.images import read_image
from training.mini import photographs


def test_the_demo_shows_exactly_what_training_never_looks_at(tmp_path):
    held_out = {photograph.name: photograph for photograph in photographs.HELD_OUT}
    for name, picture in held_out_photographs():
        photographs.load(held_out[name]).save(tmp_path / "same.png")
        assert torch.equal(read_image(tmp_path / "same.png"), picture)


def test_no_training_or_choosing_picture_comes_from_a_held_out_file():
    used = {photo.file for photo in (*photographs.TRAINING, *photographs.CHOOSING)}
    assert not used & {file for _, file, _ in HELD_OUT.values()}
