"""PHOENIX: training, pruning, the weights that survive, influence."""

from .training import Batch, Diverged, LearningRate, Network, Trainable, Trained, TrainingHistory, train

__all__ = ["Batch", "Diverged", "LearningRate", "Network", "Trainable", "Trained", "TrainingHistory", "train"]
