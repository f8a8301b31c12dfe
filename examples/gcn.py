"""A graph convolutional network on Zachary's karate club: two labels are known, 32 are found.

    python examples/gcn.py

In 1977 W. Zachary wrote down who of a club of 34 met whom.  It split between its instructor (member
0) and its president (member 33).  Given only these two, the network says where the others went:
each layer takes the mean over neighbours, H' = D^-1/2 (A + I) D^-1/2 H W (Kipf and Welling, 2017).
"""

import argparse

import dtorch
import dtorch.nn.functional as F
from dtorch import nn

# Members that each member met, of those with larger numbers.
MET = {
    0: [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31],
    1: [2, 3, 7, 13, 17, 19, 21, 30],
    2: [3, 7, 8, 9, 13, 27, 28, 32],
    3: [7, 12, 13],
    4: [6, 10],
    5: [6, 10, 16],
    6: [16],
    8: [30, 32, 33],
    9: [33],
    13: [33],
    14: [32, 33],
    15: [32, 33],
    18: [32, 33],
    19: [33],
    20: [32, 33],
    22: [32, 33],
    23: [25, 27, 29, 32, 33],
    24: [25, 27, 31],
    25: [31],
    26: [29, 33],
    27: [33],
    28: [31, 33],
    29: [32, 33],
    30: [32, 33],
    31: [32, 33],
    32: [33],
}  # 78 pairs
WITH_THE_INSTRUCTOR = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21]
MEMBERS = 34


def normalized_adjacency():
    """D^-1/2 (A + I) D^-1/2 as a sparse (34, 34) tensor."""
    pairs = [(a, b) for a, others in MET.items() for b in others]
    edges = pairs + [(b, a) for a, b in pairs] + [(a, a) for a in range(MEMBERS)]
    index = dtorch.tensor(edges).T  # (2, edges)
    degree = dtorch.bincount(index[0], minlength=MEMBERS).float()
    values = (degree[index[0]] * degree[index[1]]).rsqrt()
    return dtorch.sparse_coo_tensor(index, values, (MEMBERS, MEMBERS))


class GCN(nn.Module):
    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, hidden, bias=False)
        self.second = nn.Linear(hidden, classes, bias=False)

    def forward(self, adjacency, x):
        """x: (members, features); logits (members, classes)."""
        x = F.relu(dtorch.sparse.mm(adjacency, self.first(x)))
        return dtorch.sparse.mm(adjacency, self.second(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=0.01)
    args = parser.parse_args()
    dtorch.manual_seed(0)
    labels = dtorch.ones(MEMBERS, dtype=dtorch.long)
    labels[WITH_THE_INSTRUCTOR] = 0
    known = dtorch.tensor([0, 33])
    adjacency = normalized_adjacency()
    x = dtorch.eye(MEMBERS)  # nothing is known of a member but who it is
    model = GCN(MEMBERS, 16, 2)
    optimizer = dtorch.optim.Adam(model.parameters(), lr=args.lr, weight_decay=5e-4)
    for step in range(args.steps):
        loss = F.cross_entropy(model(adjacency, x)[known], labels[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 20 == 0:
            print(f"step {step + 1}: loss {loss.item():.4f}")
    with dtorch.no_grad():
        right = model(adjacency, x).argmax(1) == labels
    right[known] = False
    print(f"{int(right.sum())} of {MEMBERS - 2} members are found")


if __name__ == "__main__":
    main()
