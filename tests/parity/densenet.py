"""torchvision's DenseNet, with either stem."""
import torch.nn as nn

from harness import Case, adamw, images, sgd


def torchvision(stem, growth, layers, channels, classes):
    from torchvision.models import DenseNet
    net, width = DenseNet(growth, layers, 2 * growth, 4, num_classes=classes), 2 * growth
    net.features.conv0 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
    if stem == "cifar":
        net.features.conv0 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        net.features.pool0 = nn.Identity()
    return net


def small(stem, size, optimizer):
    return Case(f"densenet121(growth=12,stages=3,layers=3,stem={stem})",
                lambda: torchvision(stem, 12, (3, 3, 3), 2, 20), images(size, 2, 20, 16),
                optimizer, "small", True)


def paper(stem, size, optimizer):
    return Case(f"densenet121(stem={stem})",
                lambda: torchvision(stem, 32, (6, 12, 24, 16), 3, 200), images(size, 3, 200, 2),
                optimizer, "paper")


CASES = [small("cifar", 12, sgd(0.01)), small("imagenet", 40, adamw(3e-4)),
         paper("cifar", 64, sgd(1e-3)), paper("imagenet", 224, sgd(2e-4))]
