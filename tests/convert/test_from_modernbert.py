"""YAML files of AnswerDotAI/ModernBERT as recipes: the published values, key by key; what is left out is named."""

import tomllib
from dataclasses import replace

import pytest
import yaml

from bertsmith.config.loading import check, load
from bertsmith.convert.from_modernbert.durations import Clock, Duration, parse_duration
from bertsmith.convert.from_modernbert.recipe import recipe_from_modernbert
from bertsmith.errors import UserError
from bertsmith.training.recipe import PretrainRecipe

NETWORK = {
    "vocab_size": 50368, "init_method": "full_megatron", "num_hidden_layers": 22, "hidden_size": 768,
    "intermediate_size": 1152, "num_attention_heads": 12, "attention_layer": "rope",
    "attention_probs_dropout_prob": 0.0,
    "attn_out_bias": False, "attn_out_dropout_prob": 0.1, "attn_qkv_bias": False, "bert_layer": "prenorm",
    "embed_dropout_prob": 0.0, "embed_norm": True, "final_norm": True, "skip_first_prenorm": True,
    "embedding_layer": "sans_pos", "loss_function": "fa_cross_entropy", "loss_kwargs": {"reduction": "mean"},
    "mlp_dropout_prob": 0.0, "mlp_in_bias": False, "mlp_layer": "glu", "mlp_out_bias": False,
    "normalization": "layernorm", "norm_kwargs": {"eps": "1e-5", "bias": False}, "hidden_act": "gelu",
    "head_pred_act": "gelu", "activation_function": "gelu", "padding": "unpadded", "rotary_emb_dim": None,
    "rotary_emb_base": 10000.0, "rotary_emb_scale_base": None, "rotary_emb_interleaved": False,
    "allow_embedding_resizing": True, "sliding_window": 128, "global_attn_every_n_layers": 3, "unpad_embeddings": True,
    "compile_model": True, "masked_prediction": True,
}  # fmt: skip
BASE = {
    "data_local": "data_folder", "data_remote": None, "max_seq_len": 1024,
    "tokenizer_name": "answerdotai/ModernBERT-base",
    "mlm_probability": 0.3, "count_padding_tokens": False, "run_name": "modernbert-base-pretrain",
    "model": {"name": "flex_bert", "pretrained_model_name": "bert-base-uncased", "tokenizer_name": "${tokenizer_name}",
              "disable_train_metrics": True, "model_config": NETWORK},
    "train_loader": {
        "name": "text", "drop_last": True, "num_workers": 6, "sequence_packing": True,
        "batch_size_warmup_min_size": "${device_train_microbatch_size}",
        "batch_size_warmup_tokens": "50_000_000_000tok",
        "dataset": {"local": "${data_local}", "max_seq_len": "${max_seq_len}", "mlm_probability": "${mlm_probability}",
                    "shuffle": True, "streaming": False}},
    "eval_loader": {"name": "text", "dataset": {"local": "${data_local}", "mlm_probability": 0.15}},
    "scheduler": {"name": "warmup_stable_decay", "t_warmup": "3_000_000_000tok", "alpha_f": 0.0, "t_decay": "0tok"},
    "optimizer": {"name": "decoupled_stableadamw", "lr": "8e-4", "betas": [0.9, 0.98], "eps": 1.0e-06,
                  "weight_decay": 1.0e-5, "filter_bias_norm_wd": True, "log_grad_norm": True},
    "max_duration": "1_719_000_000_000tok", "eval_interval": "4000ba", "global_train_batch_size": 4608,
    "global_eval_batch_size": 1024, "seed": 17, "device_eval_batch_size": 128, "device_train_microbatch_size": 96,
    "precision": "amp_bf16", "progress_bar": False, "log_to_console": True, "console_log_interval": "100ba",
    "callbacks": {"speed_monitor": {"window_size": 100}, "lr_monitor": {}},
    "save_interval": "4000ba", "save_num_checkpoints_to_keep": -1, "save_folder": "checkpoints/{run_name}",
}  # fmt: skip
"""Keys and values of yamls/modernbert/modernbert-base-pretrain.yaml; PyYAML takes 8e-4 for text, as YAML 1.1 does."""


def converted(tmp_path, content):
    """The checked recipe, its comments and the command that uses it."""
    path = tmp_path / "theirs.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    found = recipe_from_modernbert(str(path))
    lines = found.text.splitlines()
    values = tomllib.loads(found.text)
    if "plan.tokens" in found.command:
        values.setdefault("plan", {})["tokens"] = 10**9
    return check(PretrainRecipe, values | {"data": "d"}), [line[2:] for line in lines if line.startswith("# ")], found


def changed(**tables):
    """BASE with keys of its tables changed; `...` removes one."""
    content = {**BASE}
    for name, value in tables.items():
        is_table = isinstance(value, dict) and isinstance(content.get(name), dict)
        content[name] = {**content[name], **value} if is_table else value
        if is_table:
            content[name] = {key: each for key, each in content[name].items() if each is not ...}
    return {key: value for key, value in content.items() if value is not ...}


def with_network(**keys):
    return changed(model={"model_config": {k: v for k, v in {**NETWORK, **keys}.items() if v is not ...}})


def test_the_published_base_is_this_recipe(tmp_path):
    recipe, remarks, found = converted(tmp_path, BASE)
    model = recipe.model
    assert (model.kind, model.hidden_size, model.num_hidden_layers, model.heads, model.feed_forward) == (
        "modern", 768, 22, 12, 1152
    )  # fmt: skip
    assert (model.local_attention, model.global_attn_every_n_layers) == (128, 3)
    assert (model.global_rope_theta, model.local_rope_theta, model.norm_eps) == (1e4, 1e4, 1e-5)
    assert (model.attention_dropout, model.mlp_dropout, model.embedding_dropout) == (0, 0, 0)
    masking = recipe.objective.masking
    assert (masking.prob, masking.mask_token_prob, masking.random_token_prob) == (0.3, 0.8, 0.1)
    assert (recipe.batch_size, recipe.rows.length, recipe.rows.kind, recipe.seed) == (4608, 1024, "windows", 17)
    assert recipe.plan.tokens == 1_719_000_000_000
    plan = recipe.plan
    assert (plan.evaluate_steps, plan.checkpoint_steps, plan.log_steps, plan.keep_checkpoints) == (4000, 4000, 100, 0)
    assert (recipe.schedule.kind, recipe.schedule.learning_rate) == ("constant", 8e-4)
    assert recipe.schedule.warmup_proportion == pytest.approx(3 / 1719)
    optimizer = recipe.optimizer
    assert (optimizer.kind, optimizer.beta1, optimizer.beta2, optimizer.epsilon) == ("adamw", 0.9, 0.98, 1e-6)
    assert optimizer.bias_correction and optimizer.weight_decay == pytest.approx(1e-5 / 8e-4)
    assert recipe.machine.micro_batch_rows == 96 and recipe.machine.dtype == "auto"
    for named in ("model.model_config.attn_out_dropout_prob: 0.1", "optimizer.name: 'decoupled_stableadamw'",
                  "train_loader.batch_size_warmup_min_size: ", "tokenizer_name: of the text", "eval_loader: ",
                  "optimizer.weight_decay: 1e-05 of a weight", "callbacks: "):  # fmt: skip
        assert sum(line.startswith(named) for line in remarks) == 1, (named, remarks)
    assert not any("not known here" in line for line in remarks)
    assert found.command == "bertsmith pretrain my.toml data=data/owt --out runs/my"


def test_the_recipe_of_the_same_name_says_the_same(tmp_path):
    theirs, ours = (
        converted(tmp_path, BASE)[0],
        load(PretrainRecipe, "pretrain", "modernbert-base", ["data=d"]).settings,
    )
    assert ours.optimizer.weight_decay == pytest.approx(theirs.optimizer.weight_decay)
    assert replace(ours.optimizer, weight_decay=0.0, clip_norm=0.0) == replace(
        theirs.optimizer, weight_decay=0.0, clip_norm=0.0
    )
    assert ours.model.sizes() == theirs.model.sizes() | {"global_rope_theta": 160_000.0}
    for key in ("batch_size", "rows", "objective"):
        assert getattr(ours, key) == getattr(theirs, key), key
    assert ours.schedule.learning_rate == theirs.schedule.learning_rate and ours.plan.tokens == theirs.plan.tokens
    assert ours.schedule.warmup_proportion == pytest.approx(theirs.schedule.warmup_proportion, rel=0.01)


def test_the_published_decay_is_one_minus_the_root_over_the_whole_plan(tmp_path):
    decay = changed(
        max_seq_len=8192, max_duration="50_000_000_000tok", load_path="checkpoints/latest-rank0.pt", reset_time=True,
        scheduler={"name": "one_minus_sqrt", "alpha_f": 0.001, "t_decay": "${max_duration}", "t_max": "${max_duration}",
                   "t_warmup": ...},
        optimizer={"lr": "3e-4"}, global_train_batch_size=576,
    )  # fmt: skip
    recipe, remarks, _ = converted(tmp_path, decay)
    assert (recipe.schedule.kind, recipe.schedule.warmup_proportion, recipe.rows.length) == (
        "one_minus_sqrt",
        0.0,
        8192,
    )
    assert any(line.startswith("scheduler.alpha_f: 0.001: the rate falls to 0") for line in remarks)
    assert any(line.startswith("load_path: ") and "init=MODEL" in line for line in remarks)
    last = changed(scheduler={"name": "one_minus_sqrt", "t_decay": "0.25dur", "t_warmup": ...})
    assert converted(tmp_path, last)[0].schedule.decay_proportion == 0.25


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        (changed(scheduler={"t_decay": "171_900_000_000tok"}),
         {"schedule.kind": "wsd", "schedule.decay_proportion": 0.1, "schedule.decay_shape": "linear"}),
        (changed(scheduler={"t_decay": ...}), {"schedule.kind": "wsd", "schedule.decay_proportion": 0.1}),
        (changed(scheduler={"name": "linear_decay_with_warmup", "t_warmup": "0.06dur"}),
         {"schedule.kind": "polynomial", "schedule.decay_power": 1.0, "schedule.warmup_proportion": 0.06}),
        (changed(scheduler={"name": "cosine_with_warmup"}), {"schedule.kind": "cosine"}),
        (changed(max_duration="286720000sp", scheduler={"name": "linear_decay_with_warmup", "t_warmup": "100ba"}),
         {"plan.steps": -(-286720000 // 4608), "schedule.warmup_proportion": 100 / -(-286720000 // 4608)}),
        (changed(max_duration="5000ba", scheduler={"t_warmup": "4608sp"}),
         {"plan.steps": 5000, "schedule.warmup_proportion": 1 / 5000}),
        (changed(optimizer={"name": "adamw", "weight_decay": 0.01},
                 algorithms={"gradient_clipping": {"clipping_type": "norm", "clipping_threshold": 0.5}}),
         {"optimizer.weight_decay": 0.01, "optimizer.clip_norm": 0.5}),
        (changed(optimizer={"name": "decoupled_adamw"}), {"optimizer.clip_norm": 0.0}),
        (changed(algorithms={"ema": {"half_life": "1000ba"}}), {"average_decay": 0.5**0.001}),
        (with_network(sliding_window=-1, global_attn_every_n_layers=-1), {"model.global_attn_every_n_layers": 1}),
        (with_network(rotary_emb_base=160000.0, local_attn_rotary_emb_base=10000.0),
         {"model.global_rope_theta": 160000.0, "model.local_rope_theta": 10000.0}),
        (with_network(attn_out_dropout_prob=0.1, attention_probs_dropout_prob=0.1), {"model.attention_dropout": 0.1}),
        (with_network(intermediate_size=..., hidden_size=...),
         {"model.intermediate_size": 3072, "model.hidden_size": 768}),
        (changed(save_num_checkpoints_to_keep=3, save_interval=...),
         {"plan.keep_checkpoints": 3, "plan.checkpoint_steps": 1000}),
        (changed(loggers={"wandb": {"project": "p"}}), {"log": ("wandb",)}),
        (changed(precision="fp32", device_train_microbatch_size="auto", train_loader=...),
         {"machine.dtype": "float32", "machine.micro_batch_rows": None, "objective.masking.prob": 0.3}),
        (changed(model={"name": "hf_bert", "model_config": {"num_hidden_layers": 4,
                                                            "attention_probs_dropout_prob": 0.2}}),
         {"model.kind": "classic", "model.num_hidden_layers": 4, "model.hidden_size": 768,
          "model.attention_probs_dropout_prob": 0.2, "rows.kind": "windows"}),
    ],
)  # fmt: skip
def test_a_setting_there_means_this(tmp_path, content, meant):
    if content.get("model", {}).get("name") == "hf_bert":
        content = {**content, "max_seq_len": 128}
    recipe, _, _ = converted(tmp_path, content)
    for key, expected in meant.items():
        value = recipe
        for name in key.split("."):
            value = getattr(value, name)
        assert value == pytest.approx(expected) if isinstance(expected, float) else value == expected, key


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (with_network(mlp_layer="mlp"), "model.model_config.mlp_layer: 'mlp': ModernBERT's encoder here has 'glu'"),
        (with_network(normalization="rmsnorm"), "model.model_config.normalization: 'rmsnorm'"),
        (with_network(attn_qkv_bias=True),
         "model.model_config.attn_qkv_bias: true: ModernBERT's encoder here has false"),
        (with_network(quantum=3), "model.model_config.quantum: 3: not known here"),
        (changed(teacher={"path": "x"}), "teacher.path: 'x': not known here"),
        (changed(algorithms={"alibi": {"max_sequence_length": 512}}), "algorithms: no such algorithm here"),
        (changed(scheduler={"name": "cosine_inverse_sqrt"}), "scheduler.name: 'cosine_inverse_sqrt': no such schedule"),
        (changed(loggers={"comet": {}}), "loggers.comet: no such tracker here"),
        (changed(init_from_checkpoint={"mode": "tile_weights_from_middle"}),
         "init_from_checkpoint: no layers are tiled"),
        (changed(max_duration="2ep"), "max_duration: 2 passes over the data"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_named_in_a_line(tmp_path, content, said):
    _, remarks, found = converted(tmp_path, content)
    assert sum(line.startswith(said) for line in remarks) == 1, remarks
    if "max_duration" in said:
        assert found.command.startswith("bertsmith pretrain my.toml data=data/owt plan.tokens=1000000000 ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model: [", "not YAML"),
        ("- 1", "a table of settings is needed"),
        ("a: !!python/object/apply:os.system ['true']", "not YAML .*could not determine a constructor"),
        ("a: &a [*a]\n", "nested too deep"),
        ("a: &a\n  b: *a\n", "nested too deep"),
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", "more than 10,000 values"),
        ("model: {name: flex_bert}", "has no global_train_batch_size"),
        ("a: ${b}\nb: ${a}\nmodel: {name: flex_bert}", "stands for itself"),
        ("a: ${nothing}\n", r"'\$\{nothing\}': the file has no 'nothing'"),
        ("date: 2024-13-45\n", "not YAML"),
        (changed(model={"name": "mosaic_bert"}), "model.name = 'mosaic_bert': no such network here"),
        (changed(model={"num_labels": 2}), "model.num_labels: a file of fine-tuning"),
        (changed(max_duration="soon"), "max_duration = 'soon': no length of time"),
        (changed(max_duration=...), "max_duration = '': no length of time"),
        (changed(optimizer={"lr": "fast"}), "optimizer.lr = 'fast': a number is needed"),
        (changed(optimizer={"betas": 3}), "optimizer.betas = 3: two numbers are needed"),
        (changed(scheduler={"t_warmup": "0.7dur", "t_decay": "0.4dur"}),
         r"scheduler\.t_warmup and scheduler\.t_decay \(.*\) are 70\.0% and 40\.0% of max_duration"),
        (with_network(num_attention_heads=7), "theirs.yaml: these settings are no recipe here: "),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(tmp_path, content, said):
    with pytest.raises(UserError, match=said) as error:
        converted(tmp_path, content)
    assert len(str(error.value).splitlines()) <= 2
    with pytest.raises(UserError, match=r"gone\.yaml: no such file"):
        recipe_from_modernbert(str(tmp_path / "gone.yaml"))


def test_lengths_of_time():
    clock = Clock(10, 100, Duration(50_000, "tok"))
    for written, steps, share in (("5ba", 5, 0.1), ("1_000tok", 1, 0.02), ("20sp", 2, 0.04), ("0.5dur", 25, 0.5)):
        duration = parse_duration(written, "t")
        assert (clock.steps(duration), clock.share(duration)) == (steps, pytest.approx(share))
    assert clock.steps(parse_duration("3ep", "t")) is clock.share(parse_duration(3, "t")) is None


def test_the_verb_prints_a_file_that_pretrain_takes(tmp_path, run_main):
    path = tmp_path / "theirs.yaml"
    path.write_text(yaml.safe_dump(BASE))
    status, out, err = run_main("recipe", "--from-modernbert", path)
    assert status == 0 and out.startswith("# AnswerDotAI/ModernBERT, main.py theirs.yaml")
    assert err == "next: bertsmith pretrain my.toml data=data/owt --out runs/my\n"
    (tmp_path / "my.toml").write_text(out)
    status, out, _ = run_main("show", tmp_path / "my.toml", "data=d")
    assert status == 0 and "1719000000000" in out.replace(",", "").replace("_", "")
    for arguments, said in (
        (("--from-modernbert", path, "--compat"), "--compat: of use with --from-electra alone"),
        (("--from-modernbert", path, "--from-electra", "{}"), "give one of them"),
    ):
        status, _, err = run_main("recipe", *arguments)
        assert status == 2 and said in err
