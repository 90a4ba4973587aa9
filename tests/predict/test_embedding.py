"""Vectors of texts: held to sentence-transformers' and to means by hand; the verb `embed`; correlations with STS-B."""

import json
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import scipy.stats
import torch
import transformers

import bertsmith
from bertsmith.convert.export import ExportSettings, export_run
from bertsmith.errors import UserError
from bertsmith.predict import embedding
from bertsmith.storage.file_types import EVALUATION_FILE
from bertsmith.tasks.finetune import finetune
from bertsmith.training.pretrain import pretrain
from tests.hub.foreign import save
from tests.hub.pooled import MEAN, dense, entries, pooled, write_json
from tests.hub.test_sentence import a_modern_one, as_version_6_writes_it, encoded, with_layers
from tests.predict.test_predictor import refused, run
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.tokenizers import formats
from tests.toys import WORDS, make_data, tiny_recipe

TEXTS = ["w1 w2", "w5", "w7 w8 w9 " * 10, "", "w2 w1 w26"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def all_modes(folder):
    pooled(folder)
    config = {"embedding_dimension": 16, "include_prompt": False}
    modes = ["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
    write_json(folder / "1_Pooling/config.json", config | {"pooling_mode": modes})
    library = {"prompts": {"query": "w3 w4 ", "other": "w9 "}, "default_prompt_name": "other"}
    write_json(folder / "config_sentence_transformers.json", library)
    return folder


@pytest.mark.parametrize("make", [pooled, as_version_6_writes_it, with_layers, a_modern_one, all_modes])
def test_a_folders_own_pooling_is_that_of_sentence_transformers(make, tmp_path):
    folder = make(tmp_path / "source")
    model = bertsmith.load(folder, device="cpu")
    for ours, theirs in (({}, {}), ({"prompt": "query"}, {"prompt_name": "query"})):
        expected = encoded(folder, sentences=TEXTS, **theirs)
        assert expected.std() > 0.05
        np.testing.assert_allclose(model.embed(TEXTS, **ours, count_cut=True)[0], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.embed("w5"), model.embed(["w5"])[0], atol=0)
    assert model.embed(TEXTS, count_cut=True)[1] == 1 and model.embed([]).shape == (0, expected.shape[1])


def test_lower_casing_is_the_folders_too(tmp_path):
    folder = pooled(tmp_path / "source")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": True})
    config = json.loads((folder / "tokenizer.json").read_text())
    config["normalizer"] = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                            "strip_accents": False, "lowercase": False}  # fmt: skip
    vocabulary = config["model"]["vocab"]
    vocabulary["οδοσ"] = vocabulary.pop("w25")
    write_json(folder / "tokenizer.json", config)
    (folder / "vocab.txt").unlink()
    said = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", said | {"do_lower_case": False, "strip_accents": False})
    model = bertsmith.load(folder)
    for text in ("W1 W2", "W1 ΟΔΟΣ", "W1 [MASK] W2"):  # Python lower-cases the last letter as ς, and the mask too
        np.testing.assert_allclose(model.embed(text), encoded(folder, sentences=text), rtol=0, atol=1e-5)
    assert np.abs(model.embed("W1 W2") - model.embed("W1 W2", pooling="mean", normalize=True)).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "name", "family"),
    [(formats.roberta, "RobertaModel", "roberta"), (formats.xlm_roberta, "XLMRobertaModel", "xlm-roberta"),
     (formats.deberta_v3, "DebertaV2Model", "deberta-v2"), (formats.modernbert, "ModernBertModel", "modernbert")],
)  # fmt: skip
def test_so_are_the_vectors_of_the_families_own_tokenizers(make, name, family, tmp_path):
    files = {path.name: path.read_bytes() for path in make(tmp_path / "tokenizer").iterdir()}
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "cls", "sep")}
    ids |= {"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"]}
    folder = save(tmp_path / "source", name, family, vocab_size=len(tokenizer), **ids)
    (folder / "vocab.txt").unlink()
    for file in files.keys() - {"config.json"}:
        (folder / file).write_bytes(files[file])
    write_json(folder / "modules.json", entries("Transformer", "Pooling"))
    write_json(folder / "1_Pooling/config.json", MEAN | {"include_prompt": False})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": True})
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "find it: "}})
    texts = ["Hello world", " a space before", "after  ", "", "\n", "tab\tnew\nline", "the cat " * 40,
             f"a {tokenizer.mask_token} b", "naïve ΟΔΟΣ 😀"]  # fmt: skip
    for ours, theirs in (({}, {}), ({"prompt": "query"}, {"prompt_name": "query"})):
        expected = encoded(folder, sentences=texts, **theirs)
        assert expected.std() > 0.05
        np.testing.assert_allclose(bertsmith.load(folder, device="cpu").embed(texts, **ours), expected, atol=1e-5)


def by_hand(folder, texts, length):
    """Means of all tokens' vectors and those of [CLS], by transformers."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = []
    for text in texts:
        with torch.no_grad():
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=length)
            vectors = model(**inputs).last_hidden_state[0]
        found.append((vectors.mean(dim=0).numpy(), vectors[0].numpy()))
    return map(np.array, zip(*found, strict=True))


@pytest.mark.parametrize(
    ("name", "family", "length"),
    [
        ("BertForMaskedLM", "bert", 20),
        ("ElectraForPreTraining", "electra", 20),
        ("BertForSequenceClassification", "bert", 20),
        ("RobertaForMaskedLM", "roberta", 18),
        ("DistilBertModel", "distilbert", 20),
    ],
)
def test_means_and_first_vectors_are_those_of_transformers(name, family, length, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(embedding, "TEXTS_AT_ONCE", 2)
    folder = save(tmp_path / "model", name, family)
    model = bertsmith.load(folder, device="cpu")
    means, firsts = by_hand(folder, TEXTS, length)
    capsys.readouterr()
    np.testing.assert_allclose(model.embed(TEXTS), means, rtol=0, atol=1e-5)
    assert capsys.readouterr().err == f"1 of 5 texts were cut to {length} tokens\n"
    np.testing.assert_allclose(model.embed(TEXTS[:2], "cls"), firsts[:2], rtol=0, atol=1e-5)
    unit = means[:2] / np.linalg.norm(means[:2], axis=1, keepdims=True)
    np.testing.assert_allclose(model.embed(TEXTS[:2], normalize=True), unit, rtol=0, atol=1e-5)


def test_normalize_is_put_after_and_taken_off_the_folders_own(tmp_path):
    model = bertsmith.load(pooled(tmp_path / "source"), device="cpu")
    own, mean = model.embed("w1 w2"), model.embed("w1 w2", "mean")
    np.testing.assert_allclose(model.embed("w1 w2", normalize=False), mean, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.embed("w1 w2", "mean", normalize=True), own, rtol=0, atol=1e-6)
    assert np.linalg.norm(own) == pytest.approx(1) != pytest.approx(np.linalg.norm(mean))


def test_rows_come_back_in_their_order_whatever_their_lengths(tmp_path):
    model = bertsmith.load(save(tmp_path / "model", "BertModel", "bert"), device="cpu")
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in rng.integers(27, size=size)) for size in rng.integers(0, 18, 700)]
    vectors = model.embed(texts)
    for number in range(0, 700, 70):
        np.testing.assert_allclose(vectors[number], model.embed(texts[number]), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    data = make_data(folder).path
    pretrain(tiny_recipe(data, "plan.steps=2", "model.initializer_range=0.3"), folder / "run")
    electra = ["objective.kind=rtd", "objective.generator.hidden_fraction=0.5", "model.initializer_range=0.3"]
    pretrain(tiny_recipe(data, "plan.steps=2", *electra), folder / "electra")
    finetune(toy_recipe(make_model(folder), write_task(folder), "seeds=1", "epochs=1"), folder / "tuned")
    return folder


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("name", ["run", "electra", "tuned"])
def test_an_export_pools_in_sentence_transformers_as_here(trained, tmp_path, name, pooling):
    options = ExportSettings(pooling=pooling, normalize=name != "run")
    out = export_run(trained / name, tmp_path / "out", options=options)
    folder = out / "discriminator" if name == "electra" else out
    texts = ["ba be bi bo", "du", "ca ce ci co cu ca ." * 9]
    expected = encoded(folder, sentences=texts)
    found, num_cut = bertsmith.load(trained / name).embed(texts, pooling, normalize=name != "run", count_cut=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert num_cut == 1
    loaded = bertsmith.load(folder)
    again = loaded.embed(texts[:2], pooling, normalize=name != "run")
    np.testing.assert_allclose(again, expected[:2], rtol=0, atol=1e-5)
    np.testing.assert_allclose(loaded.embed(texts, "own", count_cut=True)[0], expected, rtol=0, atol=1e-5)
    described = f"{pooling} pooling{', Normalize' * (name != 'run')}, at most 32 tokens"
    assert f"{described}. The pooling was chosen at the export" in (folder / "README.md").read_text()
    export_run(trained / name, tmp_path / "out")
    assert not (folder / "modules.json").exists(), "a plain export takes its place"


def test_vectors_of_lines_and_of_tables_are_written(trained, tmp_path):
    lines, out = tmp_path / "texts.txt", tmp_path / "vectors.npy"
    texts = ["ba be bi bo", "", "ca ce ci co cu ca ." * 9, "du"]
    lines.write_text("\n".join(texts) + "\n")
    expected, _ = bertsmith.load(trained / "run").embed(texts, count_cut=True)
    said = run("embed", trained / "run", lines, "--out", out)
    assert said == f"wrote {out}: 4 vectors of 16 numbers, mean pooling\n"
    vectors = np.load(out)
    assert vectors.dtype == np.float32 and vectors.flags.c_contiguous
    np.testing.assert_array_equal(vectors, expected)
    table = pyarrow.table({"id": [1, 2, 3, 4], "body": texts})
    pyarrow.parquet.write_table(table, tmp_path / "texts.parquet")
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts))
    for name, column in (("texts.parquet", ["--column", "body"]), ("texts.jsonl", [])):
        run("embed", trained / "run", tmp_path / name, "--out", out, "--overwrite", *column)
        np.testing.assert_array_equal(np.load(out), expected)
    run("embed", trained / "run", "-", "--out", out, "--overwrite", "--pooling", "cls", "--normalize", stdin="du\nba")
    np.testing.assert_allclose(np.linalg.norm(np.load(out), axis=1), [1, 1], rtol=1e-6)


def test_what_cannot_be_embedded_is_said_in_a_line_or_two(trained, tmp_path):
    lines, out, own = tmp_path / "texts.txt", tmp_path / "vectors.npy", pooled(tmp_path / "own")
    lines.write_text("ba\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "texts.csv").write_text("id,body\n1,ba\n")
    write_json(own / "1_Pooling/config.json", MEAN | {"pooling_mode": "sum"})
    odd = pooled(tmp_path / "odd")
    write_json(odd / "modules.json", entries("Transformer", "Pooling", "Dense"))
    dense(odd / "2_Dense", 16, 4, activation_function="torch.nn.modules.activation.MultiheadAttention")
    model = trained / "run"
    for arguments, said in (
        ((model, lines, "--out", tmp_path / "vectors.txt"), r"a file of vectors ends in \.npy"),
        ((model, lines, "--out", out, "--pooling", "max"), "pooling = 'max': it must be one of own, mean, cls"),
        ((model, lines, "--out", out, "--pooling", "own"), "has no pooling of its own"),
        ((model, lines, "--out", out, "--prompt", "query"), "no prompt is named 'query'.*there is none"),
        ((model, lines, "--out", out, "--column", "body"), "--column body: .* has a text a line"),
        ((model, tmp_path / "gone.txt", "--out", out), "gone.txt: No such file"),
        ((model, tmp_path / "empty.txt", "--out", out), "empty.txt: no text in it"),
        ((model, tmp_path / "texts.csv", "--out", out), "no column 'text'.*\n--column NAME names it"),
        ((model, tmp_path / "texts.csv", "--out", out, "--column", "x"), "no column 'x'"),
        ((own, lines, "--out", out), "its own pooling is not known here .*sum.*; choose pooling=mean or cls"),
        ((odd, lines, "--out", out), "MultiheadAttention': torch has no such activation"),
        ((tmp_path / "none", lines, "--out", out), "none: no such folder"),
    ):
        assert re.search(said, refused("embed", *arguments)), arguments
        assert not out.exists()
    out.write_text("mine")
    assert "is there already; give --out another name" in refused("embed", model, lines, "--out", out)
    assert out.read_text() == "mine"
    with pytest.raises(UserError, match="normalize: of use with pooling"):
        bertsmith.export(model, tmp_path / "hf", {"normalize": True})


def write_sts(folder, pairs):
    (folder / "STS-B").mkdir(parents=True)
    lines = ["index\tsentence1\tsentence2\tscore", *(f"{n}\t{a}\t{b}\t{s}" for n, (a, b, s) in enumerate(pairs))]
    (folder / "STS-B/dev.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("inside", ["", "STS-B"])
def test_cosines_are_correlated_with_peoples_scores(trained, tmp_path, inside):
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 9))) for _ in range(80)]
    scores = rng.uniform(0, 5, 40).round(2)
    folder = write_sts(tmp_path / "glue", list(zip(texts[::2], texts[1::2], scores, strict=True))) / inside
    vectors = bertsmith.load(trained / "run").embed(texts, normalize=True).astype(np.float64)
    cosines = (vectors[::2] * vectors[1::2]).sum(axis=1)
    out = tmp_path / "out.json"
    said = run("evaluate", trained / "run", f"sts={folder}", "--out", out)
    content = json.loads(out.read_text())
    assert content.keys() == {"sts"} and EVALUATION_FILE.matches(out)
    found = content["sts"]
    assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(cosines, scores).statistic, abs=1e-6)
    assert found["pearson"] == pytest.approx(scipy.stats.pearsonr(cosines, scores).statistic, abs=1e-6)
    assert (found["pairs"], found["pooling"], found["num_cut"]) == (40, "mean pooling", 0)
    assert f"{found['spearman']:.4f}" in said and "of the cosines of 40 pairs of texts" in said
    first = json.loads(run("evaluate", trained / "run", f"sts={folder}", "pooling=cls", "--json"))["sts"]
    assert first["pooling"] == "cls pooling" and first["spearman"] != found["spearman"]


def test_what_is_no_sts_b_is_said(trained, tmp_path):
    (tmp_path / "STS-B").mkdir()
    for folder in (tmp_path, tmp_path / "gone", tmp_path / "STS-B"):
        assert "sts=… names the folder of GLUE's tasks" in refused("evaluate", trained / "run", f"sts={folder}")
    assert "of use with sts=DIR alone" in refused("evaluate", trained / "run", "pooling=cls")
