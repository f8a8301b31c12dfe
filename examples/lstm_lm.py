"""An LSTM learns to foretell the next word of Python's own reference manual.

    python examples/lstm_lm.py --epochs 2

The text comes with Python: no download. The state at the end of a piece of text is where the next piece
begins, so that what the model knows reaches back further than gradients do.
"""

import argparse
import math

import dtorch
from dtorch import nn
from dtorch.nn import functional as F
from dtorch.text import build_vocab_from_iterator, get_tokenizer, python_topics


class LanguageModel(nn.Module):
    """Words so far in, scores of the next one out: (T, B) int64 -> (T, B, words)."""

    def __init__(self, words: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.drop = nn.Dropout(0.2)
        self.lstm = nn.LSTM(width, width, layers, dropout=0.2 if layers > 1 else 0.0)
        self.head = nn.Linear(width, words)
        self.head.weight = self.embedding.weight  # one vector a word, both to read and to write it

    def forward(self, words, state=None):
        x, state = self.lstm(self.drop(self.embedding(words)), state)
        return self.head(self.drop(x)), state


def in_columns(numbers, size: int):
    """A long text as `size` texts side by side: (length, size)."""
    length = len(numbers) // size
    return dtorch.tensor(numbers[: length * size]).view(size, length).t().contiguous()


def losses(model, text, length: int):
    """The mean loss of each piece of `length` words, one after the other.  text: (T, B)"""
    state = None
    for start in range(0, len(text) - 1, length):
        x, y = text[start : start + length], text[start + 1 : start + 1 + length]
        if state is not None:
            state = tuple(part.detach() for part in state)  # gradients stop here, values go on
        scores, state = model(x[: len(y)], state)
        yield F.cross_entropy(scores.flatten(0, 1), y.flatten())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument(
        "--topics", type=int, help="how many of the manual's topics; all by default"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=32, help="words that gradients go back")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    dtorch.manual_seed(0)

    tokenize = get_tokenizer("basic_english")
    topics = [tokenize(topic) for topic in python_topics()[: args.topics]]
    vocab = build_vocab_from_iterator(topics, min_freq=2, specials=["<unk>"])
    vocab.set_default_index(vocab["<unk>"])
    numbers = vocab([word for topic in topics for word in topic])
    cut = len(numbers) * 9 // 10
    train, valid = in_columns(numbers[:cut], args.batch_size), in_columns(numbers[cut:], 8)
    count = dtorch.bincount(train.flatten(), minlength=len(vocab)) + 1.0
    guess = (count.sum() / count).log()[valid].mean().exp().item()  # by how often each word comes
    print(f"{len(numbers)} words, {len(vocab)} different: a guess has perplexity {guess:.0f}")

    model = LanguageModel(len(vocab), args.width, args.layers)
    nn.init.normal_(model.embedding.weight, std=0.05)
    optimizer = dtorch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(1, args.epochs + 1):
        model.train()
        for loss in losses(model, train, args.length):
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
        model.eval()
        with dtorch.no_grad():
            found = [loss.item() for loss in losses(model, valid, args.length)]
        print(f"epoch {epoch}: perplexity of unseen text {math.exp(sum(found) / len(found)):.0f}")


if __name__ == "__main__":
    main()
