"""Variables that TensorFlow checkpoints hold beside a model's: what an optimizer keeps, a scope before all names."""

import json

import numpy as np
import pytest

from bertsmith.errors import UserError
from bertsmith.hub.huggingface import read_folder
from tests.convert.test_importing import VOCAB_SIZE, bert, electra, import_, ours, write
from tests.hub.bundles import Google, write_bundle


def without_slots(google: Google) -> Google:
    google.variables = {name: array for name, array in google.variables.items() if "/adam_" not in name}
    return google


def weights_of(folder) -> dict:
    return read_folder(folder).weights


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What comes of the checkpoint without anything beside the model."""
    folder = tmp_path_factory.mktemp("plain")
    write(without_slots(bert()), folder / "google")
    import_(folder / "google", folder / "out", "heads=4")
    return weights_of(folder / "out")


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(bool((first[name] == second[name]).all()) for name in first)


@pytest.mark.parametrize(
    ("slots", "scalars"),
    [
        (("Adam", "Adam_1"), ("beta1_power", "beta2_power")),
        (("LAMB", "LAMB_1"), ()),
        (("BERTAdam", "BERTAdam_1"), ()),
        (("lamb_m", "lamb_v"), ()),
        (("Momentum",), ("current_learning_rate",)),
        (("adam_m", "adam_v"), ("current_loss_scale", "good_steps")),
        (("a", "a/b"), ()),
    ],
)
def test_slots_of_any_optimizer_are_dropped_and_counted(slots, scalars, plain, tmp_path):
    google = without_slots(bert())
    weights = {name: array for name, array in google.variables.items() if array.shape}
    for name, array in weights.items():
        for slot in slots:
            google.variables[f"{name}/{slot}"] = np.full_like(array, np.nan)  # a slot's values are nobody's concern
    for name in scalars:
        google.variables[name] = np.array(3, np.float32)
    write(google, tmp_path / "google")
    lines = import_(tmp_path / "google", tmp_path / "out", "heads=4")
    assert same(weights_of(tmp_path / "out"), plain)
    counted = len(weights) * len(slots) + sum(name.startswith("beta") for name in scalars)
    assert f"optimizer slots ({counted})" in lines[-1]
    other = [name for name in scalars if not name.startswith("beta")]
    assert bool(other) == ("scalars of training" in lines[-1] or "loss scale" in lines[-1])


def test_what_only_looks_like_a_slot_is_refused(tmp_path):
    for name, array in (
        ("bert/embeddings/word_embeddings/extra", np.zeros((VOCAB_SIZE, 127), np.float32)),
        ("bert/embeddings/word_embeddings/ours/slot", np.zeros((VOCAB_SIZE, 128), np.float32)),  # of no variable
        ("bert/embeddings/extra", np.zeros((VOCAB_SIZE, 128), np.float32)),
        ("bert/encoder/layer_0/output/dense/kernel/lora", np.zeros((4, 128), np.float32)),
    ):
        google = without_slots(bert())
        google.variables[name] = array
        write(google, tmp_path / "google")
        with pytest.raises(UserError, match=f"{name}: not of BERT's or ELECTRA's"):
            import_(tmp_path / "google", tmp_path / "out", "heads=4")


def test_moving_averages_are_called_so(plain, tmp_path):
    google = without_slots(bert())
    for name, array in list(google.variables.items()):
        if array.shape:
            google.variables[f"{name}/ExponentialMovingAverage"] = array + 1
    write(google, tmp_path / "google")
    lines = import_(tmp_path / "google", tmp_path / "out", "heads=4")
    assert "moving averages (" in lines[-1] and "optimizer slots" not in lines[-1]
    assert same(weights_of(tmp_path / "out"), plain)


@pytest.mark.parametrize("prefix", ["module/", "model/encoder_scope/"])
@pytest.mark.parametrize("make", [bert, electra])
def test_a_scope_before_all_names_is_taken_off(prefix, make, tmp_path):
    google = make()
    write(google, tmp_path / "plain")
    import_(tmp_path / "plain", tmp_path / "expected", "heads=4")
    wrapped = {f"{prefix}{name}" if name != "global_step" else name: array for name, array in google.variables.items()}
    google.variables = wrapped
    write(google, tmp_path / "google")
    lines = import_(tmp_path / "google", tmp_path / "out", "heads=4")
    assert any(line.endswith(f"the prefix {prefix!r} taken off the variables' names") for line in lines)
    for name in ("discriminator", "generator") if make is electra else ("",):
        np.testing.assert_array_equal(ours(tmp_path / "out", name), ours(tmp_path / "expected", name))
        assert same(weights_of(tmp_path / "out" / name), weights_of(tmp_path / "expected" / name))


def test_values_that_are_not_finite_are_refused_by_name(tmp_path):
    for value, dtype, message in (
        (np.nan, np.float32, "word_embeddings has 1 of"),
        (1e200, np.float64, r"word_embeddings holds 1e\+200, which is infinite in float32"),
        (-np.inf, np.float16, "word_embeddings has 1 of"),
    ):
        google = bert()
        table = google.variables["bert/embeddings/word_embeddings"].astype(dtype)
        table[7, 7] = value
        google.variables["bert/embeddings/word_embeddings"] = table
        write(google, tmp_path / "google")
        with pytest.raises(UserError, match=message):
            import_(tmp_path / "google", tmp_path / "out")


@pytest.mark.parametrize(
    "key",
    [{"position_embedding_type": "relative_key"}, {"is_decoder": True}, {"hidden_act": "gelu_new"},
     {"num_attention_heads": "four"}, {"num_attention_heads": True}],
)  # fmt: skip
def test_a_config_of_another_network_is_refused_by_its_key(key, tmp_path):
    write(bert(), tmp_path / "google", **key)
    with pytest.raises(UserError, match=next(iter(key))):
        import_(tmp_path / "google", tmp_path / "out")


def test_an_index_that_says_of_more_than_there_is(tmp_path):
    """Sizes are held to the bytes that are there before anything is built."""
    prefix = write_bundle(tmp_path / "model.ckpt", bert().variables)
    data = prefix.with_name("model.ckpt.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:1000])
    (tmp_path / "bert_config.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="ends before or within"):
        import_(prefix, tmp_path / "out")
