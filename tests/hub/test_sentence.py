"""Folders of sentence-transformers: imported or trained further, they pool as before, or it is said why not."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from huggingface_hub import ModelCard

from bertsmith.cli.show import show
from bertsmith.config.loading import apply_overrides
from bertsmith.convert.export import export_run
from bertsmith.convert.importing import ImportSettings, import_model
from bertsmith.errors import UserError
from bertsmith.hub.replaceable import EXPORTED_FILES
from bertsmith.tasks.finetune import finetune
from bertsmith.training.models import open_model
from bertsmith.training.pretrain import pretrain
from tests.hub.foreign import save, tensors_of
from tests.hub.pooled import MEAN, NEW, dense, entries, pooled, write_json
from tests.tasks.toy_task import toy_recipe, write_task
from tests.toys import make_data, tiny_recipe

TEXTS = ["w1 w2", "w5", "w7 w8 w9 " * 10, "w2 w1 w26"]
KEPT = {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def encoded(folder, sentences=TEXTS, **asked):
    """What the library makes of a folder."""
    library = pytest.importorskip("sentence_transformers", reason="the dev extra's MiniLM installs it")
    return library.SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(sentences, **asked)


def import_(path, out, *overrides):
    return import_model(path, out, apply_overrides(ImportSettings, {}, overrides).settings)


def names_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def read(path):
    return json.loads(path.read_text())


def plain(folder):
    return pooled(folder)


def as_version_6_writes_it(folder):
    """Its Transformer says no length: the tokenizer does."""
    pooled(folder)
    chain = entries("Transformer", "Pooling")
    chain[0]["type"], chain[1]["type"] = "sentence_transformers.base.modules.transformer.Transformer", f"{NEW}.Pooling"
    write_json(folder / "modules.json", chain)
    write_json(
        folder / "1_Pooling/config.json",
        {"embedding_dimension": 16, "pooling_mode": ["cls", "max"], "include_prompt": False},
    )
    text = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    content = {
        "transformer_task": "feature-extraction",
        "modality_config": text,
        "module_output_name": "token_embeddings",
    }
    write_json(folder / "sentence_bert_config.json", content)
    config = read(folder / "tokenizer_config.json")
    write_json(folder / "tokenizer_config.json", config | {"model_max_length": 7})
    return folder


def with_layers(folder):
    pooled(folder)
    write_json(folder / "1_Pooling/config.json", MEAN | {"pooling_mode_weightedmean_tokens": True})
    write_json(folder / "modules.json", entries("Transformer", "Pooling", "Dense", "Normalize", "Dense"))
    dense(folder / "2_Dense", 32, 5)
    dense(folder / "4_Dense", 5, 3, bias=False, activation_function="torch.nn.modules.linear.Identity")
    return folder


def a_modern_one(folder):
    return pooled(folder, "ModernBertForMaskedLM", "modernbert")


def in_a_folder_of_its_own(folder):
    pooled(folder)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(inner / path.name)
    (folder / "1_Pooling").rename(folder / "mean")
    write_json(folder / "modules.json", entries("Transformer", "Pooling", Transformer="0_Transformer", Pooling="mean"))
    chain = read(folder / "modules.json")
    chain[0]["path"] = "0_Transformer"
    write_json(folder / "modules.json", chain)
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (plain, "mean pooling, Normalize, at most 12 tokens"),
        (as_version_6_writes_it, "cls and max pooling, at most 7 tokens"),
        (with_layers, "mean and weightedmean pooling, Dense to 5, Normalize, Dense to 3, at most 12 tokens"),
        (a_modern_one, "mean pooling, Normalize, at most 12 tokens"),
        (in_a_folder_of_its_own, "mean pooling, at most 12 tokens"),
    ],
)
def test_an_import_gives_the_vectors_of_the_original(make, said, tmp_path):
    source, out = make(tmp_path / "source"), tmp_path / "out"
    expected, prompted = encoded(source), encoded(source, prompt_name="query")
    assert expected.std() > 0.05 and np.abs(expected - prompted).max() > 0.01
    for _ in range(2):  # the second replaces the first
        assert import_(source, out)[-1] == f"carried over: sentence-transformers' files: {said}"
    np.testing.assert_allclose(encoded(out), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(encoded(out, prompt_name="query"), prompted, rtol=0, atol=1e-6)
    assert KEPT <= names_in(out) <= EXPORTED_FILES
    assert read(out / "config_sentence_transformers.json") == read(source / "config_sentence_transformers.json")
    assert [entry["path"] for entry in read(out / "modules.json")][:2] == ["", "1_Pooling"]
    card = ModelCard.load(out / "README.md").data
    assert (card.library_name, card.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    assert "sentence-transformers" in card.tags and said in (out / "README.md").read_text()
    assert not any(str(tmp_path).encode() in (out / name).read_bytes() for name in names_in(out))


def test_what_is_said_of_the_card(tmp_path):
    save(tmp_path / "source", "BertModel", "bert")
    import_(tmp_path / "source", tmp_path / "out", "card.license=mit", "card.language=de,en", "card.datasets=a/b")
    card = ModelCard.load(tmp_path / "out/README.md").data
    assert (card.license, card.language, card.datasets, card.base_model) == ("mit", ["de", "en"], ["a/b"], None)
    assert (card.library_name, card.pipeline_tag, card.tags) == ("transformers", "feature-extraction", ["bertsmith"])
    with pytest.raises(UserError, match=r"did you mean (card\.)?license"):
        import_(tmp_path / "source", tmp_path / "out", "card.licence=mit")


OUTSIDE = ("/etc", "..", "../pool", "1_Pooling/../../pool", "1_Pooling\\..\\x", "a/\0", "link", "link/1_Pooling")


@pytest.mark.parametrize("place", OUTSIDE)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_no_module_is_outside_of_the_folder(number, place, tmp_path):
    source = pooled(tmp_path / "source")
    shutil.copytree(source / "1_Pooling", tmp_path / "pool/1_Pooling")
    (source / "link").symlink_to(tmp_path / "pool")
    chain = read(source / "modules.json")
    chain[number]["path"] = place
    write_json(source / "modules.json", chain)
    before = names_in(tmp_path)
    for use in (lambda: import_(source, tmp_path / "out"), lambda: show(str(source))):
        with pytest.raises(UserError, match=r"no folder in this one|a symbolic link where modules\.json names"):
            use()
    assert names_in(tmp_path) == before


def changed(name, **keys):
    def change(folder):
        write_json(folder / name, read(folder / name) | keys)

    return change


def typed(number, kind):
    def change(folder):
        chain = read(folder / "modules.json")
        chain[number]["type"] = kind
        write_json(folder / "modules.json", chain)

    return change


def chain_of(*kinds, **keys):
    def change(folder):
        write_json(folder / "modules.json", [entry | keys for entry in entries(*kinds)])

    return change


def a_pickled_layer(folder):
    with_layers_of(folder)
    (folder / "2_Dense/model.safetensors").rename(folder / "2_Dense/pytorch_model.bin")


def a_layer_of_other_code(folder):
    with_layers_of(folder, activation_function="os.system")


def a_residual_layer(folder):
    with_layers_of(folder, use_residual=True)


def with_layers_of(folder, size=16, out=4, **keys):
    write_json(folder / "modules.json", entries("Transformer", "Pooling", "Dense"))
    dense(folder / "2_Dense", size, out, **keys)


def whole_numbers(folder):
    with_layers_of(folder, bias=False)
    tensors = {"linear.weight": torch.ones(4, 16, dtype=torch.int8)}
    safetensors.torch.save_file(tensors, folder / "2_Dense/model.safetensors")


POOL, CUT, LIBRARY = "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (typed(0, "custom.Encoder"), "'custom.Encoder' in place 0"),
        (typed(1, "sentence_transformers.models.LSTM"), "in place 1"),
        (typed(2, "sentence_transformers.models.Pooling"), "in place 2"),
        (typed(2, "evil_sentence_transformers.models.Normalize"), "in place 2"),
        (chain_of("Transformer"), "no Pooling after the encoder"),
        (chain_of("Transformer", "Normalize"), "in place 1"),
        (chain_of("Transformer", "Pooling", *["Normalize"] * 9), "in place 10"),
        (chain_of("Transformer", "Pooling", kwargs=["task"]), "in place 0"),
        (changed(POOL, pooling_mode="sum"), "says 'sum', a way of pooling"),
        (changed(POOL, pooling_mode_lambda=True), "says 'pooling_mode_lambda'"),
        (changed(CUT, tokenizer_name_or_path="/home/me/t"), "says 'tokenizer_name_or_path'"),
        (changed(CUT, query_length=8), "says 'query_length'"),
        (changed(CUT, modality_config={"image": {}}), "says 'modality_config'"),
        (changed(LIBRARY, model_type="SparseEncoder"), "'model_type' = 'SparseEncoder'"),
        (changed(LIBRARY, similarity_fn_name="mine"), "similarity_fn_name = 'mine'"),
        (changed(LIBRARY, requirements=["x"]), "'requirements'"),
        (a_pickled_layer, "pytorch_model.bin is a pickle, which can run code"),
        (a_layer_of_other_code, "code that is not torch's"),
        (a_residual_layer, "'use_residual' = True"),
    ],
)
def test_what_is_not_carried_over_is_left_out_whole_with_its_reason(change, said, tmp_path, capsys):
    source = pooled(tmp_path / "source")
    change(source)
    *_, line = import_(source, tmp_path / "out")
    assert line.startswith("left out: sentence-transformers' files: ") and said in line
    assert names_in(tmp_path / "out").isdisjoint(KEPT) and not list((tmp_path / "out").glob("*/"))
    assert ModelCard.load(tmp_path / "out/README.md").data.library_name == "transformers"
    show(str(source))
    assert "its files are not carried over: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(POOL, word_embedding_dimension=384), r"word_embedding_dimension = 384 where the vectors .* have 16"),
        (changed(POOL, pooling_mode_mean_tokens=1), r"pooling_mode_mean_tokens must be true or false, not 1"),
        (changed(CUT, max_seq_length=0), r"max_seq_length = 0"),
        (changed(CUT, max_seq_length="12"), r"max_seq_length must be a whole number, not '12'"),
        (changed(CUT, do_lower_case=1), r"do_lower_case must be true or false"),
        (changed(LIBRARY, prompts={"query": 3}), r"prompts\.query must be text"),
        (changed(LIBRARY, default_prompt_name="none"), r"prompts has none of that name"),
        (lambda folder: (folder / CUT).unlink() or (folder / CUT).symlink_to("gone"), r"config\.json: no such file"),
        (lambda folder: (folder / "modules.json").unlink() or (folder / "modules.json").mkdir(), r"not a regular file"),
        (lambda folder: (folder / POOL).unlink(), r"1_Pooling/config\.json: no such file"),
        (lambda folder: (folder / POOL).write_text("[" * 9000), r"1_Pooling/config\.json: JSON nested deeper"),
        (lambda folder: (folder / POOL).write_bytes(bytes(90)), r"1_Pooling/config\.json, line 1: not JSON"),
        (lambda folder: (folder / "modules.json").write_text("[]"), r"names no module"),
        (lambda folder: (folder / "modules.json").write_text("[3]"), r"modules\[0\] must be an object"),
        (lambda folder: with_layers_of(folder, 8), r"2_Dense/config\.json: in_features = 8 where .* have 16"),
        (lambda folder: with_layers_of(folder, out_features=5), r"'linear\.bias' is \[4\] where .* asks for \[5\]"),
        (whole_numbers, r"linear\.weight is I8 where floats are needed"),
        (lambda folder: with_layers_of(folder, bias=False) or changed("2_Dense/config.json", bias=True)(folder),
         r"'linear\.bias' is none where its config\.json asks for \[4\]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(change, said, tmp_path):
    source = pooled(tmp_path / "source")
    change(source)
    with pytest.raises(UserError, match=said):
        import_(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_length_is_cut_to_what_the_encoder_holds(tmp_path):
    source = pooled(tmp_path / "source")
    changed(CUT, max_seq_length=512)(source)
    assert import_(source, tmp_path / "out")[-1].endswith("at most 20 tokens")
    assert read(tmp_path / "out" / CUT) == {"max_seq_length": 20, "do_lower_case": False}


def test_a_model_that_was_trained_on_shorter_rows_cuts_there(tmp_path):
    source = pooled(tmp_path / "source")
    changed("config.json", trained_length=8)(source)
    assert import_(source, tmp_path / "out")[-1].endswith("at most 8 tokens")
    assert read(tmp_path / "out" / CUT)["max_seq_length"] == 8
    assert "at most 8 tokens" in (tmp_path / "out/README.md").read_text()


def test_an_encoder_in_a_folder_of_its_own_is_said_where_it_cannot_be_taken(tmp_path):
    with pytest.raises(UserError, match=r"by which sentence-transformers keeps its encoder in a folder of its"):
        open_model(in_a_folder_of_its_own(tmp_path / "source"))


def test_somebodys_file_among_the_modules_is_not_replaced(tmp_path):
    source, out = pooled(tmp_path / "source"), tmp_path / "out"
    import_(source, out)
    for name in ("1_Pooling/notes.txt", "2_Normalize/config.json/x", "7_Pooling/config.json", "vocab.txt.d/x"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
        with pytest.raises(UserError, match=r"out: holds (1_Pooling/notes|2_Normalize/config|7_Pooling|vocab\.txt\.d)"):
            import_(source, out)
        assert (out / name).read_text() == "mine"
        (out / name).unlink()
        for parent in list((out / name).parents)[: name.count("/")]:
            if not list(parent.iterdir()):
                parent.rmdir()
    (tmp_path / "elsewhere").mkdir()
    shutil.move(out / "1_Pooling", tmp_path / "elsewhere")
    (out / "1_Pooling").symlink_to(tmp_path / "elsewhere/1_Pooling")
    with pytest.raises(UserError, match="holds 1_Pooling"):
        import_(source, out)
    (out / "1_Pooling").unlink()
    import_(save(tmp_path / "other", "BertModel", "bert"), out)
    assert names_in(out).isdisjoint(KEPT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that went on from a folder of sentence-transformers, and that folder."""
    place = tmp_path_factory.mktemp("trained")
    source, data = place / "source", make_data(place).path
    pretrain(tiny_recipe(data, "plan.steps=1", "rows.length=30"), place / "first")
    export_run(place / "first", source)
    size = open_model(source).network.settings.hidden_size
    write_json(source / "modules.json", entries("Transformer", "Pooling", "Normalize"))
    write_json(source / "1_Pooling/config.json", MEAN | {"word_embedding_dimension": size})
    write_json(source / LIBRARY, {"__version__": {"sentence_transformers": "2.1.0"}, "prompts": {"query": "ba "}})
    pretrain(tiny_recipe(data, f"init={source}", "plan.steps=6", "rows.length=24"), place / "run")
    return place / "run", source, data


def test_a_run_that_went_on_from_it_exports_what_still_holds(trained, tmp_path):
    run, source, _ = trained
    export_run(run, tmp_path / "out")
    assert read(tmp_path / "out/modules.json") == read(source / "modules.json")
    assert read(tmp_path / "out/1_Pooling/config.json") == read(source / "1_Pooling/config.json")
    assert read(tmp_path / "out" / LIBRARY) == {"prompts": {"query": "ba "}}, "another version has trained it since"
    assert read(tmp_path / "out" / CUT)["max_seq_length"] == 24
    card = ModelCard.load(tmp_path / "out/README.md").data
    assert (card.library_name, card.pipeline_tag) == ("transformers", "fill-mask")
    assert card.tags == ["bertsmith", "sentence-transformers"]
    model = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for vector, text in zip(encoded(tmp_path / "out"), TEXTS, strict=True):
        with torch.no_grad():
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=24)
            mean = model(**inputs).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(vector, mean / mean.norm(), rtol=0, atol=1e-5)


def test_a_run_hands_it_on_and_a_fine_tuned_model_does_not_claim_it(trained, tmp_path, capsys):
    run, _, data = trained
    pretrain(tiny_recipe(data, f"init={run}", "plan.steps=2", "rows.length=16"), tmp_path / "again")
    assert "kept for an export: sentence-transformers' mean pooling, Normalize, at most" in capsys.readouterr().err
    export_run(tmp_path / "again", tmp_path / "out")
    assert read(tmp_path / "out" / CUT)["max_seq_length"] == 16
    for model in (run, tmp_path / "out"):
        tuned = tmp_path / f"{model.name}-tuned"
        tuned.mkdir()
        finetune(toy_recipe(model, write_task(tuned), "seeds=1", "epochs=1"), tuned / "run")
        export_run(tuned / "run", tuned / "out")
        assert names_in(tuned / "out").isdisjoint(KEPT)
        assert "sentence-transformers" not in (tuned / "out/README.md").read_text()


def test_what_a_manifest_keeps_of_it_is_looked_at(trained, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "run")
    whole = read(run / "manifest.json")
    kept = whole["sentence_transformers"]
    for content, said in (
        ({"modules.json": []}, "has no"),
        (kept | {"../../x.json": {}}, "its files are not those"),
        (kept | {"modules.json": [kept["modules.json"][0], kept["modules.json"][1] | {"path": ".."}]}, "not those"),
        (kept | {POOL: kept[POOL] | {"word_embedding_dimension": 3}}, "word_embedding_dimension = 3"),
        ([], "must be an object"),
    ):
        write_json(run / "manifest.json", whole | {"sentence_transformers": content})
        with pytest.raises(UserError, match=rf"manifest\.json: .*{said}"):
            export_run(run, tmp_path / "out")
        assert not (tmp_path / "out").exists() and not (tmp_path / "x.json").exists()


def test_a_layer_on_top_does_not_outlive_its_encoder(trained, tmp_path, capsys):
    source = shutil.copytree(trained[1], tmp_path / "source")
    with_layers_of(source, read(source / POOL)["word_embedding_dimension"])
    before = tensors_of(source)
    pretrain(tiny_recipe(trained[2], f"init={source}", "plan.steps=2"), tmp_path / "run")
    assert "left out: sentence-transformers' files: 2_Dense was trained on the encoder's" in capsys.readouterr().err
    export_run(tmp_path / "run", tmp_path / "out")
    assert names_in(tmp_path / "out").isdisjoint(KEPT) and before.keys() == tensors_of(source).keys()
