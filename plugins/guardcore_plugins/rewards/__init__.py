"""Judges of images: GenEval's rule, rendered text, PickScore, CLIPScore, the size of a JPEG."""
