"""Split edge layers are the fused ones in two parts."""

import torch
import torch.nn.functional as F
from torch import nn

from training.dit.edges import SplitHead, SplitPatchEmbedder, fused_edges

BASE, DETAIL, WIDTH, PATCH = 3, 5, 8, 2


def layers():
    torch.manual_seed(0)
    embedder = SplitPatchEmbedder(nn.Conv2d(BASE, WIDTH, PATCH, stride=PATCH), DETAIL)
    head = SplitHead(nn.Linear(WIDTH, PATCH * PATCH * BASE), DETAIL, PATCH * PATCH)
    return embedder, head


def fused(embedder, head):
    weights = {f"pos_embed.proj.{k}": v for k, v in embedder.state_dict().items()}
    weights |= {f"proj_out.{k}": v for k, v in head.state_dict().items()}
    return fused_edges(weights)


def test_the_fused_embedder_does_what_the_split_one_does():
    embedder, head = layers()
    found = fused(embedder, head)
    latents = torch.randn(2, BASE + DETAIL, 4, 6)
    once = F.conv2d(
        latents, found["pos_embed.proj.weight"], found["pos_embed.proj.bias"], stride=PATCH
    )
    torch.testing.assert_close(once, embedder(latents))


def test_the_fused_head_does_what_the_split_one_does():
    embedder, head = layers()
    found = fused(embedder, head)
    tokens = torch.randn(2, 7, WIDTH)
    torch.testing.assert_close(
        F.linear(tokens, found["proj_out.weight"], found["proj_out.bias"]), head(tokens)
    )


def test_each_patch_position_holds_base_then_detail():
    _, head = layers()
    tokens = torch.randn(1, 1, WIDTH)
    whole = head(tokens).view(PATCH * PATCH, BASE + DETAIL)
    assert torch.equal(whole[:, :BASE].flatten(), head.base(tokens).flatten())
    assert torch.equal(whole[:, BASE:].flatten(), head.detail(tokens).flatten())


def test_detail_that_starts_at_zero_adds_nothing_to_the_base_layers_very_output():
    embedder, head = layers()
    for parameter in (*embedder.detail.parameters(), *head.detail.parameters()):
        nn.init.zeros_(parameter)
    latents, tokens = torch.randn(2, BASE + DETAIL, 4, 6), torch.randn(2, 7, WIDTH)
    assert torch.equal(embedder(latents), embedder.base(latents[:, :BASE]))
    base, detail = head(tokens).unflatten(2, (PATCH * PATCH, -1)).split([BASE, DETAIL], dim=-1)
    assert torch.equal(base.flatten(2), head.base(tokens))
    assert torch.count_nonzero(detail) == 0
