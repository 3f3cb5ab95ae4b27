"""The tiny world: drawn scenes, their captions, an exact reader, a small SD3 of them."""
