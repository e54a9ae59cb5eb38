"""Options that several commands take, and a word that they know."""

import argparse

MINIATURE = "mini"
"""The word that stands for the bundled miniature where a DA-VAE or its plain VAE is asked for."""


def add_device(command: argparse.ArgumentParser) -> None:
    """Let a command take --device."""
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
