"""Networks that ship: residual, plain, MobileNet and VGG."""
