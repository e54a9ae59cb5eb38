"""The codec: the pretrained VAE, the detail encoder and decoder grown from it, and their files."""
