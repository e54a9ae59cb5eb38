"""Tar files of pictures, on this disk or at addresses: which there are, and what a user put into them."""
