"""Vocab: tokens and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


class Vocab:
    """Tokens, numbered from 0 in the order given.

    ValueError: a token comes twice.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = list(tokens)
        self._numbers = {token: i for i, token in enumerate(self._tokens)}
        self._default: int | None = None
        if len(self._numbers) != len(self._tokens):
            twice = next(t for t, n in Counter(self._tokens).items() if n > 1)
            raise ValueError(f"Vocab: the token {twice!r} comes more than once")

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._numbers

    def __getitem__(self, token: str) -> int:
        """The token's number; that of set_default_index() for one that is not there.

        RuntimeError: it is not there, and there is no default.
        """
        number = self._numbers.get(token, self._default)
        if number is None:
            raise RuntimeError(
                f"Token {token!r} not found and default index is not set; "
                'vocab.set_default_index(vocab["<unk>"]) gives unknown tokens a number'
            )
        return number

    def __call__(self, tokens: Iterable[str]) -> list[int]:
        return [self[token] for token in tokens]

    lookup_indices = __call__

    def lookup_token(self, index: int) -> str:
        """RuntimeError: there is no such number."""
        if not 0 <= index < len(self):
            raise RuntimeError(f"Specified index {index} is out of bounds for {len(self)} tokens")
        return self._tokens[index]

    def lookup_tokens(self, indices: Iterable[int]) -> list[str]:
        return [self.lookup_token(i) for i in indices]

    def set_default_index(self, index: int | None) -> None:
        """The number of tokens that are not there; None: they raise."""
        self._default = index

    def get_default_index(self) -> int | None:
        return self._default

    def get_itos(self) -> list[str]:
        """The tokens in the order of their numbers."""
        return list(self._tokens)

    def get_stoi(self) -> dict[str, int]:
        return dict(self._numbers)


def vocab(
    ordered_dict: Mapping[str, int],
    min_freq: int = 1,
    specials: Sequence[str] = (),
    special_first: bool = True,
) -> Vocab:
    """A Vocab of the keys, in their order, whose values (how often they come) are at least min_freq.

    specials: tokens that are in it in any case, at its begin, or at its end
    """
    tokens = [t for t, n in ordered_dict.items() if n >= min_freq and t not in specials]
    return Vocab([*specials, *tokens] if special_first else [*tokens, *specials])


def build_vocab_from_iterator(
    iterator: Iterable[Iterable[str]],
    min_freq: int = 1,
    specials: Sequence[str] | None = None,
    special_first: bool = True,
    max_tokens: int | None = None,
) -> Vocab:
    """A Vocab of the tokens of many texts: the most frequent first, equally frequent ones sorted.

    max_tokens: how many at most, specials included
    """
    count: Counter[str] = Counter()
    for tokens in iterator:
        count.update(tokens)
    specials = specials or ()
    ordered = dict(sorted(count.items(), key=lambda item: (-item[1], item[0])))
    if max_tokens is not None:
        if max_tokens < len(specials):
            raise ValueError(f"max_tokens={max_tokens} leaves no room for {len(specials)} specials")
        room = max_tokens - len(specials)
        ordered = dict([item for item in ordered.items() if item[0] not in specials][:room])
    return vocab(ordered, min_freq, specials, special_first)
