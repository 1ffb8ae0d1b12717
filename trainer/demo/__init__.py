"""The demo on a real model: pretrained weights learn sums and products from a reward server."""
