"""The bases of datapipes."""

import pickle

import pytest

from dtorch.utils.data import DataLoader, IterDataPipe, MapDataPipe, functional_datapipe


class Numbers(IterDataPipe):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


class Squares(MapDataPipe):
    def __getitem__(self, i):
        return i * i

    def __len__(self):
        return 4


def test_registered_pipes_are_methods(monkeypatch):
    monkeypatch.setattr(IterDataPipe, "functions", {})

    @functional_datapipe("times")
    class Times(IterDataPipe):
        def __init__(self, source, factor):
            self.source, self.factor = source, factor

        def __iter__(self):
            return (self.factor * x for x in self.source)

    assert list(Numbers(3).times(2).times(factor=5)) == [0, 10, 20]
    assert [b.tolist() for b in DataLoader(Numbers(4).times(2), batch_size=2)] == [[0, 2], [4, 6]]
    with pytest.raises(Exception, match="already taken"):
        IterDataPipe.register_datapipe_as_function("times", Times)
    with pytest.raises(AttributeError, match="'Squares' object has no attribute 'times'"):
        Squares().times()
    with pytest.raises(TypeError, match="can only decorate"):
        functional_datapipe("x")(dict)


def test_pipes_are_datasets():
    (batch,) = DataLoader(Squares(), batch_size=4)
    assert batch.tolist() == [0, 1, 4, 9]
    assert list(Numbers(2) + Numbers(1)) == [0, 1, 0]
    assert list(pickle.loads(pickle.dumps(Numbers(2)))) == [0, 1]
