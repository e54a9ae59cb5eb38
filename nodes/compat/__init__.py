"""The only place that touches ComfyUI's internals, from 0.3.64 to today: one file per kind of object."""
