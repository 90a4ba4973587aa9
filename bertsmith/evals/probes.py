"""The probes of a pre-training run: what is measured at each evaluation beside the objective's own losses."""

from bertsmith.evals.blimp import blimp_probes
from bertsmith.evals.pinned import pinned_probe
from bertsmith.training.pretrain import Probe
from bertsmith.training.recipe import PretrainRecipe


def probes_of(recipe: PretrainRecipe) -> list[Probe]:
    """Return the pinned loss, and BLiMP where the recipe asks for it.

    Raises:
        UserError: as `pinned_probe` and `blimp_probes`.
    """
    return [pinned_probe(recipe), *blimp_probes(recipe)]
