"""Imported once by the process that attempts are forked from: does what each of them would do first.

Building the checks of a recipe takes 60 ms, and is the same whatever file is damaged.
"""

from bertsmith.config.loading import load
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.training.recipe import PretrainRecipe

load(PretrainRecipe, "pretrain", "bert-tiny", ["data=data"])
load(FinetuneRecipe, "finetune", "rte", ["data=data", "model=model"])
