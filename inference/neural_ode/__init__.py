"""PHOENIX: training, pruning, the weights that survive, influence."""

from .training import Batch, LearningRate, Network, Trainable, Trained, TrainingHistory, train

__all__ = ["Batch", "LearningRate", "Network", "Trainable", "Trained", "TrainingHistory", "train"]
