"""What `--user-dir` points fairseq at: importing the plugin registers its tasks, models and criterions."""

import fairseq_meloformer.plugin  # noqa: F401
