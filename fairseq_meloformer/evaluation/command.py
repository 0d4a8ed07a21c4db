"""The command `meloformer evaluate REPORT`."""

import argparse

from fairseq_meloformer.evaluation.control import command as control
from fairseq_meloformer.evaluation.listening import command as listening
from fairseq_meloformer.evaluation.methods import command as methods
from fairseq_meloformer.evaluation.quality import command as quality


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A sub-command for each report."""
    reports = parser.add_subparsers(dest="report", required=True, metavar="REPORT")
    control.add_arguments(reports.add_parser("control", help="how well pieces do what their prompts ask for"))
    listening.add_arguments(reports.add_parser("listening", help="a blind listening test, and what listeners answer"))
    methods.add_arguments(reports.add_parser("methods", help="the bridge against other ways from text to a plan"))
    quality.add_arguments(reports.add_parser("quality", help="composed pieces beside real songs, and perplexities"))


def run(args: argparse.Namespace) -> int:
    """Make the report that was asked for."""
    reports = {"control": control.run, "listening": listening.run, "methods": methods.run, "quality": quality.run}
    return reports[args.report](args)
