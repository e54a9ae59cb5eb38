"""Pictures stand under each other's order with their prompts below."""

import torch

from davae_core.cli.prompt_grid import prompt_grid


def test_every_picture_stands_in_its_place():
    images = torch.full((5, 3, 32, 32), -1.0)
    images[4, 0] = 1.0
    sheet = prompt_grid([f"prompt {n}" for n in range(5)], images)
    assert sheet.size == (12 + 4 * 44, 12 + 2 * 92)
    assert sheet.getpixel((12, 12)) == (0, 0, 0)
    assert sheet.getpixel((12, 12 + 92)) == (255, 0, 0)
    assert sheet.getpixel((12 + 44, 12 + 92)) == (255, 255, 255)
    assert len(sheet.crop((12, 44, 56, 92)).getcolors()) > 1
