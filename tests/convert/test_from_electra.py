"""The reference's --hparams as recipes: by key, beside the shipped recipes, and for any input."""

import json
import shlex
import tomllib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bertsmith.config.loading import check, load, read_recipe_values
from bertsmith.convert.from_electra.finetuning import FINETUNING_TABLE
from bertsmith.convert.from_electra.hparams import read_hparams
from bertsmith.convert.from_electra.pretraining import MODEL, PRETRAINING_TABLE
from bertsmith.convert.from_electra.recipe import recipe_from_electra, recipe_values, to_text, translate
from bertsmith.errors import UserError
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.training.recipe import PretrainRecipe

PRETRAINING = """
    model_name data_dir debug do_train do_eval electra_objective electric_objective gen_weight disc_weight mask_prob
    learning_rate lr_decay_power weight_decay_rate num_warmup_steps iterations_per_loop save_checkpoints_steps
    keep_checkpoint_max num_train_steps num_eval_steps model_size model_hparam_overrides embedding_size vocab_size
    do_lower_case uniform_generator two_tower_generator untied_generator_embeddings untied_generator generator_layers
    generator_hidden_size disallow_correct temperature max_seq_length train_batch_size eval_batch_size use_tpu
    num_tpu_cores tpu_job_name tpu_name tpu_zone gcp_project pretrain_tfrecords vocab_file model_dir results_txt
    results_pkl
"""

FINETUNING = """
    debug log_examples num_trials do_train do_eval keep_all_models model_size model_hparam_overrides embedding_size
    vocab_size do_lower_case task_names learning_rate weight_decay_rate layerwise_lr_decay num_train_epochs
    warmup_proportion save_checkpoints_steps iterations_per_loop use_tfrecords_if_existing write_test_outputs
    n_writes_test max_seq_length train_batch_size eval_batch_size predict_batch_size double_unordered max_query_length
    doc_stride n_best_size max_answer_length answerable_classifier answerable_uses_start_logits answerable_weight
    joint_prediction beam_size qa_na_threshold use_tpu num_tpu_cores tpu_job_name tpu_name tpu_zone gcp_project
    vocab_file init_checkpoint
"""


def pretrain_recipe(compat: bool = False, **hparams) -> PretrainRecipe:
    text = recipe_from_electra(json.dumps(hparams), compat=compat).text
    return check(PretrainRecipe, tomllib.loads(text) | {"data": "d"})


def finetune_recipe(**hparams) -> FinetuneRecipe:
    text = recipe_from_electra(json.dumps({"task_names": ["cola"]} | hparams)).text
    return check(FinetuneRecipe, tomllib.loads(text) | {"model": "m", "data": "d"})


def value_of(recipe, key: str):
    for name in key.split("."):
        recipe = getattr(recipe, name)
    return recipe


def test_every_setting_of_the_reference_is_known():
    assert set(PRETRAINING.split()) == set(PRETRAINING_TABLE.names())
    assert set(FINETUNING.split()) <= set(FINETUNING_TABLE.names())


LARGER = {"max_seq_length": 512, "learning_rate": 2e-4}
BASE = {"model_size": "base", "embedding_size": 768, "generator_hidden_size": 1 / 3, "train_batch_size": 256}
LARGE = {"model_size": "large", "embedding_size": 1024, "mask_prob": 0.25, "train_batch_size": 2048}


@pytest.mark.parametrize(
    ("name", "hparams"),
    [
        ("electra-small-owt", {}),
        ("bert-small-owt", {"electra_objective": False}),
        ("electra-base", BASE | LARGER | {"num_train_steps": 766_000}),
        ("electra-large", LARGE | LARGER | {"num_train_steps": 400_000}),
    ],
)
def test_the_shipped_recipes_are_what_the_references_settings_mean(name, hparams):
    ours, shipped = pretrain_recipe(**hparams), load(PretrainRecipe, "pretrain", name, ["data=d"]).settings
    for table in ("model", "objective", "rows", "schedule", "optimizer", "batch_size", "compat", "seed"):
        assert getattr(ours, table) == getattr(shipped, table)
    assert ours.plan.steps == shipped.plan.steps and ours.plan.checkpoint_steps == shipped.plan.checkpoint_steps


@pytest.mark.parametrize(
    ("hparams", "meant"),
    [
        ({}, {"evaluate_rows": 12_800, "plan.keep_checkpoints": 5, "rows.kind": "two_segments"}),
        ({"gen_weight": 2, "disc_weight": 10.5},
         {"objective.generator_weight": 2.0, "objective.discriminator_weight": 10.5}),
        ({"mask_prob": 0.2}, {"objective.masking.prob": 0.2}),
        ({"mask_prob": 0.2, "electra_objective": False}, {"objective.kind": "mlm", "objective.masking.prob": 0.2}),
        ({"learning_rate": 1e-3, "lr_decay_power": 2, "weight_decay_rate": 0},
         {"schedule.learning_rate": 1e-3, "schedule.decay_power": 2.0, "optimizer.weight_decay": 0.0}),
        ({"num_warmup_steps": 500, "num_train_steps": 2000},
         {"schedule.warmup_proportion": 0.25, "schedule.learning_rate": 5e-4, "plan.steps": 2000}),
        ({"num_warmup_steps": 0}, {"schedule.warmup_proportion": 0.0}),
        ({"save_checkpoints_steps": 10, "keep_checkpoint_max": 7},
         {"plan.checkpoint_steps": 10, "plan.keep_checkpoints": 7}),
        ({"keep_checkpoint_max": None}, {"plan.keep_checkpoints": 0}),
        ({"keep_checkpoint_max": 0}, {"plan.keep_checkpoints": 0}),
        ({"keep_checkpoint_max": 2}, {"plan.keep_checkpoints": 2}),
        ({"num_eval_steps": 3, "eval_batch_size": 5}, {"evaluate_rows": 15}),
        ({"model_size": "large"},
         {"model.hidden_size": 1024, "model.num_hidden_layers": 24, "model.heads": 16, "model.feed_forward": 4096,
          "model.embedding": 1024}),
        ({"embedding_size": 64}, {"model.embedding": 64}),
        ({"embedding_size": None}, {"model.embedding": 256}),
        ({"model_size": "base"}, {"model.embedding": 768, "model.heads": 12, "model.feed_forward": 3072}),
        ({"uniform_generator": True}, {"objective.generator.kind": "uniform"}),
        ({"untied_generator": False}, {"objective.generator.sharing": "everything"}),
        ({"untied_generator_embeddings": True}, {"objective.generator.sharing": "nothing"}),
        ({"generator_layers": 0.5, "generator_hidden_size": 0.5},
         {"objective.generator.layers_fraction": 0.5, "objective.generator.hidden_fraction": 0.5}),
        ({"disallow_correct": True, "temperature": 0.5},
         {"objective.generator.disallow_correct": True, "objective.generator.temperature": 0.5}),
        ({"max_seq_length": 64, "train_batch_size": 32}, {"rows.length": 64, "batch_size": 32}),
        ({"num_train_steps": 1e5}, {"plan.steps": 100_000, "schedule.warmup_proportion": 0.1}),
    ],
)  # fmt: skip
def test_a_setting_of_pretraining_means_this(hparams, meant):
    recipe = pretrain_recipe(**hparams)
    assert {key: value_of(recipe, key) for key in meant} == meant


def test_overrides_of_the_model_and_what_follows_from_its_width():
    model = pretrain_recipe(model_hparam_overrides={"hidden_size": 512, "num_hidden_layers": 4}).model
    assert (model.hidden_size, model.num_hidden_layers, model.embedding) == (512, 4, 128)
    assert (model.heads, model.feed_forward) == (8, 2048)
    typed = {
        "num_attention_heads": 2, "intermediate_size": 100, "hidden_dropout_prob": 0, "type_vocab_size": 3,
        "attention_probs_dropout_prob": 0.2, "max_position_embeddings": 256, "initializer_range": 0.01,
    }  # fmt: skip
    model = pretrain_recipe(model_hparam_overrides=typed | {"hidden_act": "gelu", "vocab_size": 99}).model
    assert {name: getattr(model, name) for name in typed} == typed and model.hidden_size == 256
    text = recipe_from_electra('{"model_hparam_overrides": {"vocab_size": 99}}').text
    assert "# model_hparam_overrides.vocab_size: the data folder's own" in text


def test_a_model_of_one_kind_of_segment_has_rows_of_one():
    typed = {"model_hparam_overrides": {"type_vocab_size": 1}}
    recipe = pretrain_recipe(**typed)
    assert (recipe.model.type_vocab_size, recipe.rows.kind) == (1, "windows")
    assert "# model_hparam_overrides.type_vocab_size: one kind" in recipe_from_electra(json.dumps(typed)).text


def test_debug_is_the_references_toy_and_a_typed_value_wins_over_it():
    recipe = pretrain_recipe(debug=True, model_hparam_overrides={"hidden_size": 999, "hidden_dropout_prob": 0.0})
    assert (recipe.batch_size, recipe.plan.steps, recipe.evaluate_rows) == (8, 20, 8)
    model = recipe.model
    assert (model.hidden_size, model.num_hidden_layers, model.feed_forward, model.heads) == (144, 3, 576, 4)
    assert (model.embedding, model.hidden_dropout_prob) == (128, 0.0)
    assert pretrain_recipe(debug=True, train_batch_size=16).batch_size == 16


@pytest.mark.parametrize(("warmup", "steps"), [(10_000, 20), (20, 20), (3, 20), (1, 20)])
def test_the_rate_is_the_references_at_each_step_however_long_the_warmup(warmup, steps):
    schedule = pretrain_recipe(num_warmup_steps=warmup, num_train_steps=steps).schedule
    for step in range(steps):
        theirs = 5e-4 * (1 - step / steps) * min(1.0, step / warmup)
        assert schedule.rate(step / steps, (step + 1) / steps, compat=True) == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("hparams", "lines"),
    [
        ({"electric_objective": True}, ['kind = "electric"']),
        ({"electric_objective": True, "electra_objective": False, "disc_weight": 1.0, "generator_hidden_size": 0.5,
          "mask_prob": 0.25},
         ['kind = "electric"', "discriminator_weight = 1.0", "hidden_fraction = 0.5", "prob = 0.25"]),
        ({"two_tower_generator": True}, ['kind = "rtd"', 'kind = "two_towers"']),
        ({"two_tower_generator": True, "untied_generator_embeddings": True},
         ['kind = "rtd"', 'kind = "two_towers"', 'sharing = "nothing"']),
    ],
)  # fmt: skip
def test_two_towers(hparams, lines):
    translation = translate(hparams)
    text = to_text(translation, hparams, recipe_values(translation))
    assert set(lines) <= set(text.splitlines())
    assert text.count("kind = ") == sum(line.startswith("kind") for line in lines)
    pretrain_recipe(**hparams)


@pytest.mark.parametrize(
    ("hparams", "meant"),
    [
        ({}, {"task": "cola", "seeds": 1, "epochs": 3.0, "batch_size": 32, "sequence_length": 128,
              "schedule.learning_rate": 1e-4, "schedule.warmup_proportion": 0.1, "optimizer.weight_decay": 0.01,
              "layerwise_lr_decay": 0.8, "double_unordered": True}),
        ({"model_size": "large"}, {"schedule.learning_rate": 5e-5, "layerwise_lr_decay": 0.9,
                                   "schedule.warmup_proportion": 0.1}),
        ({"model_size": "large", "learning_rate": 1e-4}, {"schedule.learning_rate": 1e-4, "layerwise_lr_decay": 0.9}),
        ({"layerwise_lr_decay": -1}, {"layerwise_lr_decay": 1.0}),
        ({"layerwise_lr_decay": 0.5, "weight_decay_rate": 0}, {"layerwise_lr_decay": 0.5, "optimizer.weight_decay": 0}),
        ({"task_names": ["rte"]}, {"task": "rte", "epochs": 10}),
        ({"task_names": ["rte"], "num_train_epochs": 3}, {"task": "rte", "epochs": 3}),
        ({"task_names": ["rte"], "debug": True}, {"epochs": 3, "seeds": 1}),
        ({"task_names": ["sts"]}, {"task": "sts-b", "epochs": 10}),
        ({"task_names": ["sst"]}, {"task": "sst-2"}),
        ({"task_names": ["chunk"]}, {"task": "chunk", "sequence_length": 256}),
        ({"task_names": ["qqp"]}, {"skip_malformed": True}),
        ({"task_names": ["rte", "sts"]},
         {"task": "several", "several.tasks": ("rte", "sts-b"), "several.power": 1, "epochs": 3}),
        ({"task_names": ["rte", "qqp"]}, {"skip_malformed": True}),
        ({"task_names": ["rte", "cola"]}, {"skip_malformed": False}),
        ({"task_names": ["squad"]},
         {"task": "squad-v2.0", "epochs": 2, "sequence_length": 512, "answering.question_length": 64,
          "answering.stride": 128, "answering.answer_length": 30, "answering.answerable_weight": 0.5,
          "answering.joint": True, "answering.beam_size": 20, "answering.threshold": -2.75}),
        ({"task_names": ["squadv1"], "max_seq_length": 384}, {"task": "squad-v1.1", "epochs": 2,
                                                              "sequence_length": 384}),
        ({"task_names": ["newsqa"]}, {"task": "newsqa", "epochs": 2, "sequence_length": 512}),
        ({"task_names": ["triviaqa"]}, {"task": "triviaqa", "epochs": 2, "sequence_length": 512}),
        ({"task_names": ["searchqa"]}, {"task": "searchqa", "epochs": 2, "sequence_length": 512}),
        ({"task_names": ["naturalqs"]}, {"task": "naturalqs", "epochs": 3, "sequence_length": 128}),
        ({"task_names": ["squad"], "max_query_length": 32, "doc_stride": 64, "max_answer_length": 10, "beam_size": 5,
          "answerable_weight": 1, "qa_na_threshold": -1},
         {"answering.question_length": 32, "answering.stride": 64, "answering.answer_length": 10,
          "answering.beam_size": 5, "answering.answerable_weight": 1.0, "answering.null_threshold": -1.0}),
        ({"task_names": ["squad"], "joint_prediction": False}, {"answering.joint": False,
                                                                "answering.threshold": -2.75}),
        ({"num_trials": 10, "train_batch_size": 16, "max_seq_length": 64}, {"seeds": 10, "batch_size": 16,
                                                                            "sequence_length": 64}),
        ({"double_unordered": False, "warmup_proportion": 0}, {"double_unordered": False,
                                                               "schedule.warmup_proportion": 0}),
    ],
)  # fmt: skip
def test_a_setting_of_finetuning_means_this(hparams, meant):
    recipe = finetune_recipe(**hparams)
    assert {key: value_of(recipe, key) for key in meant} == meant


@pytest.mark.parametrize("hparams", [{"task_names": ["rte"], "num_train_epochs": 3}, {"task_names": ["qqp"]}, {
    "task_names": ["rte", "sts"], "num_train_epochs": 4}, {
    "model_size": "large", "task_names": ["mrpc"], "double_unordered": False,
}, {"task_names": ["squad"], "joint_prediction": False}, {"task_names": ["naturalqs"]}])  # fmt: skip
def test_the_short_command_in_the_header_is_the_recipe(hparams):
    text = recipe_from_electra(json.dumps(hparams)).text
    [_, short] = [shlex.split(line[1:]) for line in text.splitlines() if line.startswith("#     bertsmith finetune ")]
    name, *words = short[2:]
    overrides = [word for word in words if "=" in word and not word.startswith(("model=", "data="))]
    shipped = load(FinetuneRecipe, "finetune", name, [*overrides, "model=m", "data=d"]).settings
    assert shipped == finetune_recipe(**hparams)


CHANGED = {
    "keep_checkpoint_max": 1, "model_size": "large", "model_hparam_overrides": {"hidden_size": 512},
    "embedding_size": 64, "task_names": ["rte"],
}  # fmt: skip


def changed(key) -> object:
    by_type = {bool: lambda value: not value, int: lambda value: value + 1, float: lambda value: value / 2}
    return CHANGED[key.name] if key.name in CHANGED else by_type.get(key.type, lambda value: "other")(key.default)


@pytest.mark.parametrize("key", PRETRAINING_TABLE.keys, ids=lambda key: key.name)
def test_a_setting_of_pretraining_changes_the_recipe_or_is_remarked_on(key):
    one_of_two = key.name in ("do_train", "do_eval")
    typed = {"do_train": False, "do_eval": True} if one_of_two else {key.name: changed(key)}
    translation, without = translate(typed), translate({})
    remarked = any(line.startswith(f"{key.name}: ") for line in set(translation.remarks) - set(without.remarks))
    assert (translation.values != without.values) or remarked
    assert remarked == bool(key.remark) or key.name == "num_warmup_steps"


@pytest.mark.parametrize("key", FINETUNING_TABLE.keys, ids=lambda key: key.name)
def test_a_setting_of_finetuning_changes_the_recipe_or_is_remarked_on(key):
    task = {"task_names": ["cola"]}
    translation, without = translate(task | {key.name: changed(key)}), translate(task)
    remarked = any(line.startswith(f"{key.name}: ") for line in translation.remarks)
    assert (translation.values != without.values) or remarked
    assert remarked == bool(key.remark)


@pytest.mark.parametrize(
    ("hparams", "comment"),
    [
        ({"vocab_size": 100}, "# vocab_size: the data folder's own"),
        ({"use_tpu": True}, "# use_tpu: there is no TPU here"),
        ({}, "# num_warmup_steps: 10,000 of 1,000,000 steps"),
        ({"debug": True}, "# num_warmup_steps: 10,000 are more than the 20 steps"),
        ({"electra_objective": False, "temperature": 2.0}, "# temperature: with electra_objective=false"),
        ({"uniform_generator": True, "generator_layers": 2.0}, "# generator_layers: a uniform generator"),
        ({"untied_generator": False, "generator_hidden_size": 0.5}, "# generator_hidden_size: untied_generator=false"),
        ({"task_names": ["squad"], "n_best_size": 3}, "# n_best_size: nothing to set"),
        ({"task_names": ["squad"], "answerable_classifier": False}, "# answerable_classifier: nothing to set"),
        ({"vocab_file": "a\x7f\nb'\u2028"}, "# vocab_file: the data folder's own"),
    ],
)
def test_what_is_left_out_is_said(hparams, comment):
    text = recipe_from_electra(json.dumps(hparams)).text
    assert any(line.startswith(comment) for line in text.splitlines()), text


def test_compat_is_asked_for():
    assert not pretrain_recipe().compat and pretrain_recipe(compat=True).compat
    assert "# compat: " in recipe_from_electra("{}").text
    assert "# compat: " not in recipe_from_electra("{}", compat=True).text
    assert "compat = true" in recipe_from_electra('{"task_names": ["cola"]}', compat=True).text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('{"electra_objectiv": false}', ["electra_objectiv: ", "did you mean electra_objective?"]),
        ('{"xyz": 1}', ["xyz: ", "no such setting; leave it out"]),
        ('{"mask_probs": 1}', ["mask_probs: ", "did you mean mask_prob?"]),
        ('{"task_names": ["cola"], "num_trial": 1}', ["num_trial: ", "did you mean num_trials?"]),
        ('{"task_names": ["cola"], "mask_prob": 0.1}', ["mask_prob: ", "pre-training", "fine-tuning"]),
        ("electra", ["not JSON"]),
        ('["a"]', ["object"]),
        ("3", ["object"]),
        ("nowhere.json", ["nowhere.json", "no such file"]),
        ("[" * 100_000, ["nested deeper"]),
        ('{"num_train_steps": ' + "1" * 5000 + "}", ["cannot be read as JSON"]),
        ('{"num_train_steps": [1]}', ["num_train_steps = [1]", "integer"]),
        ('{"num_train_steps": {"a": 1}}', ["num_train_steps = {'a': 1}", "integer"]),
        ('{"num_train_steps": 1.5}', ["num_train_steps = 1.5", "integer"]),
        ('{"num_train_steps": "1"}', ["num_train_steps = '1'", "integer"]),
        ('{"num_train_steps": 0}', ["num_train_steps: plan.steps = 0"]),
        ('{"num_train_steps": 1e300}', ["num_train_steps"]),
        ('{"learning_rate": [1]}', ["learning_rate = [1]", "number"]),
        ('{"learning_rate": NaN}', ["NaN is no JSON"]),
        ('{"learning_rate": 1, "learning_rate": 2}', ["'learning_rate' is there 2 times"]),
        ('{"learning_rate": 1e400}', ["1e400", "is too large"]),
        ('{"debug": "yes"}', ["debug = 'yes'", "boolean"]),
        ('{"model_size": "huge"}', ["model_size = 'huge'", "'small', 'base' or 'large'"]),
        ('{"model_hparam_overrides": 3}', ["model_hparam_overrides = 3"]),
        ('{"model_hparam_overrides": {"hiden_size": 3}}', ["did you mean model_hparam_overrides.hidden_size?"]),
        ('{"model_hparam_overrides": {"hidden_act": "relu"}}', ["model_hparam_overrides.hidden_act = 'relu'", "gelu"]),
        ('{"model_hparam_overrides": {"hidden_size": 100, "num_attention_heads": 3}}', ["100", "3"]),
        ('{"generator_hidden_size": 2}', ["generator_hidden_size: objective.generator.hidden_fraction = 2"]),
        ('{"max_seq_length": 1024}', ["max_seq_length: rows.length = 1024", "512"]),
        ('{"do_eval": true}', ["do_train, do_eval"]),
        ('{"two_tower_generator": true, "untied_generator": false}', ["two_tower_generator", "untied_generator=false"]),
        ('{"electric_objective": true, "uniform_generator": true}', ["electric_objective", "uniform_generator=true"]),
        ('{"electra_objective": false, "uniform_generator": true}', ["uniform_generator", "electra_objective=false"]),
        ('{"task_names": ["cola", "cola"]}', ["several.tasks: cola is there 2 times"]),
        ('{"task_names": ["squad"], "beam_size": 0}', ["beam_size: answering.beam_size = 0"]),
        ('{"task_names": []}', ["task_names", "one task"]),
        ('{"task_names": "cola"}', ["task_names = 'cola'", "array"]),
        ('{"task_names": ["cla"]}', ["cla", "did you mean 'cola'?"]),
        ('{"task_names": ["cola"], "num_trials": -1}', ["num_trials = -1"]),
        ('{"task_names": ["cola"], "learning_rate": 0}', ["learning_rate: schedule.learning_rate = 0"]),
    ],
    ids=range(40),
)
def test_a_mistake_is_named_in_one_or_two_lines(text, parts):
    with pytest.raises(UserError) as error:
        recipe_from_electra(text)
    message = str(error.value)
    assert all(part in message for part in parts), message
    assert len(message.splitlines()) <= 2


values = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3000), st.integers(), st.floats(), st.text(max_size=4),
    st.lists(st.sampled_from(["cola", "rte", "x", 1]), max_size=2),
    st.dictionaries(st.sampled_from([*MODEL, "x"]), st.integers(-1, 600) | st.floats(), max_size=3),
)  # fmt: skip
likely = {bool: st.booleans(), int: st.integers(0, 2000), float: st.floats(0, 2), str: st.text(max_size=9)}


@st.composite
def hparams_of(draw, table):
    keys = {key.name: likely.get(key.type, values) | values for key in table.keys}
    return {name: draw(keys[name]) for name in draw(st.lists(st.sampled_from(sorted(keys)), max_size=4, unique=True))}


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(hparams_of(PRETRAINING_TABLE) | hparams_of(FINETUNING_TABLE), st.booleans())
@example({"task_names": ["cola", "rte"]}, False)
@example({"num_eval_steps": 1.0}, False)
def test_no_hparams_end_in_anything_but_a_recipe_that_loads_or_a_user_error(hparams, compat):
    try:
        written = recipe_from_electra(json.dumps(hparams), compat=compat)
    except UserError as error:
        assert str(error)
        return
    cls = {"pretrain": PretrainRecipe, "finetune": FinetuneRecipe}[written.verb]
    loaded = check(cls, tomllib.loads(written.text) | {"data": "d"} | ({"model": "m"} if cls is FinetuneRecipe else {}))
    for key, value in translate(read_hparams(json.dumps(hparams))).values.items():
        value = tuple(value) if isinstance(value, list) else value
        assert value_of(loaded, key) == value, "what is left out of the recipe is the default"
    assert loaded.compat == compat


def test_the_verb_prints_the_recipe_alone(tmp_path, run_main):
    hparams = tmp_path / "my.json"
    hparams.write_text('{"model_size": "base"}')
    status, stdout, stderr = run_main("recipe", "--from-electra", hparams, "--compat")
    assert status == 0, stderr
    assert stderr == "next: bertsmith pretrain my.toml data=data/owt --out runs/my\n"
    (tmp_path / "my.toml").write_text(stdout)
    assert read_recipe_values("pretrain", str(tmp_path / "my.toml")) == tomllib.loads(stdout)
    assert load(PretrainRecipe, "pretrain", str(tmp_path / "my.toml"), ["data=d"]).settings.model.hidden_size == 768
    assert "--from-electra" in run_main("recipe")[1]
    status, stdout, stderr = run_main("recipe", "--from-electra", '{"model_siz": 1}')
    assert status == 2 and not stdout and "model_size" in stderr
    status, stdout, _ = run_main("recipe", "--from-electra", '{"debug": true}', "--finetune")
    assert status == 0 and 'task = "chunk"' in stdout  # the reference's default
