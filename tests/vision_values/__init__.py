"""What torchvision computes, for tests to compare with, and how it was computed."""
