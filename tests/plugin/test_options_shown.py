"""`meloformer help options` against the parsers that fairseq makes itself."""

import argparse
import re

import pytest
from fairseq import options
from fairseq.tasks import TASK_REGISTRY

from fairseq_meloformer import cli


def flags(parser):
    return {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}


def test_whatever_the_plugin_adds_to_fairseqs_parsers_is_shown_once(capsys):
    assert cli.main(["help", "options"]) == 0
    shown = re.findall(
        r"(?<![\w-])--[a-z][\w-]+", "\n".join(re.findall(r"^  -.*", capsys.readouterr().out, re.MULTILINE))
    )
    plain = flags(options.get_generation_parser())
    for task in ("museformer_language_modeling", "summary_extraction"):
        parser = argparse.ArgumentParser()
        TASK_REGISTRY[task].add_args(parser)
        assert flags(parser) - plain <= set(shown)
    assert {"--plan-probability", "--endpoint-weight", "--num-layers", "--components"} <= set(shown)
    assert {"--warmup-updates", "--muon-momentum"} <= set(shown)
    assert shown.count("--tilt") == shown.count("--chunking") == 1


def test_without_fairseq_a_sentence_says_so(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(name=name.partition(".")[0].replace("fairseq_meloformer", "fairseq"))

    monkeypatch.setattr(cli.importlib, "import_module", missing)
    assert cli.main(["help", "options"]) == 2
    assert (
        capsys.readouterr().err
        == "meloformer help: needs the package fairseq, which scripts/train_bridge.sh installs\n"
    )


def test_there_is_one_topic(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["help", "everything"])
    assert "options" in capsys.readouterr().err
