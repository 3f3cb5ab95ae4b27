"""CLIP and T5 tokenizers learnt from the tiny world's own captions; nothing is downloaded.

CLIP's is byte-level, so that no text is unknown: all 256 bytes are in the vocabulary, inside and at
the end of a word, and the merges make whole words of everything that the captions say. T5's knows
those words and the printable ASCII characters; anything else is its unknown token, as in T5.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, T5Tokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
MAX_LENGTH = 12  # tokens, with start and end
SPACE = "\u2581"  # what a word begins with in T5


def _learnt_merges(captions: Iterable[str]) -> list[tuple[str, str]]:
    """The byte-pair merges of a corpus, in order of application."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    words = pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=2,
        show_progress=False,
        end_of_word_suffix=WORD_END,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(captions, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]


def train_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """A tokenizer for a corpus; start and end take the two highest ids, as CLIP's do."""
    merges = _learnt_merges(captions)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [left + right for left, right in merges]
    entries = [*alphabet, *(letter + WORD_END for letter in alphabet), *words, START, END]
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_LENGTH)


def train_word_tokenizer(captions: Iterable[str]) -> T5Tokenizer:
    """A T5 tokenizer: each alphabetic word of a corpus is a token, everything else characters."""
    words = sorted({word for caption in captions for word in caption.split() if word.isalpha()})
    characters = [SPACE, *string.digits, *string.ascii_letters, *string.punctuation]
    special = ["<pad>", "</s>", "<unk>"]
    # log-probabilities: a whole word beats its letters
    scores = [(word, 0.0) for word in special] + [(SPACE + word, -1.0) for word in words]
    return T5Tokenizer(
        vocab=scores + [(character, -8.0) for character in characters],
        extra_ids=0,
        model_max_length=512,
    )
