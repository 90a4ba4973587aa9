import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.config.loading import (
    check,
    defaults,
    identity,
    load,
    read_own_recipe,
    read_recipe_values,
    rows,
    shipped_recipes,
    to_dict,
    to_toml,
)
from bertsmith.config.schema import without_defaults
from bertsmith.errors import UserError
from bertsmith.objectives.mlm import MaskedTokensSettings
from bertsmith.objectives.rtd import ReplacedTokensSettings
from bertsmith.storage.folders import as_written_now, differences
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.training.recipe import PretrainRecipe


def recipe_with(*overrides: str) -> PretrainRecipe:
    return load(PretrainRecipe, "pretrain", "bert-tiny", ["data=here", *overrides]).settings


def test_the_command_line_wins_over_the_recipe_and_the_recipe_over_defaults():
    loaded = load(PretrainRecipe, "pretrain", "bert-tiny", ["data=data/owt", "schedule.learning_rate=2e-3"])
    assert loaded.settings.schedule.learning_rate == 2e-3
    assert loaded.settings.model.hidden_size == 128
    assert loaded.settings.optimizer.beta1 == 0.9
    origins = {row.key: row.origin for row in rows(loaded)}
    assert origins["schedule.learning_rate"] == "command line"
    assert origins["model.hidden_size"] == "recipe"
    assert origins["optimizer.beta1"] == "default"


@pytest.mark.parametrize("value", ["data/owt", "2024", "true", "s3/bucket/a b", "=x", "[1]"])
def test_text_settings_take_any_text(value: str):
    assert load(PretrainRecipe, "pretrain", "bert-tiny", [f"data={value}"]).settings.data == value


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("modle.hidden_size=3", ["modle", "no such setting", "model"]),
        ("model.hiden_size=3", ["model.hiden_size", "did you mean model.hidden_size?"]),
        ("hidden_size=3", ["hidden_size", "did you mean model.hidden_size?"]),
        ("model.hidden_size=big", ["model.hidden_size", "'big'"]),
        ("model.hidden_size=1.5", ["model.hidden_size", "1.5"]),
        ("model.hidden_size=-1", ["model.hidden_size", "-1", "greater than or equal to 1"]),
        ("model.hidden_size=true", ["model.hidden_size", "True"]),
        ("plan.hours=0", ["plan.hours"]),
        ("schedule.learning_rate=nan", ["schedule.learning_rate"]),
        ("seed=x", ["seed", "'x'"]),
        ("batch_size.x=1", ["batch_size is a single value"]),
        ("nonsense", ["key=value"]),
        ("rows.length=1000", ["1000", "max_position_embeddings"]),
        ("model.num_attention_heads=3", ["num_attention_heads 3"]),
        ("rows.kind=none", ["rows.kind", "'none'", "two_segments"]),
        ("objective.kind=none", ["objective.kind = 'none'", "'mlm'", "'rtd'"]),
        ("objective.kind=3", ["objective.kind", "'mlm'"]),
        ("objective=rtd", ["objective = 'rtd'"]),
        ("objective.masking.prob=2", ["objective.masking.prob = 2", "less than 1"]),
        ("objective.masking.pro=0.2", ["objective.masking.pro", "did you mean objective.masking.prob?"]),
        (
            "objective.generator.hidden_fraction=1",
            ["objective.generator: no such setting of objective.kind = mlm; add objective.kind=rtd or electric, or"],
        ),
        (
            "optimizer.neuron_beta=0.9",
            ["optimizer.neuron_beta: no such setting of optimizer.kind = adamw; add optimizer.kind=muon, or leave it"],
        ),
        ("schedule.decay_shape=linear", ["no such setting of schedule.kind = polynomial; add schedule.kind=wsd, or"]),
    ],
)
def test_a_mistake_is_named_with_its_key(override: str, parts: list[str]):
    with pytest.raises(UserError) as error:
        recipe_with(override)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_a_table_of_several_kinds_is_read_by_its_kind():
    recipe = recipe_with("objective.kind=rtd", "objective.generator.hidden_fraction=0.5")
    assert type(recipe.objective) is ReplacedTokensSettings
    assert recipe.objective.generator.hidden_fraction == 0.5
    assert check(PretrainRecipe, tomllib.loads(to_toml(recipe))) == recipe
    assert type(recipe_with("objective.masking.prob=0.2").objective) is MaskedTokensSettings
    assert "objective.generator.hidden_fraction" in identity(recipe)
    for override, parts in (
        ("objective.generator.hidden_fracton=1", ["did you mean objective.generator.hidden_fraction?"]),
        ("objective.generator.hidden_fraction=2", ["objective.generator.hidden_fraction = 2", "less than or equal"]),
        ("objective.generator.sharing=all", ["objective.generator.sharing = 'all'", "'everything'"]),
        ("model.hidden_size=512 objective.generator.hidden_fraction=0.39", ["hidden_fraction = 0.39", "200", "3"]),
    ):
        with pytest.raises(UserError) as error:
            recipe_with("objective.kind=rtd", *override.split())
        assert all(part in str(error.value) for part in parts), str(error.value)


def test_a_plan_on_the_command_line_replaces_the_recipes():
    assert recipe_with("plan.steps=7").plan.unit == "steps"
    assert recipe_with("plan.tokens=700").plan.total == 700
    with pytest.raises(UserError, match="exactly one"):
        check(PretrainRecipe, {"data": "x", "plan": {"steps": 1, "hours": 1.0}})
    with pytest.raises(UserError, match="exactly one"):
        check(PretrainRecipe, {"data": "x", "plan": {}})
    with pytest.raises(UserError, match="exactly one"):
        recipe_with("plan.steps=4", "plan.tokens=9")


def test_a_table_of_which_a_recipe_says_something_keeps_its_own_defaults_for_the_rest():
    """Fine-tuning's warm-up is not that of pre-training, also when only the rate is given."""
    recipe = load(FinetuneRecipe, "finetune", "cola", ["model=m", "data=d", "schedule.learning_rate=5e-5"]).settings
    assert (recipe.schedule.learning_rate, recipe.schedule.warmup_proportion) == (5e-5, 0.1)


@pytest.mark.parametrize("name", shipped_recipes("pretrain"))
def test_what_a_recipe_need_not_say_can_be_left_out(name):
    recipe = load(PretrainRecipe, "pretrain", name, ["data=d"]).settings
    fewest = without_defaults(PretrainRecipe, to_dict(recipe))
    assert check(PretrainRecipe, fewest) == recipe
    assert without_defaults(PretrainRecipe, fewest) == fewest
    assert len(to_dict(recipe)) > len(fewest)


def test_a_run_keeps_a_recipe_that_gives_the_same_settings():
    recipe = recipe_with("machine.compile=true")
    assert check(PretrainRecipe, tomllib.loads(to_toml(recipe))) == recipe
    assert check(PretrainRecipe, to_dict(recipe)) == recipe


def test_identity_leaves_out_what_cannot_change_the_result():
    base = identity(recipe_with())
    assert identity(recipe_with("data=elsewhere", "plan.log_steps=3", "machine.device=cpu")) == base
    assert differences(base, identity(recipe_with("seed=1"))) == ["seed: 0 → 1"]


def test_a_recipe_that_is_not_there_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="did you mean bert-tiny"):
        read_recipe_values("pretrain", "bert-tny")
    with pytest.raises(UserError, match=r"RTE: no such recipe, .*; did you mean rte\?"):
        read_recipe_values("finetune", "RTE")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(UserError, match="not a TOML recipe"):
        read_recipe_values("pretrain", str(tmp_path / "bad.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary.toml, line 1: not UTF-8"):
        read_recipe_values("pretrain", str(tmp_path / "binary.toml"))


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_override_ends_in_anything_but_a_recipe_or_a_user_error(key: str, value: str):
    try:
        recipe_with(f"{key}={value}")
    except UserError as error:
        assert str(error)


leaf = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2)
)
names = st.sampled_from(["data", "seed", "model", "plan", "hours", "hidden_size", "rows", "kind", "other"])


@given(st.dictionaries(names, st.recursive(leaf, lambda inner: st.dictionaries(names, inner, max_size=3)), max_size=4))
def test_no_recipe_ends_in_anything_but_settings_or_a_user_error(values: dict):
    try:
        check(PretrainRecipe, values)
    except UserError as error:
        assert str(error)


def test_a_recipe_of_one_kind_lends_another_what_it_knows():
    loaded = load(PretrainRecipe, "pretrain", "electra-base", ["data=d", "objective.kind=mlm", "model.kind=modern"])
    assert (loaded.settings.objective.kind, loaded.settings.model.kind) == ("mlm", "modern")
    assert loaded.settings.model.hidden_size == 768
    assert "objective.generator.hidden_fraction" not in loaded.origins
    with pytest.raises(UserError, match=r"objective\.generator: no such setting"):
        load(
            PretrainRecipe,
            "pretrain",
            "electra-base",
            ["data=d", "objective.generator.temperature=2", "objective.kind=mlm"],
        )


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("seed = 7\n[plan]\nsteps = 3\n", encoding="utf-8-sig")
    assert load(PretrainRecipe, "pretrain", str(path), ["data=d"]).settings.seed == 7


@pytest.mark.parametrize(
    ("recipe", "override", "words"),
    [
        ("cola", "answering.stride=64", "answering.stride = 64: only for questions; leave it out"),
        ("cola", "answering.stride=128", "only for questions"),
        ("cola", "custom.kind=tagging", "custom.kind = 'tagging': only for a custom task; leave it out"),
        ("cola", "several.tasks=['rte','mrpc']", "only for several tasks"),
        ("squad-v1.1", "double_unordered=false", "double_unordered = False: only for texts; leave it out"),
        ("squad-v1.1", "check_counts=false", "only for tasks with published counts"),
        ("custom", "custom.separator=;", "only for kind = multi-label"),
        ("chunk", "custom.weights.O=2", "only for a custom task"),
        ("rte", "task=rtf", "task = 'rtf': no such task; did you mean rte?"),
    ],
)
def test_a_setting_of_another_kind_of_task_is_refused(recipe: str, override: str, words: str):
    with pytest.raises(UserError, match=re.escape(words)) as error:
        load(FinetuneRecipe, "finetune", recipe, ["model=m", "data=d", override])
    assert "\n" not in str(error.value)


def test_settings_of_other_kinds_are_no_part_of_an_identity_and_pass_in_runs_of_earlier_versions(tmp_path: Path):
    loaded = load(FinetuneRecipe, "finetune", "cola", ["model=m", "data=d"])
    keys = identity(loaded.settings)
    assert "double_unordered" in keys and not [
        key for key in keys if key.startswith(("custom", "answering", "several"))
    ]
    earlier = keys | {"answering.stride": 64, "custom.kind": "tagging"}
    assert as_written_now(earlier, keys, defaults(loaded.settings)) == keys
    text = to_toml(loaded.settings).replace("stride = 128", "stride = 64")
    (tmp_path / "recipe.toml").write_text(text)
    assert "stride = 64" in text and identity(read_own_recipe(FinetuneRecipe, tmp_path, "finetune")) == keys


def test_the_kind_on_the_command_line_drops_the_recipes_settings_of_other_kinds():
    uniform = load(PretrainRecipe, "pretrain", "electra-base", ["data=d", "objective.generator.kind=uniform"])
    assert "objective.generator.hidden_fraction" not in identity(uniform.settings)
    with pytest.raises(UserError, match=r"temperature = 2.0: only for kind = masked_tokens or kind = two_towers"):
        load(PretrainRecipe, "pretrain", "electra-base", ["data=d", "objective.generator.kind=uniform",
                                                          "objective.generator.temperature=2"])  # fmt: skip


@pytest.mark.parametrize(
    ("cls", "recipe", "key", "meant"),
    [
        (PretrainRecipe, "bert-tiny", "steps", "plan.steps"),
        (PretrainRecipe, "bert-tiny", "lr", "schedule.learning_rate"),
        (FinetuneRecipe, "rte", "lr", "schedule.learning_rate"),
        (FinetuneRecipe, "rte", "num_train_epochs", "epochs"),
    ],
)
def test_a_setting_of_another_table_or_program_is_named_in_full(cls, recipe: str, key: str, meant: str):
    verb = "pretrain" if cls is PretrainRecipe else "finetune"
    with pytest.raises(UserError, match=rf"^{key}: no such setting; did you mean {meant}\?"):
        load(cls, verb, recipe, ["model=m", "data=d", f"{key}=300"] if verb == "finetune" else ["data=d", f"{key}=300"])


def test_a_folder_without_its_key_is_taken_for_the_model_or_the_data(tmp_path):
    (tmp_path / "glue").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"kind": "pretrain"}')
    for folder, verb, cls, recipe, name in (
        ("run", "finetune", FinetuneRecipe, "rte", "model"), ("glue", "finetune", FinetuneRecipe, "rte", "data"),
        ("run", "pretrain", PretrainRecipe, "continue", "init"),
        ("glue", "pretrain", PretrainRecipe, "continue", "data"),
    ):  # fmt: skip
        path = str(tmp_path / folder)
        with pytest.raises(UserError) as refused:
            load(cls, verb, recipe, [path])
        assert str(refused.value).endswith(f"key=value, did you mean {name}={path}?")
