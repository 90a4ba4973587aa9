"""A model's folder is described by what is in it."""

from typer.testing import CliRunner

from bertsmith.cli.app import app
from bertsmith.encoders.encoder import MaskedTokenModel, ReplacedTokenModel
from tests.evals.toy_models import toy_network, toy_tokenizer, write_network


def shown(folder) -> dict[str, str]:
    done = CliRunner().invoke(app, ["show", str(folder)])
    assert done.exit_code == 0, (done.output, done.exception)
    lines = done.stdout.splitlines()
    assert lines[0] == f"{folder}: a model" and lines[-1].startswith("next: bertsmith predict ")
    return dict(line.strip().split("  ", 1) for line in lines[1:-1])


def test_a_model_of_one_network(tmp_path):
    tokenizer = toy_tokenizer(tmp_path)
    network = toy_network(MaskedTokenModel, tokenizer)
    facts = shown(write_network(tmp_path / "model", network, tokenizer))
    assert facts["architecture"].strip() == "ELECTRA (classic encoder)"
    assert facts["sizes"].strip() == "2 layers of 32, 2 attention heads, feed-forward part of 128, embeddings of 16"
    assert facts["parameters"].strip() == f"{sum(p.numel() for p in network.parameters()):,}"
    assert facts["tokenizer"].strip() == f"WordPiece, {tokenizer.vocab_size} tokens, lower-cased"
    assert facts["longest row"].strip() == "24 tokens"
    assert {"predict (fills [MASK])", "embed", "finetune"} <= set(facts["use it with"].strip().split(", "))


def test_a_discriminator_beside_its_generator(tmp_path):
    tokenizer = toy_tokenizer(tmp_path)
    (tmp_path / "two").mkdir()
    write_network(tmp_path / "two" / "discriminator", toy_network(ReplacedTokenModel, tokenizer), tokenizer)
    alone = shown(tmp_path / "two" / "discriminator")
    assert "a discriminator" in alone["head"] and "evaluate" not in alone["use it with"]
    write_network(tmp_path / "two" / "generator", toy_network(MaskedTokenModel, tokenizer), tokenizer)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "two" / name).unlink(missing_ok=True)
    both = shown(tmp_path / "two")
    assert "a discriminator" in both["discriminator head"] and both["generator head"].strip() == "masked tokens"
    assert "evaluate" in both["use it with"] and "embed" in both["use it with"]
