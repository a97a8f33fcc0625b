"""ResNet with torchvision's basic blocks and names, in any width; at 64 torchvision's own."""
import torch.nn as nn
import torch.nn.functional as F

from harness import Case, adamw, images, sgd


class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.downsample = None
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False),
                                            nn.BatchNorm2d(o))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, width, stages, blocks, channels, classes, stem="cifar"):
        super().__init__()
        large = stem == "imagenet"
        self.conv1 = nn.Conv2d(channels, width, *((7, 2, 3) if large else (3, 1, 1)), bias=False)
        self.bn1, self.pool = nn.BatchNorm2d(width), nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        self.stages, i = stages, width
        for k in range(stages):
            layer = []
            for j in range(blocks):
                layer.append(Block(i, width << k, 2 if k and not j else 1))
                i = width << k
            setattr(self, f"layer{k + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(i, classes)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        for k in range(self.stages):
            x = getattr(self, f"layer{k + 1}")(x)
        return self.fc(x.mean((2, 3)))


def torchvision(stem, classes):
    from torchvision.models import resnet18
    net = resnet18(num_classes=classes)
    if stem == "cifar":
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return net


CASES = [Case("resnet18(width=8,stages=3,blocks=1)", lambda: ResNet(8, 3, 1, 2, 20),
              images(14, 2, 20, 16), optimizer, "small", True)
         for optimizer in (sgd(0.01), sgd(0.01, "weights"), adamw(3e-4, "all"), adamw(3e-4))]
CASES += [Case("resnet18(width=12,stages=2,blocks=2)", lambda: ResNet(12, 2, 2, 3, 10),
               images(9, 3, 10, 16), sgd(0.01), "small", True),
          Case("resnet18(width=8,stages=3,blocks=1,stem=imagenet)",
               lambda: ResNet(8, 3, 1, 3, 10, "imagenet"), images(40, 3, 10, 16), sgd(0.01), "small",
               True),
          Case("resnet18(stem=cifar)", lambda: torchvision("cifar", 100), images(32, 3, 100, 8),
               sgd(1e-3), "paper"),
          Case("resnet18(stem=imagenet)", lambda: torchvision("imagenet", 200),
               images(224, 3, 200, 2), sgd(2e-4), "paper")]
