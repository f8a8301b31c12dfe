"""docs/coming-from-pytorch.md has the figures of the dtorch that it comes with."""

from .names import BEGIN, END, PAGE, find, public_names, table


def test_the_page_is_up_to_date():
    """If not: python -m tests.conformance.names --write."""
    written = PAGE.read_text().split(BEGIN)[1].split(END)[0]
    assert written.strip() == table()


def test_names_are_found_where_torch_has_them():
    assert {"matmul", "no_grad", "float32"} < set(public_names("torch"))
    assert "__add__" in public_names("torch.Tensor")
    assert find("dtorch.no.such.thing") is None
