"""torchvision's ConvNeXt, without stochastic depth."""
from harness import Case, adamw, images, sgd


def torchvision(width, blocks, classes):
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    widths = [width << k for k in range(len(blocks))] + [None]
    return ConvNeXt([CNBlockConfig(*s) for s in zip(widths, widths[1:], blocks)], 0.0,
                    num_classes=classes)


CASES = [Case("convnext_tiny(width=16,stages=3,blocks=1)", lambda: torchvision(16, (1, 1, 1), 10),
              images(32, 3, 10, 8), optimizer, "small", True) for optimizer in (sgd(0.02), adamw(1e-3))]
CASES += [Case("convnext_tiny", lambda: torchvision(96, (3, 3, 9, 3), 100), images(224, 3, 100, 2),
               adamw(1e-4), "paper")]
