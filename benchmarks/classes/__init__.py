"""A class-conditional miniature: drawn, cached, trained, sampled and judged with the commands of docs/imagenet.md."""
