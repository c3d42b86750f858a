"""Configuration of every stage: one frozen dataclass each, checked once, read from a TOML experiment file.

An experiment file holds the tables ``[data] [teacher] [views] [student] [input_filter] [evaluation]``; what it does not
name keeps its default. ``--set student.epochs=40`` overrides one field. The effective whole is saved in the run's
folder.
"""

from pocketcxr.training.config.data import DataConfig
from pocketcxr.training.config.experiment import Experiment, load_experiment
from pocketcxr.training.config.input_filter import InputFilterConfig
from pocketcxr.training.config.optimisation import OptimisationConfig
from pocketcxr.training.config.student import StudentConfig
from pocketcxr.training.config.teacher import TeacherConfig
from pocketcxr.training.config.views import FOR_UNSEEN_SOURCES, AugmentationConfig, ViewsConfig

__all__ = [
    "FOR_UNSEEN_SOURCES",
    "AugmentationConfig",
    "DataConfig",
    "Experiment",
    "InputFilterConfig",
    "OptimisationConfig",
    "StudentConfig",
    "TeacherConfig",
    "ViewsConfig",
    "load_experiment",
]
