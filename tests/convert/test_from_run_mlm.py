"""run_mlm.py's arguments as recipes: all of transformers' are known, with its defaults, and mean what they mean."""

import dataclasses
import json
import tomllib

import pytest
import transformers

from bertsmith.config.loading import check
from bertsmith.convert.from_run_mlm.arguments import REMARK_OF, TAKEN, read_arguments
from bertsmith.convert.from_run_mlm.recipe import recipe_from_run_mlm
from bertsmith.errors import UserError
from bertsmith.training.recipe import PretrainRecipe

TYPICAL = (
    "python run_mlm.py --model_type bert --tokenizer_name bert-base-uncased --dataset_name wikitext "
    "--dataset_config_name wikitext-103-raw-v1 --max_seq_length 128 --per_device_train_batch_size 32 "
    "--gradient_accumulation_steps 4 --max_steps 10000 --warmup_steps 500 --learning_rate 1e-4 --weight_decay 0.01 "
    "--bf16 --do_train --do_eval --output_dir out --save_total_limit 3 --report_to wandb tensorboard "
    "--no_use_fast_tokenizer"
)


def converted(text):
    found = recipe_from_run_mlm(text)
    values = tomllib.loads(found.text)
    if "plan.tokens" in found.command:
        values.setdefault("plan", {})["tokens"] = 10**9
    remarks = [line[2:] for line in found.text.splitlines() if line.startswith("# ")]
    return check(PretrainRecipe, values | {"data": "d"}), remarks, found


def test_every_argument_of_transformers_is_known_with_its_default():
    fields = {field.name: field for field in dataclasses.fields(transformers.TrainingArguments)}
    assert fields.keys() <= TAKEN.keys() | REMARK_OF.keys(), "a version has new ones"
    assert not TAKEN.keys() & REMARK_OF.keys()
    for name in TAKEN.keys() & fields.keys() - {"optim", "report_to"}:  # of which defaults follow the installation
        default = fields[name].default
        assert getattr(default, "value", default) == TAKEN[name], name


def test_a_typical_command_line_is_this_recipe():
    recipe, remarks, found = converted(TYPICAL)
    model = recipe.model
    assert (model.kind, model.hidden_size, model.num_hidden_layers, model.heads, model.feed_forward) == (
        "classic", 768, 12, 12, 3072
    )  # fmt: skip
    assert (recipe.rows.kind, recipe.rows.length, recipe.batch_size, recipe.seed) == ("windows", 128, 128, 42)
    assert recipe.machine.micro_batch_rows == 32
    assert (recipe.plan.steps, recipe.plan.keep_checkpoints, recipe.plan.checkpoint_steps) == (10_000, 3, 500)
    assert (recipe.schedule.kind, recipe.schedule.decay_power) == ("polynomial", 1.0)
    assert (recipe.schedule.learning_rate, recipe.schedule.warmup_proportion) == (1e-4, 0.05)
    optimizer = recipe.optimizer
    assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon, optimizer.weight_decay) == (0.9, 0.999, 1e-8, 0.01)
    assert optimizer.bias_correction and optimizer.clip_norm == 1.0
    masking = recipe.objective.masking
    assert (masking.prob, masking.mask_token_prob, masking.random_token_prob) == (0.15, 0.8, 0.1)
    assert recipe.log == ("wandb", "tensorboard")
    for name in ("tokenizer_name", "dataset_name", "dataset_config_name", "bf16", "do_train", "do_eval", "output_dir"):
        assert sum(line.startswith(f"{name}: ") for line in remarks) == 1, name
    assert not any(line.startswith("use_fast_tokenizer") for line in remarks), "it was switched off"
    assert found.command == "bertsmith pretrain my.toml data=data/owt --out runs/my"


CONFIGS = ("Bert", "Electra", "ModernBert", "Roberta", "XLMRoberta", "Camembert", "DistilBert", "DebertaV2")


@pytest.mark.parametrize("name", CONFIGS)
def test_defaults_are_transformers_own_configurations(name):
    config = getattr(transformers, f"{name}Config")()
    model = converted(f"--model_type {config.model_type} --max_steps 10")[0].model
    sizes = (model.hidden_size, model.num_hidden_layers, model.heads, model.feed_forward)
    feed_forward = config.hidden_dim if name == "DistilBert" else config.intermediate_size
    assert sizes == (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, feed_forward)
    assert model.embedding == getattr(config, "embedding_size", config.hidden_size)
    behind_padding = 2 if model.kind == "roberta" else 0
    assert model.max_position_embeddings + behind_padding == config.max_position_embeddings
    if name == "DebertaV2":  # as much as its class reads of them
        assert (bool(model.pos_att_type), model.position_buckets, model.share_att_key, model.norm_rel_ebd) == (
            config.relative_attention, 0, False, "none"
        )  # fmt: skip
    for key in ("layer_norm_eps", "type_vocab_size", "norm_eps", "local_attention", "position_biased_input"):
        if hasattr(config, key) and hasattr(model, key):
            assert getattr(model, key) == getattr(config, key), key


def test_sizes_are_taken_by_the_names_of_each_configuration():
    model = converted("--model_type distilbert --max_steps 9 --config_overrides dim=64,n_heads=2,hidden_dim=96")[
        0
    ].model
    assert (model.hidden_size, model.heads, model.feed_forward) == (64, 2, 96)
    disentangled = (
        "pos_att_type=p2c|c2p,position_buckets=32,share_att_key=true,norm_rel_ebd=layer_norm,conv_kernel_size=3"
    )
    model = converted(f"--model_type deberta-v2 --max_steps 9 --config_overrides {disentangled}")[0].model
    assert (model.pos_att_type, model.position_buckets, model.share_att_key) == (("p2c", "c2p"), 32, True)
    assert (model.norm_rel_ebd, model.conv_kernel_size, model.position_biased_input) == ("layer_norm", 3, True)
    model = converted("--model_type deberta-v2 --max_steps 9 --config_overrides position_buckets=-1")[0].model
    assert (model.position_buckets, model.pos_att_type) == (0, ())
    typed = "--model_type camembert --max_steps 9 --max_seq_length 64 --config_overrides max_position_embeddings=66"
    model = converted(typed)[0].model
    assert (model.model_type, model.max_position_embeddings) == ("camembert", 64)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("--max_steps=100 --warmup_steps 0.1", {"schedule.warmup_proportion": 0.1}),
        ("--max_steps 100 --warmup_ratio 0.06", {"schedule.warmup_proportion": 0.06}),
        ("--max_steps 100 --lr_scheduler_type cosine", {"schedule.kind": "cosine"}),
        ("--max_steps 100 --lr_scheduler_type constant --warmup_steps 5",
         {"schedule.kind": "constant", "schedule.warmup_proportion": 0.0}),
        ("--max_steps 100 --lr_scheduler_type constant_with_warmup --warmup_steps 5",
         {"schedule.kind": "constant", "schedule.warmup_proportion": 0.05}),
        ("--max_steps 100 --lr_scheduler_type polynomial --lr_scheduler_kwargs '{\"power\": 2}'",
         {"schedule.kind": "polynomial", "schedule.decay_power": 2.0}),
        ("--max_steps 100 --lr_scheduler_type warmup_stable_decay --lr_scheduler_kwargs '{\"num_decay_steps\": 25}'",
         {"schedule.kind": "wsd", "schedule.decay_proportion": 0.25, "schedule.decay_shape": "linear"}),
        ("--max_steps 100 --optim adafactor", {"optimizer.kind": "adafactor"}),
        ("--max_steps 1000 --logging_steps 0.01 --eval_steps 200", {"plan.log_steps": 10, "plan.evaluate_steps": 200}),
        ("--max_steps 10 --max_eval_samples 64", {"evaluate_rows": 64}),
        ("--max_steps 10 --config_overrides hidden_size=256,num_hidden_layers=4,num_attention_heads=4",
         {"model.hidden_size": 256, "model.num_hidden_layers": 4, "model.num_attention_heads": 4}),
        ("--max_steps 10 --use_cpu --full_determinism --report_to none",
         {"machine.device": "cpu", "machine.deterministic": True, "log": ()}),
        ("--num_train_epochs 3 --mlm_probability 0.3", {"objective.masking.prob": 0.3}),
    ],
)  # fmt: skip
def test_an_argument_means_this(text, meant):
    recipe, _, _ = converted(f"--model_type bert {text}")
    for key, expected in meant.items():
        value = recipe
        for name in key.split("."):
            value = getattr(value, name)
        assert value == expected, key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--num_train_epochs 3", "num_train_epochs: 3 passes over the data"),
        ("--warmup_steps 100", "warmup_steps: 100 steps of a plan whose steps are not known"),
        ("--max_steps 9 --optim lion_32bit", "optim: 'lion_32bit': no such optimizer here; AdamW"),
        ("--max_steps 9 --lr_scheduler_type greedy", "lr_scheduler_type: 'greedy': no such schedule"),
        ("--max_steps 9 --label_smoothing_factor 0.1", "label_smoothing_factor: not here"),
        ("--max_steps 9 --deepspeed ds.json", "deepspeed: torchrun"),
        ("--max_steps 9 --config_overrides n_embd=10", "config_overrides.n_embd: not here"),
        ("--max_steps 9 --config_overrides vocab_size=10", "config_overrides.vocab_size: of the text"),
        ("--max_steps 9 --line_by_line", "line_by_line: a row is a run of a document"),
    ],
)
def test_what_has_no_counterpart_is_named_in_a_line(text, said):
    _, remarks, _ = converted(f"--model_type bert {text}")
    assert sum(line.startswith(said) for line in remarks) == 1, remarks


def test_a_model_to_go_on_from_is_init():
    recipe, remarks, _ = converted("--model_name_or_path models/bert --max_steps 9 --max_seq_length 64")
    assert recipe.init == "models/bert" and any(line.startswith("model_name_or_path: a folder") for line in remarks)
    assert "[model]" not in recipe_from_run_mlm("--model_name_or_path models/bert --max_steps 9").text


def test_a_json_file_is_read_as_the_script_reads_it(tmp_path):
    path = tmp_path / "args.json"
    path.write_text(json.dumps({"model_type": "bert", "max_steps": 50, "learning_rate": 2e-4, "config_name": None}))
    recipe, _, _ = converted(str(path))
    assert (recipe.plan.steps, recipe.schedule.learning_rate) == (50, 2e-4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--max_steps 10", "--model_type or --model_name_or_path is needed"),
        ("--model_type xlnet", "--model_type 'xlnet': no such network becomes a recipe; there are bert, "),
        ("--model_type bert --max_step 3", r"--max_step: run_mlm.py has no such argument; did you mean --max_steps\?"),
        ("--model_type bert --max_steps many", "--max_steps 'many': a whole number is needed"),
        ("--model_type bert --use_cpu perhaps", "--use_cpu 'perhaps': true or false is needed"),
        ("bert --model_type", "model_type True|no such network"),
        ("--model_type 'bert", "--from-run-mlm: No closing quotation"),
        ("--model_type a b", "--model_type .*: a text is needed"),
        ("--model_type bert --optim adamw_torch adafactor", "--optim .*: a text is needed"),
        (
            '--model_type bert --lr_scheduler_type polynomial --lr_scheduler_kwargs \'{"power": "x"}\'',
            "--lr_scheduler_kwargs power = 'x': a number is needed",
        ),
        ("gone.json", "gone.json: no such file"),
        (
            "accelerate launch run_mlm_no_trainer.py --model_type bert",
            r"no_trainer\.py: a program with arguments",
        ),
        ("nothing", "'nothing': a value without an argument before it"),
        (
            "--model_type roberta --max_steps 3 --config_overrides max_position_embeddings=many",
            "no recipe here: .*max_position_embeddings",
        ),
        (
            "--model_type bert --max_steps 3 --config_overrides max_position_embeddings=1.5",
            "no recipe here: .*max_position_embeddings",
        ),
        ("--model_type bert --max_steps 3 --mlm_probability 2", "these arguments are no recipe here: "),
        ("--model_type bert --lr_scheduler_kwargs x", "--lr_scheduler_kwargs 'x': a JSON object is needed"),
    ],
)
def test_what_cannot_be_read_is_one_line(text, said):
    with pytest.raises(UserError, match=said) as error:
        recipe_from_run_mlm(text)
    assert len(str(error.value).splitlines()) <= 2


def test_a_launchers_own_arguments_are_not_the_scripts():
    typed = {"model_type": "bert", "max_steps": 3}
    for launcher in ("torchrun --nproc_per_node 8", "python -m torch.distributed.launch --nproc_per_node=4",
                     "CUDA_VISIBLE_DEVICES=0 accelerate launch --mixed_precision bf16", "deepspeed"):  # fmt: skip
        assert read_arguments(f"{launcher} examples/run_mlm.py --model_type bert --max_steps 3") == typed


def test_the_verb_takes_the_line_as_it_was_typed(run_main, tmp_path):
    status, out, err = run_main("recipe", "--from-run-mlm", TYPICAL)
    assert status == 0 and err == "next: bertsmith pretrain my.toml data=data/owt --out runs/my\n"
    (tmp_path / "my.toml").write_text(out)
    assert run_main("show", tmp_path / "my.toml", "data=d")[0] == 0
    assert read_arguments(TYPICAL)["report_to"] == ["wandb", "tensorboard"]
    assert read_arguments("--learning-rate=1e-4 --max_steps \\\n 3") == {"learning_rate": 1e-4, "max_steps": 3}
