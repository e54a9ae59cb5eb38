"""LightningDiT, the class-conditional transformer of the paper's ImageNet models: sizes, layers, widening, files."""
