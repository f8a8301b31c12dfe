"""Text: vocabularies and tokenizers under torchtext's names, and things to read."""

from .corpora import WikiText, python_topics
from .tokenizers import ByteLevelBPE, get_tokenizer
from .vocab import Vocab, build_vocab_from_iterator, vocab

__all__ = [
    "ByteLevelBPE",
    "Vocab",
    "WikiText",
    "build_vocab_from_iterator",
    "get_tokenizer",
    "python_topics",
    "vocab",
]
