"""Every prompt has a column with a picture for each way, and the prompt below."""

import torch

from davae_core.cli.prompt_grid import prompt_grid


def test_every_picture_stands_in_its_place():
    first, second = torch.full((5, 3, 32, 32), -1.0), torch.full((5, 3, 32, 32), -1.0)
    first[4, 0] = second[1, 2] = 1.0
    sheet = prompt_grid([f"prompt {n}" for n in range(5)], {"one": first, "another": second})
    block = 2 * (20 + 32) + 52 + 12
    assert sheet.size == (12 + 4 * 44, 12 + 2 * block)
    rows = 12 + 20, 12 + 20 + 52
    assert [sheet.getpixel((12, row)) for row in rows] == [(0, 0, 0)] * 2
    assert [sheet.getpixel((12 + 44, row)) for row in rows] == [(0, 0, 0), (0, 0, 255)]
    assert sheet.getpixel((12, rows[0] + block)) == (255, 0, 0)
    assert sheet.getpixel((12 + 44, rows[0] + block)) == (255, 255, 255)
    assert len(sheet.crop((12, 12 + 104, 56, 12 + 156)).getcolors()) > 1
    assert len(sheet.crop((12, 12, 56, 32)).getcolors()) > 1
