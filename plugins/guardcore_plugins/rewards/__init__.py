"""Judges of images: GenEval's rule, rendered text, and the size of a JPEG file."""
