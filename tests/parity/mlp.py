"""Hidden layers of ReLU units."""
import torch.nn as nn
import torch.nn.functional as F

from harness import Case, adamw, images, sgd


class MLP(nn.Module):
    def __init__(self, width, layers, inputs, classes):
        super().__init__()
        self.layers = layers
        for k in range(layers):
            setattr(self, f"fc{k + 1}", nn.Linear(width if k else inputs, width))
        setattr(self, f"fc{layers + 1}", nn.Linear(width, classes))

    def forward(self, x):
        x = x.flatten(1)
        for k in range(self.layers):
            x = F.relu(getattr(self, f"fc{k + 1}")(x))
        return getattr(self, f"fc{self.layers + 1}")(x)


CASES = [Case("mlp(width=48,layers=2)", lambda: MLP(48, 2, 3 * 7 * 7, 10), images(7, 3, 10, 16),
              optimizer, "small", True)
         for optimizer in (sgd(0.02), sgd(0.02, "weights"), adamw(1e-3, "all"), adamw(1e-3))]
CASES += [Case("mlp(width=512,layers=2)", lambda: MLP(512, 2, 28 * 28, 10), images(28, 1, 10, 128),
               sgd(0.02), "paper")]
