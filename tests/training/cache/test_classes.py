"""Classes instead of captions: of folders, of tar files, of .cls files, by the numbers of a list."""

import tarfile
from pathlib import Path

import pytest
import torch

from tests.training.class_fixtures import (
    CLASSES,
    class_cache_settings,
    pack_classes,
    read_class_cache_config,
    write_classes,
)
from training.cache.caption_sources import scan_captioned
from training.cache.class_list import labels_of, read_class_list, states_of
from training.cache.latent_cache import LatentCache
from training.cache.make import make_cache
from training.errors import TrainingError


@pytest.fixture
def cache_of(tmp_path, davae):
    """Makes a cache of three classes of four pictures with changed settings."""
    write_classes(tmp_path / "classes")

    def make(name="cache", **changes):
        settings = class_cache_settings(tmp_path, davae, "davae", name)
        make_cache(read_class_cache_config(tmp_path / f"{name}.yaml", settings, **changes))
        return LatentCache(tmp_path / name, in_memory=True)

    return make


def classes_by_name(cache):
    return {
        picture.name: (*picture.captions, int(labels_of(cache.read(number)[1])[0]))
        for number, picture in enumerate(cache.pictures)
    }


def test_a_folder_is_a_class_and_every_picture_lies_mirrored_beside_itself(cache_of):
    cache = cache_of()
    wanted = {
        f"0/{name}/{n}.png": (name, CLASSES.index(name)) for name in CLASSES for n in range(4)
    }
    assert classes_by_name(cache) == wanted
    assert cache.read(0)[0].shape == (2, 32, 4, 4)
    assert int(labels_of(cache.empty_text())[0]) == len(CLASSES)
    prompts = {said: int(labels_of(told)[0]) for said, told in cache.prompts()}
    assert prompts == {"cat": 2, "ape": 0}


def test_a_tar_file_is_a_class_and_holds_the_same_latents(cache_of, tmp_path):
    shards = pack_classes(tmp_path / "classes", tmp_path / "shards")
    plain = cache_of()
    packed = cache_of("packed", source__folders=[], source__shards=[str(shards / "*.tar")])
    assert [told for _, told in classes_by_name(packed).values()] == [0] * 4 + [1] * 4 + [2] * 4
    for number in range(12):
        assert torch.equal(plain.read(number)[0], packed.read(number)[0])


def test_a_tar_file_at_an_address_is_a_class_by_its_own_name(cache_of, tmp_path):
    shards = pack_classes(tmp_path / "classes", tmp_path / "shards")
    room = str(tmp_path / "downloads")
    addresses = [f"file://{shards}/{name}.tar" for name in CLASSES]
    settings = {"source__folders": [], "work__downloads": room}
    near = cache_of("near", source__folders=[], source__shards=[str(shards / "*.tar")])
    far = cache_of("far", source__shards=addresses, **settings)
    assert sorted(classes_by_name(far).items()) == sorted(classes_by_name(near).items())


def test_a_cls_file_is_asked_before_any_name(tmp_path):
    folder = write_classes(tmp_path / "classes", pictures=1)
    (folder / "ape" / "0.cls").write_text("2")
    found = scan_captioned([str(folder)], [], by_class=True).pictures
    assert [picture.read_captions("")[0] for picture in found] == ["2", "bee", "cat"]
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("ape/0.png", "ape/0.cls", "bee/0.png"):
            tar.add(folder / name, arcname=name)
        tar.add(folder / "cat" / "0.png", arcname="alone.png")
    found = scan_captioned([], [str(shard)], by_class=True).pictures
    told = {picture.name: picture.read_captions("")[0] for picture in found}
    wanted = {"alone.png": "shard", "ape/0.png": "2", "bee/0.png": "bee"}
    assert told == {f"shard.tar/{name}": caption for name, caption in wanted.items()}


def test_a_picture_that_moved_to_another_class_is_cached_again(cache_of, tmp_path):
    cache_of()
    (tmp_path / "classes" / "ape" / "3.png").rename(tmp_path / "classes" / "bee" / "4.png")
    again = classes_by_name(cache_of())
    assert "0/ape/3.png" not in again and again["0/bee/4.png"] == ("bee", 1)


@pytest.mark.parametrize("label", [0, 1, 999, 1000, 1023, 1024, 2047, 21841, 1024**2 - 1])
def test_half_precision_keeps_every_class(label):
    held = states_of(torch.tensor([label])).to("cpu", torch.float16)
    assert int(labels_of(held.to("cpu"))[0]) == label


def test_a_list_is_read_by_first_words_and_refused_when_it_is_none(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("n01440764 tench, Tinca tinca\n\nn01443537 goldfish\n")
    assert read_class_list(str(path)).names == ("n01440764", "n01443537")
    for text, words in (("a\nb\na\n", "lists 'a' twice"), ("\n", "lists 0 classes")):
        path.write_text(text)
        with pytest.raises(TrainingError, match=words):
            read_class_list(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match="no list of classes"):
        read_class_list(str(path))


def test_a_class_may_be_given_by_its_number_where_that_is_no_name(tmp_path):
    (tmp_path / "classes.txt").write_text("dog\n1\ncat\n")
    classes = read_class_list(str(tmp_path / "classes.txt"))
    # "1" is the name of class 1 itself, "2" is no name.
    assert labels_of(classes.encode(["cat", "2", "1", "0", ""])).tolist() == [2, 2, 1, 0, 3]
    for wrong in ("3", "-1", "9" * 40, "²"):
        with pytest.raises(TrainingError, match="does not list the class"):
            classes.encode([wrong])


def test_a_class_that_is_not_listed_and_another_list_are_refused(cache_of, tmp_path):
    listed = tmp_path / "classes.txt"
    cache_of()
    listed.write_text("bee\nape\ncat\n")
    with pytest.raises(TrainingError, match=r"was made with text\.classes"):
        cache_of()
    listed.write_text("ape\nbee\n")
    with pytest.raises(TrainingError, match="does not list the class 'cat'"):
        cache_of("other")


def test_the_published_posterior_is_drawn_by_the_picture_alone(cache_of):
    mean, sample, noised = (
        cache_of(name, vae__posterior=name) for name in ("mean", "sample", "noised")
    )
    again = cache_of("again", vae__posterior="noised", work__batch_size=3)
    for number in range(3):
        plain, drawn, more = (c.read(number)[0] for c in (mean, sample, noised))
        assert torch.equal(plain[:, :16], more[:, :16])
        assert torch.allclose(more, again.read(number)[0], atol=2e-3)
        assert torch.allclose(plain[:, :16], drawn[:, :16])
    extra = torch.cat([noised.read(n)[0] - sample.read(n)[0] for n in range(12)])[:, 16:]
    assert abs(extra.mean()) < 0.05 and abs(extra.std() - 1) < 0.05
    with pytest.raises(TrainingError, match=r"was made with vae\.posterior = 'noised', not 'mean'"):
        cache_of("noised")


def test_the_published_posterior_needs_a_learned_detail(cache_of, base_vae):
    with pytest.raises(TrainingError, match="no detail to draw"):
        cache_of(
            "plain", vae__kind="base_vae", vae__file=str(Path(base_vae)), vae__posterior="noised"
        )


def test_classes_are_not_left_to_stage_2(cache_of):
    with pytest.raises(TrainingError, match=r"text\.states is live, but a class"):
        cache_of("live", text__states="live")
