"""From text to tokens: by words, by characters, or by pieces that are learned from a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

_DROPPED = re.compile(r'"|<br />|[;:]')
_APART = re.compile(r"(['.,()!?])")


def basic_english(text: str) -> list[str]:
    """Lower-case words, and ' . , ( ) ! ? as words of their own; other quotes and ; : are dropped."""
    text = _DROPPED.sub(lambda m: "" if m[0] == '"' else " ", text.lower())
    return _APART.sub(r" \1 ", text).split()


_TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "basic_english": basic_english,
    "characters": list,
    "split": str.split,
}


def get_tokenizer(tokenizer: str | Callable[[str], Any] | None) -> Callable[[str], Any]:
    """A function from a text to its tokens: "basic_english", "characters", None (split at spaces)
    or a function, which is returned as it is.

    ValueError: another name.
    """
    if callable(tokenizer):
        return tokenizer
    name = "split" if tokenizer is None else tokenizer
    if name not in _TOKENIZERS:
        raise ValueError(f"get_tokenizer: expected one of {sorted(_TOKENIZERS)}, got {name!r}")
    return _TOKENIZERS[name]


class ByteLevelBPE:
    """Byte pair encoding over bytes (Sennrich et al. 2016, as in GPT-2), by the package tokenizers.

    Any text can be encoded, and decode() gives it back exactly.  Make one with train() or load().
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int = 1000, specials: Iterable[str] = ()
    ) -> ByteLevelBPE:
        """Learns pieces from texts.

        vocab_size: at most; at least 256, the bytes, and the specials
        specials: tokens that come whole, numbered first
        """
        package, specials = _package(), list(specials)
        if vocab_size < 256 + len(specials):
            raise ValueError(
                f"vocab_size: expected at least {256 + len(specials)} (every byte, and the specials), "
                f"got {vocab_size}"
            )
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=specials,
            initial_alphabet=package.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Any) -> ByteLevelBPE:
        """From a file of save(), or any tokenizer.json."""
        return cls(_package().Tokenizer.from_file(str(path)))

    def save(self, path: Any) -> None:
        self._tokenizer.save(str(path))

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def __call__(self, text: str) -> list[str]:
        """The pieces, as they are written in the vocabulary."""
        return self._tokenizer.encode(text).tokens

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text).ids

    def decode(self, numbers: Iterable[int]) -> str:
        return self._tokenizer.decode(list(numbers), skip_special_tokens=False)


def _package() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "ByteLevelBPE is the package tokenizers', which is not there: pip install "
            "'dtorch[text]'",
            name=error.name,
        ) from error
    return tokenizers
