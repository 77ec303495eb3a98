"""The exceptions that users are meant to read."""


class LimnerError(Exception):
    """Bad input or a missing piece, told in one sentence that names the file and the way out.

    Options have their Python names, in backticks: `max_size`. The command line shows them as its flags. It prints the sentence on stderr
    and ends with exit code 2; the HTTP API sends it with a 4xx status. Everything else that is raised is a bug of Limner and keeps its
    traceback.
    """


class TooLargeError(LimnerError):
    """A picture that this machine cannot paint at its size."""


def require(condition: bool, sentence: str) -> None:
    """Raise ``LimnerError(sentence)`` unless ``condition`` holds."""
    if not condition:
        raise LimnerError(sentence)
