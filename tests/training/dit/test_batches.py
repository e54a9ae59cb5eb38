"""Batches of stage 2 are a function of the seed and their number, alike for any number of processes."""

import torch

from tests.training.dit_fixtures import CONTEXT, WORDS, opened, rewrite_shard, write_cache
from training.cache.shard_files import shard_path
from training.dit.batches import LatentBatches, base_levels, noise_and_levels
from training.dit.config import FlowLossConfig
from training.engine.share import Share

OWN, NOISY = FlowLossConfig(base_levels="own"), FlowLossConfig(base_noise=0.05)


def batches(folder, size, dropout=0.5):
    return LatentBatches([opened(folder)], size, 7, dropout)


def test_two_processes_see_what_one_with_twice_the_batch_sees(davae_cache):
    alone = Share(size=4, accumulate=2, rank=0, processes=1)
    pair = [Share(size=2, accumulate=2, rank=rank, processes=2) for rank in (0, 1)]
    assert alone.per_step == pair[0].per_step == 8
    data = batches(davae_cache, 4)
    for whole, *halves in zip(alone.parts(0, 2), *(s.parts(0, 2) for s in pair), strict=True):
        expected, found = data.batch(*whole), [data.batch(*half) for half in halves]
        assert torch.equal(torch.cat([part.latents for part in found]), expected.latents)
        assert torch.equal(torch.cat([part.text.pooled for part in found]), expected.text.pooled)
        loss = FlowLossConfig()
        noise, levels = noise_and_levels(7, expected, loss)
        parts = [noise_and_levels(7, part, loss) for part in found]
        assert torch.equal(torch.cat([part[0] for part in parts]), noise)
        assert torch.equal(torch.cat([part[1] for part in parts]), levels)
        for mode, how in (("joint", OWN), ("detail", NOISY)):
            apart = [base_levels(7, part, levels[: len(part.numbers)], mode, how) for part in found]
            assert torch.equal(torch.cat(apart), base_levels(7, expected, levels, mode, how))


def test_a_batch_has_one_size_and_an_epoch_has_every_picture(davae_cache):
    data = batches(davae_cache, 2, dropout=0.0)
    assert data.per_epoch == 4
    seen = [data.batch(number) for number in range(4)]
    assert sorted(tuple(part.latents.shape[2:]) for part in seen) == [(4, 4)] * 3 + [(4, 6)]
    pooled = torch.cat([part.text.pooled for part in seen])
    assert len(torch.unique(pooled, dim=0)) == 6


def test_captions_are_dropped_at_the_given_rate(davae_cache):
    empty = opened(davae_cache).empty_text().pooled
    data = batches(davae_cache, 2)
    dropped = [
        torch.equal(row, empty[0]) for number in range(60) for row in data.batch(number).text.pooled
    ]
    assert 35 < sum(dropped) < 85


def test_with_t5_a_context_is_the_filled_up_clip_states_then_t5s_and_dropping_takes_all(
    davae, tmp_path
):
    folder = write_cache(tmp_path / "t5", davae, True, [(4, 4)] * 4, t5_tokens=3)
    cache = opened(folder)
    texts = [cache.empty_text(), *(cache.read(number)[1] for number in range(4))]
    assert all(text.t5.shape == (1, 3, CONTEXT) for text in texts)
    data, dropped = batches(folder, 2), 0
    for number in range(20):
        found = data.batch(number).text
        context = found.context(CONTEXT)
        assert context.shape == (2, WORDS + 3, CONTEXT)
        for row, pooled in zip(context, found.pooled, strict=True):
            place = next(i for i, text in enumerate(texts) if torch.equal(text.pooled[0], pooled))
            clip, rest = row.split([WORDS, 3])
            assert torch.equal(clip[:, :8], texts[place].clip[0]) and not clip[:, 8:].any()
            assert torch.equal(rest, texts[place].t5[0])
            dropped += place == 0
    assert 10 < dropped < 30


def test_every_variant_of_a_picture_is_drawn_anew_and_as_often_as_the_others(davae, tmp_path):
    folder = write_cache(tmp_path / "variants", davae, True, [(4, 4)] * 4, variants=4)
    cache = opened(folder)
    data = batches(folder, 4, dropout=0.0)
    known = {cache.read(number)[1].pooled.numpy().tobytes(): number for number in range(4)}
    drawn = torch.zeros(4, 4)
    for number in range(50):
        found = data.batch(number)
        for latent, pooled in zip(found.latents, found.text.pooled, strict=True):
            picture = known[pooled.numpy().tobytes()]
            variants = cache.read(picture)[0]
            (which,) = (i for i, variant in enumerate(variants) if torch.equal(variant, latent))
            drawn[picture, which] += 1
    assert (drawn.sum(1) == 50).all()
    assert drawn.min() >= 4 and drawn.max() <= 24


def test_the_base_shares_the_levels_has_its_own_or_is_as_good_as_clean(davae_cache):
    data, loss = batches(davae_cache, 2), FlowLossConfig()
    drawn = []
    for number in range(100):
        batch = data.batch(number)
        _, sigma = noise_and_levels(7, batch, loss)
        assert base_levels(7, batch, sigma, "joint", loss) is sigma
        assert not base_levels(7, batch, sigma, "detail", loss).any()
        own, noisy = (
            base_levels(7, batch, sigma, "joint", OWN), base_levels(7, batch, sigma, "detail", NOISY)
        )  # fmt: skip
        drawn.append(torch.stack([sigma, own, noisy]))
    sigma, own, noisy = torch.cat(drawn, dim=1)
    assert abs(torch.corrcoef(torch.stack([sigma, own]))[0, 1]) < 0.2
    for share in (0.2, 0.5, 0.8):
        assert abs(sigma.quantile(share) - own.quantile(share)) < 0.08
    assert 0 <= noisy.min() < 0.005 and 0.045 < noisy.max() <= 0.05


def test_latents_and_states_leave_a_batch_as_they_are_stored(davae, tmp_path):
    folder = write_cache(tmp_path / "t5", davae, True, [(4, 4)] * 4, t5_tokens=3)

    def halve(tensors):
        for name, tensor in tensors.items():
            tensors[name] = tensor.half()

    for number in (0, 1):
        rewrite_shard(shard_path(folder, number), halve)
    for in_memory in (False, True):
        caches = [opened(folder, in_memory)]
        found = LatentBatches(caches, 2, 7, caption_dropout=0.0).batch(0)
        text = found.text
        kinds = {part.dtype for part in (found.latents, text.clip, text.t5, text.pooled)}
        assert kinds == {torch.float16}
        wide = text.to("cpu")
        assert torch.equal(wide.t5, text.t5.float()) and wide.clip.dtype == torch.float32


def test_shards_stay_open_between_batches(davae_cache):
    caches = [opened(davae_cache, in_memory=False)]
    data = LatentBatches(caches, 2, 7, caption_dropout=0.0)
    for number in range(4):
        data.batch(number)
    shards = caches[0]._shards
    held = [shards[shard_path(davae_cache, number)] for number in (0, 1)]
    data.batch(5)
    assert [shards[shard_path(davae_cache, number)] for number in (0, 1)] == held
