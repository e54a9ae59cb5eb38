"""The names of the scores and of their report, and which way each is better; without PyTorch."""

from dataclasses import dataclass

REPORT = "evaluation.json"
"""The report's name in the folder of an evaluation."""


@dataclass(frozen=True)
class Score:
    """A score's name in tables, whether more of it is better, and how many decimals a table shows."""

    title: str
    more_is_better: bool
    decimals: int


SCORES = {
    "fid": Score("FID", False, 2),
    "rfid": Score("rFID", False, 2),
    "kid": Score("KID", False, 5),
    "kid_std": Score("KID +-", False, 5),
    "is": Score("IS", True, 2),
    "precision": Score("precision", True, 4),
    "recall": Score("recall", True, 4),
    "clip": Score("CLIP", True, 2),
    "psnr": Score("PSNR", True, 2),
    "ssim": Score("SSIM", True, 4),
    "lpips": Score("LPIPS", False, 4),
}
"""All scores by their names in the report, in the order of tables. FID is called rFID of rebuilt pictures."""
NEVER_BEST = ("kid_std",)
"""What no subject is the best by."""
