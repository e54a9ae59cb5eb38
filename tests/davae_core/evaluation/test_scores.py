"""The scores of pictures: what equal ones have, how they grow, and those that can be computed by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from davae_core.evaluation.clip_similarity import clip_score, load_clip
from davae_core.evaluation.networks import NetworkFiles, load_networks
from davae_core.evaluation.pictures import captions_beside, pictures_below
from davae_core.evaluation.scores import Reference, judge
from davae_core.files import CheckpointError
from davae_core.images import ImageError
from davae_core.reading.plain_text import SentenceError
from tests.davae_core.evaluation.conftest import changed, write_pictures


def quietly(items, doing):
    return items


def scores_of(folder, real, files, rebuilt=False):
    networks = load_networks(files, "cpu")
    reference = None if real is None else Reference(pictures_below(real), networks, quietly)
    pictures = pictures_below(folder)
    captions = captions_beside(pictures)
    return judge("it", pictures, reference, captions, rebuilt, networks, quietly)


def test_fid_and_kid_are_nothing_for_equal_folders_and_grow_with_what_is_done_to_one(
    inception_file, tmp_path
):
    real = write_pictures(tmp_path / "real", 6)
    little, much = (changed(real, tmp_path / str(a), a) for a in (12.0, 80.0))
    files = NetworkFiles(inception=inception_file)
    equal, near, far = (scores_of(folder, real, files).scores for folder in (real, little, much))
    assert set(equal) == {"fid", "kid", "kid_std", "precision", "recall"}
    assert equal["precision"] == equal["recall"] == 1
    assert equal["fid"] == pytest.approx(0, abs=1e-3 * far["fid"])
    assert equal["fid"] < near["fid"] < far["fid"]
    assert equal["kid"] < near["kid"] < far["kid"] and equal["kid"] <= 1e-6


def test_a_frechet_distance_is_the_one_of_two_gaussians():
    from davae_core.evaluation.distances import frechet_distance

    torch.manual_seed(0)
    first = torch.randn(5000, 3, dtype=torch.float64)
    first = (first - first.mean(0)) / first.std(0)
    # |m|^2 + tr(S + 4 S - 2 * 2 S), where S has ones in its diagonal.
    assert frechet_distance(first * 2 + 1, first) == pytest.approx(3 + 3, rel=1e-6)


def test_an_inception_score_counts_the_classes_that_are_seen_surely():
    from davae_core.evaluation.inception_score import inception_score

    sure = 50 * torch.eye(8).repeat(400, 1)
    # A part has not quite as many of each class, which costs a little.
    assert inception_score(sure) == pytest.approx(8, rel=0.02)
    assert inception_score(torch.zeros(40, 8)) == pytest.approx(1)
    assert inception_score(sure[::8]) == pytest.approx(1)


def test_precision_falls_with_pictures_from_afar_and_recall_with_few_kinds_of_them():
    from davae_core.evaluation.precision_recall import precision_recall

    torch.manual_seed(0)
    here, there = torch.randn(60, 4), torch.randn(60, 4) + 100
    both = torch.cat([here, there])
    near = both + 0.01 * torch.randn(120, 4)
    found = precision_recall(near, both)
    assert found.precision == 1 and found.recall == 1
    half_wrong = precision_recall(near, here)
    assert half_wrong.precision == pytest.approx(0.5) and half_wrong.recall == 1
    half_seen = precision_recall(near[:60], both)
    assert half_seen.precision == 1 and half_seen.recall == pytest.approx(0.5)


def test_pictures_without_real_ones_have_an_inception_score_from_ten_on(inception_file, tmp_path):
    files = NetworkFiles(inception=inception_file)
    ten, nine = (write_pictures(tmp_path / str(count), count) for count in (10, 9))
    found = scores_of(ten, None, files)
    assert set(found.scores) == {"is"} and 1 <= found.scores["is"] <= 10
    for name in ("fid", "kid", "precision", "recall"):
        assert found.left_out[name] == "no --real was given"
    assert scores_of(nine, None, files).left_out["is"] == "fewer than 10 pictures"


def one_colour(folder, name, values):
    folder.mkdir(exist_ok=True)
    pixels = np.full((16, 16, 3), values, dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.png")


def test_psnr_and_ssim_are_those_computed_by_hand(tmp_path):
    real, made = tmp_path / "real", tmp_path / "made"
    for name, values, other in (("a", 100, 110), ("b", 50, 70)):
        one_colour(real, name, values)
        one_colour(made, name, other)
    found = scores_of(made, real, NetworkFiles(), rebuilt=True)
    assert found.scores["psnr"] == pytest.approx(
        (20 * math.log10(255 / 10) + 20 * math.log10(255 / 20)) / 2, abs=1e-3
    )

    def similarity(one, other):
        # Without variance only the means are compared, in [-1, 1]; K1 = 0.01 of the range 2.
        one, other = one / 127.5 - 1, other / 127.5 - 1
        return (2 * one * other + 0.02**2) / (one**2 + other**2 + 0.02**2)

    wanted = (similarity(100, 110) + similarity(50, 70)) / 2
    assert found.scores["ssim"] == pytest.approx(wanted, abs=1e-4)
    of_drawn = {"is", "precision", "recall"}
    assert set(found.left_out) == {"rfid", "kid", "clip", "lpips"} | of_drawn
    assert all("was given" in found.left_out[name] for name in found.left_out.keys() - of_drawn)
    assert all(found.left_out[name].endswith("that were drawn") for name in of_drawn)


def test_equal_pictures_have_no_psnr_and_lpips_of_nothing(lpips_file, tmp_path):
    real = write_pictures(tmp_path / "real", 2)
    files = NetworkFiles(lpips=lpips_file)
    equal = scores_of(real, real, files, rebuilt=True)
    assert equal.scores["lpips"] == 0 and equal.scores["ssim"] == pytest.approx(1)
    assert "infinite" in equal.left_out["psnr"]
    other = changed(real, tmp_path / "other", 30.0)
    assert scores_of(other, real, files, rebuilt=True).scores["lpips"] > 0.01


def test_rebuilt_pictures_must_have_the_size_of_the_real_ones(tmp_path):
    real, made = (write_pictures(tmp_path / str(side), 1, side=side) for side in (32, 40))
    with pytest.raises(ImageError, match="40x40 pixels and the real picture 32x32"):
        scores_of(made, real, NetworkFiles(), rebuilt=True)


def test_the_clip_score_is_a_hundred_times_the_cosine_and_never_below_nothing(
    clip_folder, tmp_path
):
    folder = write_pictures(tmp_path / "drawn", 20)
    clip = load_clip(clip_folder, "cpu")
    pictures = pictures_below(folder)
    captions = {name: f"a {'bcdefghij'[int(name) % 9]}" for name in pictures.files}
    cosines = []
    for name, path in pictures.files.items():
        told = clip.processor(
            text=[captions[name]], images=[Image.open(path)], return_tensors="pt", padding=True
        )
        output = clip.model(**told)
        cosines.append(float(output.logits_per_image / clip.model.logit_scale.exp()))
    wanted = 100 * sum(max(value, 0) for value in cosines) / len(cosines)
    assert min(cosines) < 0 < max(cosines)
    assert clip_score(clip, pictures, list(pictures.files), captions) == pytest.approx(wanted, abs=1e-3)  # fmt: skip
    long = dict.fromkeys(pictures.files, "a b c d e f g h i j k l m n o p q r s t")
    assert math.isfinite(clip_score(clip, pictures, list(pictures.files), long))


def test_captions_beside_pictures_count_where_every_picture_has_one(clip_folder, tmp_path):
    folder = write_pictures(tmp_path / "drawn", 2)
    (folder / "00.txt").write_text("\ufeffa b\n", encoding="utf-8")
    files = NetworkFiles(clip=clip_folder)
    assert "caption in a .txt file" in scores_of(folder, None, files).left_out["clip"]
    (folder / "01.txt").write_text("c")
    assert captions_beside(pictures_below(folder)) == {"00": "a b", "01": "c"}
    found = scores_of(folder, None, files)
    assert found.scores["clip"] >= 0 and found.left_out["fid"].startswith("no --inception")


def test_pictures_of_many_sizes_are_judged_as_one_by_one(inception_file, tmp_path):
    from davae_core.evaluation.inception import load_inception, see

    write_pictures(tmp_path / "a", 2, side=48)
    write_pictures(tmp_path / "a" / "b", 2, seed=1)
    pictures = pictures_below(tmp_path / "a")
    assert list(pictures.files) == ["00", "01", "b/00", "b/01"]
    network = load_inception(inception_file, "cpu")
    together = see(network, pictures, pictures.files, "cpu")
    alone = [see(network, pictures, [name], "cpu") for name in pictures.files]
    assert together.features.shape == (4, 2048) and together.logits.shape == (4, 1008)
    for part in ("features", "logits"):
        one_by_one = torch.cat([getattr(each, part) for each in alone])
        torch.testing.assert_close(getattr(together, part), one_by_one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("inception", r"need Inception's weights: download https://github.com/toshas/\S+\.pth"),
        ("clip", r"needs a CLIP's: `hf download openai/clip-vit-large-patch14"),
        ("lpips", r"needs its backbone's weights: download https://download.pytorch.org/\S+vgg16"),
    ],
)
def test_a_network_that_is_not_there_is_one_sentence_with_where_to_get_it(which, words, tmp_path):
    with pytest.raises(CheckpointError, match=words) as error:
        load_networks(NetworkFiles(**{which: tmp_path / "nowhere"}), "cpu")
    assert str(tmp_path / "nowhere") in str(error.value) and str(error.value).endswith(".")


def test_a_file_that_is_no_such_network_is_refused(lpips_file, clip_folder, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    for which in ("inception", "lpips"):
        with pytest.raises(CheckpointError, match=r"other\.pth (does not hold Inc|holds no backb)"):
            load_networks(NetworkFiles(**{which: tmp_path / "other.pth"}), "cpu")
    with pytest.raises(CheckpointError, match="holds no whole CLIP"):
        load_networks(NetworkFiles(clip=tmp_path), "cpu")
    torch.save({"a": pytest.raises}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth cannot be read as plain weights"):
        load_networks(NetworkFiles(inception=tmp_path / "evil.pth"), "cpu")


def test_weights_in_a_pickle_are_no_clip(clip_folder, tmp_path):
    from shutil import copytree

    copytree(clip_folder, tmp_path / "clip")
    weights = tmp_path / "clip" / "model.safetensors"
    torch.save({}, weights.with_name("pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"with its weights in model\.safetensors"):
        load_clip(tmp_path / "clip", "cpu")


def test_the_report_names_the_networks_by_their_hash(inception_file, clip_folder, lpips_file):
    told = load_networks(NetworkFiles(inception_file, clip_folder, lpips_file), "cpu").told
    assert told["inception"]["file"] == "inception.pth" and told["lpips"]["backbone"] == "squeeze"
    assert all(len(part["sha256"]) == 64 for part in told.values())


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds no picture"),
        (["a.png", "a.jpg"], "have one name but for the suffix"),
    ],
)
def test_a_folder_without_sense_is_refused(names, words, tmp_path):
    for name in [*names, "notes.txt"]:
        (tmp_path / name).write_text("x")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "b.png").write_text("x")
    with pytest.raises(SentenceError, match=words):
        pictures_below(tmp_path)
    with pytest.raises(SentenceError, match="is no folder"):
        pictures_below(Path(tmp_path / "gone"))
