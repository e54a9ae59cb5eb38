"""YAML files into checked dataclasses."""
