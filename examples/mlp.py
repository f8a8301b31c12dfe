"""The smallest whole example: an MLP learns handwritten digits.  python examples/mlp.py"""

import dtorch
from dtorch import nn
from dtorch.utils.data import DataLoader
from dtorch.vision.datasets import Digits

dtorch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = dtorch.optim.Adam(model.parameters(), lr=2e-3)
loss_fn = nn.CrossEntropyLoss()

for epoch in range(15):
    for images, labels in DataLoader(Digits(train=True), batch_size=64, shuffle=True):
        loss = loss_fn(model(images), labels)  # images: (N, 1, 8, 8)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1:2}: loss {loss.item():.4f}")

correct = 0
with dtorch.no_grad():
    for images, labels in DataLoader(Digits(train=False), batch_size=256):
        correct += (model(images).argmax(1) == labels).sum().item()
print(f"test accuracy {correct / len(Digits(train=False)):.4f}")
