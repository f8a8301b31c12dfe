"""docs/coming-from-pytorch.md names all that is missing."""

import re

from .names import PAGE, compare, find, public_names


def test_nothing_is_missing_that_the_page_does_not_name():
    """It may name what has come since it was written: python -m tests.conformance.names --write."""
    rows = dict(
        re.findall(r"^\| `(torch[\w.]*)` \| \d+ of \d+ \| (.*) \|$", PAGE.read_text(), re.M)
    )
    compared = compare()
    assert rows.keys() == compared.keys()
    for namespace, (_, missing) in compared.items():
        assert set(missing) <= set(re.findall(r"`(\w+)`", rows[namespace])), namespace


def test_names_are_found_where_torch_has_them():
    assert {"matmul", "no_grad", "float32"} < set(public_names("torch"))
    assert "__add__" in public_names("torch.Tensor")
    assert find("dtorch.no.such.thing") is None
