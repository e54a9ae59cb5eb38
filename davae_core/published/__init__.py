"""The published checkpoints' layout, read and turned into ours."""
