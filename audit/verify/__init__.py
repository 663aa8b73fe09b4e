"""Compare a run with published facts about ImageNet and CIFAR."""
