"""Vocabularies, tokenizers and texts."""

import pytest

from dtorch.text import (
    ByteLevelBPE,
    Vocab,
    WikiText,
    build_vocab_from_iterator,
    get_tokenizer,
    python_topics,
    vocab,
)


def test_a_vocabulary_numbers_tokens_by_frequency():
    texts = [["b", "a", "c"], ["c", "b"], ["c", "d"]]
    v = build_vocab_from_iterator(texts, specials=["<unk>", "d"])
    assert v.get_itos() == ["<unk>", "d", "c", "b", "a"]
    assert v.get_stoi() == {"<unk>": 0, "d": 1, "c": 2, "b": 3, "a": 4}
    assert (len(v), "a" in v, "x" in v) == (5, True, False)
    assert v(["a", "c"]) == v.lookup_indices(["a", "c"]) == [4, 2]
    assert v.lookup_tokens([2, 0]) == ["c", "<unk>"]
    last = build_vocab_from_iterator(texts, 2, ["<unk>"], special_first=False)
    assert last.get_itos() == ["c", "b", "<unk>"]
    assert build_vocab_from_iterator(texts, max_tokens=2, specials=["d"]).get_itos() == ["d", "c"]
    assert vocab({"z": 1, "y": 3}, min_freq=2).get_itos() == ["y"]


def test_tokens_that_are_not_there():
    v = Vocab(["<unk>", "a"])
    with pytest.raises(RuntimeError, match=r"'x' not found.*set_default_index"):
        v["x"]
    v.set_default_index(0)
    assert (v["x"], v.get_default_index()) == (0, 0)
    with pytest.raises(RuntimeError, match="index 2 is out of bounds"):
        v.lookup_token(2)
    with pytest.raises(ValueError, match="'a' comes more than once"):
        Vocab(["a", "a"])
    with pytest.raises(ValueError, match="leaves no room"):
        build_vocab_from_iterator([["a"]], specials=["b", "c"], max_tokens=1)


def test_tokenizers():
    words = get_tokenizer("basic_english")
    assert words('You can now: "Say it" -- don\'t (stop)!') == [
        "you", "can", "now", "say", "it", "--", "don", "'", "t", "(", "stop", ")", "!",
    ]  # fmt: skip
    assert get_tokenizer("characters")("ab c") == ["a", "b", " ", "c"]
    assert get_tokenizer(None)("Ab  c.") == ["Ab", "c."]
    assert get_tokenizer(words) is words
    with pytest.raises(ValueError, match="expected one of .*'basic_english'.* got 'spacy'"):
        get_tokenizer("spacy")


def test_byte_level_bpe(tmp_path):
    pytest.importorskip("tokenizers", reason="byte-level BPE is the package tokenizers'")
    bpe = ByteLevelBPE.train(["low low low lower lowest"] * 3, 262, specials=["<end>"])
    assert len(bpe) == 262
    # Merged in this order: l o, lo w, Ġ low (a space and the word); then those of two.
    assert bpe("low low") == ["low", "Ġlow"]
    assert bpe.encode("<end>") == [0]
    text = "low, naïve ☃ <end>\n\tlowest"
    assert bpe.decode(bpe.encode(text)) == text
    bpe.save(tmp_path / "bpe.json")
    assert ByteLevelBPE.load(tmp_path / "bpe.json").encode(text) == bpe.encode(text)
    with pytest.raises(ValueError, match="at least 257"):
        ByteLevelBPE.train(["a"], 256, specials=["<end>"])


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'dtorch\[text\]'"):
        ByteLevelBPE.train(["a"], 300)


def test_the_manual_comes_with_python():
    texts = python_topics()
    assert sum(map(len, texts)) > 300_000
    assert any("compound statement" in text for text in texts)


def test_wikitext(tmp_path):
    text = " \n = Title = \n \n A line \u2028 with <unk> . \n"
    (tmp_path / "wiki.valid.tokens").write_text(text, encoding="utf8")
    data = WikiText(tmp_path, "valid")
    assert list(data) == ["= Title =", "A line \u2028 with <unk> ."]
    assert (len(data), data[0]) == (2, "= Title =")
    with pytest.raises(FileNotFoundError, match=r"wiki\.test\.tokens or wiki\.test\.raw"):
        WikiText(tmp_path, "test")
    with pytest.raises(ValueError, match="got 'dev'"):
        WikiText(tmp_path, "dev")
